"""The losses, as the paper writes them. Weights of their parts are in `LossWeights`; where data comes from is not here.

    completion   |l - l^| + |dl - dl^| + |o - o^|           l points, d frame to frame, o mouth opening
    diffusion    || v - v^(z_t, m, E(x m'), t, l, F_a) ||^2, weighted by the mask and the mouth
    joint        both, with l^ in place of l: the diffusion loss flows into completion

B batch, T frames, P points, C channels, H W cells. Landmarks are crop units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import Config
from model.landmarks import opening
from model.layers import cell_places
from shards.topology import Topology


class LossWeights(Config):
    """How the parts are added."""

    velocity: float = 1.0
    opening: float = 1.0
    completion: float = 10.0
    """Of the completion loss in the joint stage, against the diffusion loss."""
    mouth: float = 3.0
    """Extra weight of cells near the lips; the rest of the mask weighs 1."""
    outside: float = 0.2
    """Of cells outside the mask: never shown, but they keep the picture whole."""
    gradient: float = 0.5
    """Of the picture's gradients in the autoencoder's loss: sharpness."""


def completion_loss(
    hat_BTP2: Tensor, true_BTP2: Tensor, seen_BT: Tensor, topology: Topology, weights: LossWeights
) -> dict[str, Tensor]:
    """L1 of lips and jaw, of their motion, and of how far the mouth is open; unseen frames are left out."""
    content = list(topology.content)
    hat, true = hat_BTP2[:, :, content], true_BTP2[:, :, content]
    moved_BT = seen_BT[:, 1:] & seen_BT[:, :-1]
    open_hat, open_true = opening(hat_BTP2, topology), opening(true_BTP2, topology)
    return {
        "points": _mean((hat - true).abs().mean(dim=(2, 3)), seen_BT),
        "velocity": weights.velocity * _mean((hat.diff(dim=1) - true.diff(dim=1)).abs().mean(dim=(2, 3)), moved_BT),
        "opening": weights.opening * _mean((open_hat - open_true).abs(), seen_BT),
    }


def diffusion_loss(hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor) -> Tensor:
    """Weighted mean square of v - v^; a frame of weight 0 does not count."""
    error_B1HW = (hat_BCHW - true_BCHW).square().mean(dim=1, keepdim=True)
    return (weight_B1HW * error_B1HW).sum() / weight_B1HW.sum().clamp_min(1e-6)


def region_weight(mask_1HW: Tensor, lm_BP2: Tensor, seen_B: Tensor, topology: Topology, weights: LossWeights) -> Tensor:
    """(B, 1, H, W): the mask, more near the true lips, a little outside, nothing for unseen frames."""
    h, w = mask_1HW.shape[-2:]
    lips_BK2 = lm_BP2[:, list(topology.lips)].detach()
    far_BL = torch.cdist(cell_places(h, w, lm_BP2.device)[None], lips_BK2).amin(dim=2)
    near_B1HW = torch.exp(-0.5 * (far_BL / 0.12).square()).reshape(-1, 1, h, w)
    weight = mask_1HW * (1 + weights.mouth * near_B1HW) + (1 - mask_1HW) * weights.outside
    return weight * seen_B[:, None, None, None]


def autoencoder_loss(
    hat_BCHW: Tensor, true_BCHW: Tensor, weight_B1HW: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """L1 of the picture and of its gradients, weighted as in the diffusion: the mouth is what will be looked at."""
    error_BCHW = hat_BCHW - true_BCHW
    share_B1HW = weight_B1HW / weight_B1HW.mean().clamp_min(1e-6)
    across = (share_B1HW[..., 1:] * error_BCHW.diff(dim=3).abs()).mean()
    down = (share_B1HW[..., 1:, :] * error_BCHW.diff(dim=2).abs()).mean()
    return {
        "picture": (share_B1HW * error_BCHW.abs()).mean(),
        "gradient": weights.gradient * (across + down),
    }


def _mean(value_BT: Tensor, where_BT: Tensor) -> Tensor:
    return (value_BT * where_BT).sum() / where_BT.sum().clamp_min(1)
