"""The losses, as the paper writes them. Weights of their parts are in `LossWeights`; where data comes from is not here.

    completion   |l - l^| + |dl - dl^| + |o - o^| + [o = 0] o^ + (1 - r(o, o^)) + |s(o) - s(o^)|
                 l points, d frame to frame, o mouth opening, r correlation and s deviation over a window
    diffusion    || v - v^(z_t, m, E(x m'), t, l, F_a) ||^2, weighted by the mask, the mouth and, if asked, by t
    joint        both, with l^ in place of l: the diffusion loss flows into completion
    refine       joint, and |x - x^| + perceptual + sync of x^, the decoded one-step estimate

A part of a loss is a mean over what counts, wherever that lies: a sum and a count, each added up over all windows of
a step, of all processes and of all parts in which a process works its share off, before one is divided by the other.

B batch, T frames, P points, C channels, H W cells. Landmarks are crop units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from model.config import Config, Late
from model.landmarks import opening
from model.layers import cell_places
from shards.topology import Topology

SHUT = 0.03
"""A mouth whose inner lips are nearer than this, in eye distances, is closed: about 2 mm of a face."""


class LossWeights(Config):
    """How the parts are added."""

    velocity: float = 1.0
    opening: float = 1.0
    closure: Late[float] = 0.0
    """Of a mouth that is open where the true one is shut: p, b and m are read off a closed mouth, and a mean of mouths
    never closes. 0 in runs that began without it; the recipes set it."""
    timing: Late[float] = 0.0
    """Of 1 - r, the correlation of a window's openings. An unsure L1 mean hardly moves at all; this asks only when."""
    spread: Late[float] = 0.0
    """Of how much the mouth moves in a window, whatever when: without it the mean of all likely mouths mumbles. With
    both, at equal steps, people it never saw opened their mouths 1.2 times as fast as in truth instead of 0.4 times,
    at r = 0.60 instead of 0.56, and their lips were a quarter nearer to the truth."""
    completion: float = 10.0
    """Of the completion loss in the joint stage, against the diffusion loss."""
    mouth: float = 3.0
    """Extra weight of cells near the lips; the rest of the mask weighs 1."""
    outside: float = 0.2
    """Of cells outside the mask: never shown, but they keep the picture whole."""
    gradient: float = 0.5
    """Of the picture's gradients in the autoencoder's loss: sharpness."""
    pixel: Late[float] = 1.0
    """Of the decoded picture in the refine stage, against the diffusion loss; so are the next two."""
    perceptual: Late[float] = 0.05
    sync: Late[float] = 0.1


def means(sums: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each part's sum over how much of it there was; nothing at all is 0."""
    return {name: total / counts[name].clamp_min(1e-6) for name, total in sums.items()}


def completion_loss(
    hat_BTP2: Tensor, true_BTP2: Tensor, seen_BT: Tensor, topology: Topology, weights: LossWeights
) -> dict[str, Tensor]:
    """L1 of lips and jaw, of their motion, of how far the mouth is open, and of not closing; only seen frames count."""
    counts = completion_counts(true_BTP2, seen_BT, topology, weights)
    return means(completion_sums(hat_BTP2, true_BTP2, seen_BT, topology, weights), counts)


def completion_counts(
    true_BTP2: Tensor, seen_BT: Tensor, topology: Topology, weights: LossWeights
) -> dict[str, Tensor]:
    """How many frames, pairs of frames or windows each part is a mean over."""
    return {name: where.sum() for name, where in _judged(true_BTP2, seen_BT, topology, weights).items()}


def completion_sums(
    hat_BTP2: Tensor, true_BTP2: Tensor, seen_BT: Tensor, topology: Topology, weights: LossWeights
) -> dict[str, Tensor]:
    """Each part, weighted, summed over where it counts: what two halves of a batch may add before they divide."""
    content = list(topology.content)
    hat, true = hat_BTP2[:, :, content], true_BTP2[:, :, content]
    where = _judged(true_BTP2, seen_BT, topology, weights)
    open_hat, open_true = opening(hat_BTP2, topology), opening(true_BTP2, topology)
    errors = {
        "points": (hat - true).abs().mean(dim=(2, 3)),
        "velocity": weights.velocity * (hat.diff(dim=1) - true.diff(dim=1)).abs().mean(dim=(2, 3)),
        "opening": weights.opening * (open_hat - open_true).abs(),
    }
    if "timing" in where:
        errors["timing"] = weights.timing * _untimely(open_hat, open_true, seen_BT)
    if "spread" in where:
        errors["spread"] = weights.spread * _spread_error(open_hat, open_true, seen_BT, where["velocity"])
    if "closure" in where:
        too_far_BT = (open_hat - open_true).clamp_min(0) / _eye_distance(true_BTP2, topology)
        errors["closure"] = weights.closure * too_far_BT
    return {name: (error * where[name]).sum() for name, error in errors.items()}


def _judged(true_BTP2: Tensor, seen_BT: Tensor, topology: Topology, weights: LossWeights) -> dict[str, Tensor]:
    """Which frames, pairs of frames or windows each part looks at."""
    where = {"points": seen_BT, "velocity": seen_BT[:, 1:] & seen_BT[:, :-1], "opening": seen_BT}
    if weights.timing > 0:
        where["timing"] = seen_BT.any(dim=1)
    if weights.spread > 0:
        where["spread"] = seen_BT.any(dim=1)
    if weights.closure > 0:
        where["closure"] = seen_BT & (opening(true_BTP2, topology) < SHUT * _eye_distance(true_BTP2, topology))
    return where


def diffusion_sum(hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor, share_B: Tensor | None = None) -> Tensor:
    """Weighted squares of v - v^; a frame of weight 0 does not count, and `share` scales what each item adds.

    Like the next two, it is divided by the sum of the weights.
    """
    error_B1HW = (hat_BCHW - true_BCHW).square().mean(dim=1, keepdim=True)
    if share_B is not None:
        error_B1HW = share_B[:, None, None, None] * error_B1HW
    return (weight_B1HW * error_B1HW).sum()


def min_snr(snr_B: Tensor, prediction: Literal["v_prediction", "epsilon", "sample"], gamma: float) -> Tensor:
    """(B,) min-SNR weights: steps with little noise are easy and many, so their error of z counts at most gamma times.

    The error of z is 1/SNR of the noise's and 1/(SNR + 1) of v's, which is how the weight is turned into theirs.
    """
    of_z_B = snr_B.clamp_max(gamma)
    if prediction == "sample":
        return of_z_B
    return of_z_B / (snr_B if prediction == "epsilon" else snr_B + 1)


def picture_sum(hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor) -> Tensor:
    """Weighted L1 of decoded pictures."""
    return (weight_B1HW * (hat_BCHW - true_BCHW).abs().mean(dim=1, keepdim=True)).sum()


def region_weight(mask_1HW: Tensor, lm_BP2: Tensor, seen_B: Tensor, topology: Topology, weights: LossWeights) -> Tensor:
    """(B, 1, H, W): the mask, more near the true lips, a little outside, nothing for unseen frames."""
    h, w = mask_1HW.shape[-2:]
    lips_BK2 = lm_BP2[:, list(topology.lips)].detach()
    far_BL = torch.cdist(cell_places(h, w, lm_BP2.device)[None], lips_BK2).amin(dim=2)
    near_B1HW = torch.exp(-0.5 * (far_BL / 0.12).square()).reshape(-1, 1, h, w)
    weight = mask_1HW * (1 + weights.mouth * near_B1HW) + (1 - mask_1HW) * weights.outside
    return weight * seen_B[:, None, None, None]


def autoencoder_sums(
    hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """L1 of the picture and of its gradients, weighted as in the diffusion: the mouth is what will be looked at."""
    error_BCHW = hat_BCHW - true_BCHW
    (h, w), c = error_BCHW.shape[-2:], error_BCHW.shape[1]
    # A row of w cells has w - 1 differences, which weigh together what the cells do.
    across = (weight_B1HW[..., 1:] * error_BCHW.diff(dim=3).abs()).sum() * w / (w - 1)
    down = (weight_B1HW[..., 1:, :] * error_BCHW.diff(dim=2).abs()).sum() * h / (h - 1)
    return {
        "picture": picture_sum(hat_BCHW, true_BCHW, weight_B1HW),
        "gradient": weights.gradient * (across + down) / c,
    }


def _eye_distance(lm_BTP2: Tensor, topology: Topology) -> Tensor:
    left, right = (lm_BTP2[:, :, list(eye)].mean(dim=2) for eye in (topology.left_eye, topology.right_eye))
    distance_BT: Tensor = (left - right).norm(dim=-1)
    # Points of an unseen frame are all zero; that frame is left out, and must not be divided by zero before.
    return distance_BT.clamp_min(1e-3)


def _untimely(hat_BT: Tensor, true_BT: Tensor, seen_BT: Tensor) -> Tensor:
    """(B,) 1 - r of each window's openings; a window in which the true mouth hardly moves has no timing to learn."""
    hat, true = _centred(hat_BT, seen_BT), _centred(true_BT, seen_BT)
    floor = 1e-4
    both = (hat * true).sum(dim=1) + floor
    sizes = (hat.square().sum(dim=1) + floor).sqrt() * (true.square().sum(dim=1) + floor).sqrt()
    return 1 - both / sizes


def _spread_error(hat_BT: Tensor, true_BT: Tensor, seen_BT: Tensor, moved_BT: Tensor) -> Tensor:
    """(B,) |s - s^| of each window, s the deviation of the opening, and the same of its change from frame to frame."""

    def deviation(value_BT: Tensor, where_BT: Tensor) -> Tensor:
        # Under the root, so that its slope stays finite at rest.
        mean_B = (value_BT.square() * where_BT).sum(dim=1) / where_BT.sum(dim=1).clamp_min(1)
        return (mean_B + 1e-6).sqrt()

    still = deviation(_centred(hat_BT, seen_BT), seen_BT) - deviation(_centred(true_BT, seen_BT), seen_BT)
    moving = deviation(hat_BT.diff(dim=1), moved_BT) - deviation(true_BT.diff(dim=1), moved_BT)
    return still.abs() + moving.abs()


def _centred(value_BT: Tensor, seen_BT: Tensor) -> Tensor:
    """Less the mean of the seen frames; 0 where unseen."""
    mean_B1 = (value_BT * seen_BT).sum(dim=1, keepdim=True) / seen_BT.sum(dim=1, keepdim=True).clamp_min(1)
    return (value_BT - mean_B1) * seen_BT
