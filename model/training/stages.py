"""The stages with the denoiser, and the order of all. What a stage is: `stage.py`.

    diffusion     the denoiser, with true landmarks
    joint         the denoiser, with predicted lips and jaw; the loss flows into completion
    refine        joint on consecutive frames, and the picture they make in one step judged in pixels

B windows, T frames of a window, K pictures taken from it, R references, C H W picture or latent, P points.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from model.batch import ClipBatch
from model.loss import completion_counts, diffusion_sum, min_snr, picture_sum, region_weight
from model.networks import Networks
from model.perceptual import lpips, pyramid
from model.sampling import estimate, forward_process, signal_to_noise, target
from model.sync import SyncExpert, sync_loss
from model.training.config import TrainConfig
from model.training.draws import Draws
from model.training.stage import AutoencoderStage, CompletionStage, Stage, Task, pick, rows_of, run_of
from model.training.sync import load_expert
from shards.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noising(Task):
    """K pictures of each of B windows, and how they are noised; N = B*K."""

    at_BK: Tensor
    """Their frames."""
    x_BKCHW: Tensor
    seen_BK: Tensor
    lm_NP2: Tensor
    """The true landmarks."""
    t_N: Tensor
    noise_NCHW: Tensor
    told_N: tuple[Tensor, Tensor]
    """1 where motion, and where appearance, is told."""
    weight_N1HW: Tensor
    """Of the latent's cells."""
    inside_N1HW: Tensor
    """Of the mask's pixels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Denoised:
    """What the denoiser made of it."""

    z_NCHW: Tensor
    z_t_NCHW: Tensor
    hat_NCHW: Tensor
    """What the denoiser said: v, the noise or z."""


class DiffusionStage(Stage[Noising]):
    name = "diffusion"
    max_noise = 1.0

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__(networks, config)
        self.model, self.process = config.model, forward_process(config.model.diffusion)
        self.in_a_row, self.drop = config.model.denoiser.temporal_attention, config.drop_condition

    def trained(self) -> dict[str, nn.Module]:
        return {"denoiser": self.nets.denoiser, "reference": self.nets.reference}

    def draw(self, batch: ClipBatch, draws: Draws) -> Noising:
        count = self.config.stage(self.name).frames
        x_BKCHW, at_BK = (run_of if self.in_a_row else pick)(batch, count, draws)
        k, rows, side = at_BK.shape[1], rows_of(at_BK), self.model.latent_px

        # As in dubbing: frames in a row have one noise, one t, and all are told or none.
        times = 1 if self.in_a_row else k
        limit = max(int(self.model.diffusion.num_steps * self.max_noise), 1)
        t_Bk = draws.whole(limit, times)
        noise = draws.normal(times, self.model.autoencoder.latent_channels, side, side)
        told_Bk = [(draws.uniform(times) >= self.drop).float() for _ in range(2)]
        t_N, noise_NCHW, *told_N = (_each_of(drawn, k).to(x_BKCHW.device) for drawn in (t_Bk, noise, *told_Bk))

        lm_NP2, seen_BK = batch.landmarks_BTP2[rows, at_BK].flatten(0, 1), batch.seen_BT[rows, at_BK]
        mask_1HW, seen_N = latent_mask(batch.mask_HW, side), seen_BK.flatten()
        weight = region_weight(mask_1HW, lm_NP2, seen_N, self.topology, self.weights)
        inside = region_weight(batch.mask_HW[None], lm_NP2, seen_N, self.topology, self.weights) * batch.mask_HW
        return Noising(
            batch=batch,
            counts=self.counted(batch, seen_BK, weight, inside),
            at_BK=at_BK,
            x_BKCHW=x_BKCHW,
            seen_BK=seen_BK,
            lm_NP2=lm_NP2,
            t_N=t_N,
            noise_NCHW=noise_NCHW.to(x_BKCHW),
            told_N=(told_N[0], told_N[1]),
            weight_N1HW=weight,
            inside_N1HW=inside,
        )

    def counted(self, batch: ClipBatch, seen_BK: Tensor, weight: Tensor, inside: Tensor) -> dict[str, Tensor]:
        """The counts of this stage's parts."""
        del batch, seen_BK, inside
        return {"diffusion": weight.sum()}

    def sums(self, task: Noising) -> dict[str, Tensor]:
        return {"diffusion": self.error(task, self.denoise(task, task.batch.landmarks_BTP2))}

    def denoise(self, task: Noising, lm_BTP2: Tensor) -> Denoised:
        """The noised frames, denoised by who is told the landmarks `lm`."""
        nets, batch, at_BK = self.nets, task.batch, task.at_BK
        rows, count = rows_of(at_BK), at_BK.numel()
        z, source, refs_BRCHW = self._latents(batch, task.x_BKCHW)
        references = nets.reference(refs_BRCHW)

        # q(z_t | z)
        z_t = self.process.add_noise(z, task.noise_NCHW, task.t_N)

        # v^
        mask_1HW = latent_mask(batch.mask_HW, self.model.latent_px)
        said = (batch.audio_BTWC if self.model.denoiser.landmarks == "audio" else lm_BTP2)[rows, at_BK].flatten(0, 1)
        moment_BK = at_BK.float().masked_fill(~task.seen_BK, torch.nan) if self.in_a_row else None
        masks_NHW, told = mask_1HW.expand(count, -1, -1, -1), [kept_N.to(z) for kept_N in task.told_N]
        hat = nets.denoiser(z_t, masks_NHW, source, task.t_N, said, references, *told, moment_VT=moment_BK)
        return Denoised(z_NCHW=z, z_t_NCHW=z_t, hat_NCHW=hat.to(z))

    def error(self, task: Noising, made: Denoised) -> Tensor:
        """|| v - v^ ||^2."""
        config = self.model.diffusion
        wanted = target(self.process, config, made.z_NCHW, task.noise_NCHW, task.t_N)
        share_N = None
        if config.min_snr is not None:
            share_N = min_snr(signal_to_noise(self.process, task.t_N), config.prediction, config.min_snr)
        return diffusion_sum(made.hat_NCHW, wanted, task.weight_N1HW, share_N)

    @torch.no_grad()
    def _latents(self, batch: ClipBatch, x_BKCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z and its masked source, (N, C, H, W) each, and the references' (B, R, C, H, W); nothing here is trained."""
        n, hidden_BKCHW = x_BKCHW.shape[0] * x_BKCHW.shape[1], x_BKCHW * (1 - batch.mask_HW)
        parts = [x_BKCHW.flatten(0, 1), hidden_BKCHW.flatten(0, 1), batch.ref_frames_BRCHW.flatten(0, 1)]
        # Under mixed precision a network gives half floats; what is noised and compared is held whole.
        latents = self.nets.autoencoder.encode(torch.cat(parts)).to(x_BKCHW)
        z_NCHW, source_NCHW, refs = latents.tensor_split([n, 2 * n])
        return z_NCHW, source_NCHW, refs.reshape(*batch.ref_frames_BRCHW.shape[:2], *refs.shape[1:])


class JointStage(DiffusionStage):
    name = "joint"

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__(networks, config)
        self.max_noise = config.joint_noise
        self.first = CompletionStage(networks, config)

    def trained(self) -> dict[str, nn.Module]:
        return {**super().trained(), **self.first.trained()}

    def rate_of(self, network: str) -> float:
        return self.config.completion_rate if network == "completion" else 1.0

    def counted(self, batch: ClipBatch, seen_BK: Tensor, weight: Tensor, inside: Tensor) -> dict[str, Tensor]:
        judged = batch.under_other_heads()
        completed = completion_counts(judged.landmarks_BTP2, judged.seen_BT, self.topology, self.weights)
        return super().counted(batch, seen_BK, weight, inside) | completed

    def sums(self, task: Noising) -> dict[str, Tensor]:
        hat_BTP2, judged_BTP2 = self.first.complete_twice(task.batch)
        parts = self.first.errors(judged_BTP2, task.batch.under_other_heads())
        made = self.denoise(task, hat_BTP2 if self.config.end_to_end else hat_BTP2.detach())
        return {
            "diffusion": self.error(task, made),
            **self.judged(task, made),
            **{name: self.weights.completion * part for name, part in parts.items()},
        }

    def judged(self, task: Noising, made: Denoised) -> dict[str, Tensor]:
        """What else there is to say of the picture; the joint stage leaves it at its latent."""
        del task, made
        return {}


class RefineStage(JointStage):
    name = "refine"

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__(networks, config)
        self.in_a_row, self.drop = True, 0.0  # lips that are told nothing cannot be in sync
        own = config.refine
        self.perceptual = (pyramid() if own.lpips is None else lpips(Path(own.lpips))).to(networks.device)
        self.expert: SyncExpert | None = None
        if own.expert is not None:
            self.expert = load_expert(Path(own.expert)).to(networks.device)
            _need_room(config, self.expert.config.frames)

    def counted(self, batch: ClipBatch, seen_BK: Tensor, weight: Tensor, inside: Tensor) -> dict[str, Tensor]:
        counts = super().counted(batch, seen_BK, weight, inside)
        counts |= dict.fromkeys(("pixel", "perceptual"), inside.sum())
        if self.expert is not None:
            counts["sync"] = seen_BK.all(dim=1).sum()
        return counts

    def judged(self, task: Noising, made: Denoised) -> dict[str, Tensor]:
        """The decoded one-step estimate against the truth, and its lips against the speech."""
        z_NCHW = estimate(self.process, self.model.diffusion, made.z_t_NCHW, made.hat_NCHW, task.t_N)
        true_NCHW, inside = task.x_BKCHW.flatten(0, 1), task.inside_N1HW
        # What is shown is generated inside the mask alone: so is what is judged.
        hat_NCHW = torch.lerp(true_NCHW, self.nets.autoencoder.decode(z_NCHW).to(true_NCHW), task.batch.mask_HW)
        apart_N = self.perceptual.each(hat_NCHW, true_NCHW, inside)
        parts = {
            "pixel": self.weights.pixel * picture_sum(hat_NCHW, true_NCHW, inside),
            "perceptual": self.weights.perceptual * (inside.sum(dim=(1, 2, 3)) * apart_N).sum(),
        }
        if self.expert is not None:
            parts["sync"] = self.weights.sync * self._unsynced(self.expert, task, hat_NCHW)
        return parts

    def _unsynced(self, expert: SyncExpert, task: Noising, hat_NCHW: Tensor) -> Tensor:
        """Summed over the windows that are seen from end to end."""
        whole_B = task.seen_BK.all(dim=1)
        if not whole_B.any():
            return 0 * hat_NCHW.sum()
        frames_BKCHW = hat_NCHW.reshape(task.x_BKCHW.shape)[whole_B]
        audio_BKWC = task.batch.audio_BTWC[rows_of(task.at_BK), task.at_BK][whole_B]
        return whole_B.sum() * sync_loss(expert, frames_BKCHW, audio_BKWC)


STAGES: dict[str, Callable[[Networks, TrainConfig], Stage[Any]]] = {
    s.name: s for s in (AutoencoderStage, CompletionStage, DiffusionStage, JointStage, RefineStage)
}
"""In the order they run."""


def latent_mask(mask_HW: Tensor, latent_px: int) -> Tensor:
    """(1, h, w): a cell is generated when any of its pixels is."""
    return adaptive_max_pool2d(mask_HW[None], latent_px)


def _need_room(config: TrainConfig, frames: int) -> None:
    """The sync expert judges so many frames in a row: they must be drawn, and a window must have them."""
    if config.refine.frames < frames:
        raise RequestError(f"the sync expert looks at {frames}", field="refine.frames", value=config.refine.frames)
    if (length := config.model.completion.window_frames) < frames:
        raise RequestError(f"the sync expert looks at {frames} frames", field="completion.window_frames", value=length)


def _each_of(drawn_Bk: Tensor, k: int) -> Tensor:
    """(N, ...): what was drawn for each of k pictures, or for all k of a window at once."""
    return drawn_Bk.expand(-1, k, *drawn_Bk.shape[2:]).flatten(0, 1)
