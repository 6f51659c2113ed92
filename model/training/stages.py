"""What one step of each stage computes: batch -> named parts of the loss. No optimiser, no files, no loop.

    autoencoder   pictures -> pictures
    completion    speech, pose, references -> lips and jaw
    diffusion     the denoiser, with true landmarks
    joint         the denoiser, with predicted lips and jaw; the loss flows into completion
    refine        joint on consecutive frames, and the picture they make in one step judged in pixels

B windows, T frames of a window, K pictures taken from it, R references, C H W picture or latent, P points.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from model.batch import ClipBatch
from model.loss import autoencoder_loss, completion_loss, diffusion_loss, min_snr, picture_loss, region_weight
from model.networks import Networks
from model.perceptual import lpips, pyramid
from model.sampling import estimate, forward_process, signal_to_noise, target
from model.sync import SyncExpert, sync_loss
from model.training.config import TrainConfig
from model.training.sync import load_expert
from shards.errors import RequestError
from shards.topology import topology

SCALE_BATCHES = 4
"""Batches of pictures from which the latents' scale is measured."""


class Stage(ABC):
    """One stage of training over the networks; holds no state of its own."""

    name: str

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        self.nets, self.config, self.weights = networks, config, config.weights
        self.topology = topology(config.model.condition.topology)

    @abstractmethod
    def trained(self) -> dict[str, nn.Module]:
        """The networks whose weights move."""

    @abstractmethod
    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named parts; their sum is minimised."""

    def rate_of(self, network: str) -> float:
        """The share of the stage's rate this network is trained at."""
        del network
        return 1.0

    def finish(self, batches: Iterator[ClipBatch]) -> None:  # noqa: B027  (most stages need none)
        """What is left to do after the last step."""


class AutoencoderStage(Stage):
    name = "autoencoder"

    def trained(self) -> dict[str, nn.Module]:
        return {"autoencoder": self.nets.autoencoder}

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        x_BKCHW, at_BK = _pick(batch, self.config.autoencoder.frames, generator)
        x_BCHW, rows = x_BKCHW.flatten(0, 1), _rows(at_BK)
        lm, seen = batch.landmarks_BTP2[rows, at_BK].flatten(0, 1), batch.seen_BT[rows, at_BK].flatten()
        config = self.config.model.autoencoder
        side = self.config.model.latent_px
        noise = torch.randn(len(x_BCHW), config.latent_channels, side, side, generator=generator).to(x_BCHW)
        hat_BCHW = self.nets.autoencoder.roundtrip(x_BCHW, config.train_noise * noise)
        weight = region_weight(batch.mask_HW[None], lm, seen, self.topology, self.weights)
        return autoencoder_loss(hat_BCHW, x_BCHW, weight, self.weights)

    def finish(self, batches: Iterator[ClipBatch]) -> None:
        pictures = [next(batches).frames_BTCHW[:, ::5].flatten(0, 1) for _ in range(SCALE_BATCHES)]
        self.nets.autoencoder.measure_scale(torch.cat(pictures))


class CompletionStage(Stage):
    name = "completion"

    def trained(self) -> dict[str, nn.Module]:
        return {"completion": self.nets.completion}

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        del generator
        hat_BTP2 = self.complete(batch)
        return completion_loss(hat_BTP2, batch.landmarks_BTP2, batch.seen_BT, self.topology, self.weights)

    def complete(self, batch: ClipBatch) -> Tensor:
        hat: Tensor = self.nets.completion(
            batch.audio_BTWC, batch.landmarks_BTP2, batch.seen_BT, batch.ref_landmarks_BNP2
        )
        return hat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Denoised:
    """What the denoiser made of K pictures of each of B windows; N = B*K."""

    at_BK: Tensor
    """Their frames."""
    x_BKCHW: Tensor
    seen_BK: Tensor
    lm_NP2: Tensor
    """The true landmarks."""
    z_NCHW: Tensor
    z_t_NCHW: Tensor
    noise_NCHW: Tensor
    t_N: Tensor
    hat_NCHW: Tensor
    """What the denoiser said: v, the noise or z."""


class DiffusionStage(Stage):
    name = "diffusion"
    max_noise = 1.0

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__(networks, config)
        self.model, self.process = config.model, forward_process(config.model.diffusion)
        self.in_a_row, self.drop = config.model.denoiser.temporal_attention, config.drop_condition

    def trained(self) -> dict[str, nn.Module]:
        return {"denoiser": self.nets.denoiser, "reference": self.nets.reference}

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"diffusion": self.error(batch, self.denoise(batch, batch.landmarks_BTP2, generator))}

    def denoise(self, batch: ClipBatch, lm_BTP2: Tensor, generator: torch.Generator) -> Denoised:
        """Some frames of each window: noised, and denoised by who is told the landmarks `lm`."""
        nets, count = self.nets, self.config.stage(self.name).frames
        x_BKCHW, at_BK = (_run if self.in_a_row else _pick)(batch, count, generator)
        (b, k), rows = at_BK.shape, _rows(at_BK)
        z, source, refs_BRCHW = self._latents(batch, x_BKCHW)
        references = nets.reference(refs_BRCHW)

        # q(z_t | z)
        limit = max(int(self.model.diffusion.num_steps * self.max_noise), 1)
        t_N = torch.randint(0, limit, (b * k,), generator=generator).to(z.device)
        noise = torch.randn(z.shape, generator=generator).to(z)
        told_N = [_dropped(b * k, self.drop, generator).to(z) for _ in range(2)]
        if self.in_a_row:  # as in dubbing: one noise for all frames of a window; and one t, and all told or none
            t_N, noise, *told_N = (_first_of(drawn, k) for drawn in (t_N, noise, *told_N))
        z_t = self.process.add_noise(z, noise, t_N)

        # v^
        mask_1HW = latent_mask(batch.mask_HW, self.model.latent_px)
        said = (batch.audio_BTWC if self.model.denoiser.landmarks == "audio" else lm_BTP2)[rows, at_BK].flatten(0, 1)
        seen_BK = batch.seen_BT[rows, at_BK]
        moment_BK = at_BK.float().masked_fill(~seen_BK, torch.nan) if self.in_a_row else None
        hat = nets.denoiser(
            z_t, mask_1HW.expand(b * k, -1, -1, -1), source, t_N, said, references, *told_N, moment_VT=moment_BK
        )
        return Denoised(
            at_BK=at_BK,
            x_BKCHW=x_BKCHW,
            seen_BK=seen_BK,
            lm_NP2=batch.landmarks_BTP2[rows, at_BK].flatten(0, 1),
            z_NCHW=z,
            z_t_NCHW=z_t,
            noise_NCHW=noise,
            t_N=t_N,
            hat_NCHW=hat,
        )

    def error(self, batch: ClipBatch, made: Denoised) -> Tensor:
        """|| v - v^ ||^2."""
        config, mask_1HW = self.model.diffusion, latent_mask(batch.mask_HW, self.model.latent_px)
        weight = region_weight(mask_1HW, made.lm_NP2, made.seen_BK.flatten(), self.topology, self.weights)
        wanted = target(self.process, config, made.z_NCHW, made.noise_NCHW, made.t_N)
        share_N = None
        if config.min_snr is not None:
            share_N = min_snr(signal_to_noise(self.process, made.t_N), config.prediction, config.min_snr)
        return diffusion_loss(made.hat_NCHW, wanted, weight, share_N)

    @torch.no_grad()
    def _latents(self, batch: ClipBatch, x_BKCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z and its masked source, (N, C, H, W) each, and the references' (B, R, C, H, W); nothing here is trained."""
        n, hidden_BKCHW = x_BKCHW.shape[0] * x_BKCHW.shape[1], x_BKCHW * (1 - batch.mask_HW)
        parts = [x_BKCHW.flatten(0, 1), hidden_BKCHW.flatten(0, 1), batch.ref_frames_BRCHW.flatten(0, 1)]
        z_NCHW, source_NCHW, refs = self.nets.autoencoder.encode(torch.cat(parts)).tensor_split([n, 2 * n])
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

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        hat_BTP2 = self.first.complete(batch)
        parts = completion_loss(hat_BTP2, batch.landmarks_BTP2, batch.seen_BT, self.topology, self.weights)
        told_BTP2 = hat_BTP2 if self.config.end_to_end else hat_BTP2.detach()
        made = self.denoise(batch, told_BTP2, generator)
        return {
            "diffusion": self.error(batch, made),
            **self.judged(batch, made),
            **{name: self.weights.completion * part for name, part in parts.items()},
        }

    def judged(self, batch: ClipBatch, made: Denoised) -> dict[str, Tensor]:
        """What else there is to say of the picture; the joint stage leaves it at its latent."""
        del batch, made
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

    def judged(self, batch: ClipBatch, made: Denoised) -> dict[str, Tensor]:
        """The decoded one-step estimate against the truth, and its lips against the speech."""
        z_NCHW = estimate(self.process, self.model.diffusion, made.z_t_NCHW, made.hat_NCHW, made.t_N)
        true_NCHW, seen_N = made.x_BKCHW.flatten(0, 1), made.seen_BK.flatten()
        # What is shown is generated inside the mask alone: so is what is judged.
        hat_NCHW = torch.lerp(true_NCHW, self.nets.autoencoder.decode(z_NCHW), batch.mask_HW)
        inside = region_weight(batch.mask_HW[None], made.lm_NP2, seen_N, self.topology, self.weights) * batch.mask_HW
        parts = {
            "pixel": self.weights.pixel * picture_loss(hat_NCHW, true_NCHW, inside),
            "perceptual": self.weights.perceptual * self.perceptual(hat_NCHW, true_NCHW, inside),
        }
        whole_B = made.seen_BK.all(dim=1)
        if self.expert is not None and whole_B.any():
            frames_BKCHW = hat_NCHW.reshape(made.x_BKCHW.shape)[whole_B]
            audio_BKWC = batch.audio_BTWC[_rows(made.at_BK), made.at_BK][whole_B]
            parts["sync"] = self.weights.sync * sync_loss(self.expert, frames_BKCHW, audio_BKWC)
        return parts


STAGES: dict[str, Callable[[Networks, TrainConfig], Stage]] = {
    s.name: s for s in (AutoencoderStage, CompletionStage, DiffusionStage, JointStage, RefineStage)
}
"""In the order they run."""


def latent_mask(mask_HW: Tensor, latent_px: int) -> Tensor:
    """(1, h, w): a cell is generated when any of its pixels is."""
    return adaptive_max_pool2d(mask_HW[None], latent_px)


def _pick(batch: ClipBatch, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` random frames of each window, seen ones first: (B, K, C, H, W) and their (B, K) places."""
    order = torch.rand(batch.seen_BT.shape, generator=generator).to(batch.seen_BT.device)
    at_BK = (order + 2.0 * ~batch.seen_BT).argsort(dim=1)[:, :count]
    return batch.frames_BTCHW[_rows(at_BK), at_BK], at_BK


def _run(batch: ClipBatch, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` consecutive frames of each window from a random one on: (B, K, C, H, W) and their (B, K) places."""
    b, length = batch.seen_BT.shape
    count = min(count, length)
    first_B = torch.randint(0, length - count + 1, (b,), generator=generator)
    at_BK = (first_B[:, None] + torch.arange(count)).to(batch.seen_BT.device)
    return batch.frames_BTCHW[_rows(at_BK), at_BK], at_BK


def _need_room(config: TrainConfig, frames: int) -> None:
    """The sync expert judges so many frames in a row: they must be drawn, and a window must have them."""
    if config.refine.frames < frames:
        raise RequestError(f"the sync expert looks at {frames}", field="refine.frames", value=config.refine.frames)
    if (length := config.model.completion.window_frames) < frames:
        raise RequestError(f"the sync expert looks at {frames} frames", field="completion.window_frames", value=length)


def _rows(at_BK: Tensor) -> Tensor:
    """(B, 1): the window each of these frames is in."""
    return torch.arange(len(at_BK), device=at_BK.device)[:, None]


def _first_of(drawn_N: Tensor, k: int) -> Tensor:
    """What was drawn for the first of each k neighbours, for all of them."""
    return drawn_N[::k].repeat_interleave(k, dim=0)


def _dropped(count: int, share: float, generator: torch.Generator) -> Tensor:
    """(count,) 1 for what is kept, 0 for what is trained without."""
    return (torch.rand(count, generator=generator) >= share).float()
