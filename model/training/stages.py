"""What one step of each stage computes: batch -> named parts of the loss. No optimiser, no files, no loop.

    autoencoder   pictures -> pictures
    completion    speech, pose, references -> lips and jaw
    diffusion     the denoiser, with true landmarks
    joint         the denoiser, with predicted lips and jaw; the loss flows into completion

B windows, T frames of a window, K pictures taken from it, R references, C H W picture or latent, P points.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from model.batch import ClipBatch
from model.loss import autoencoder_loss, completion_loss, diffusion_loss, region_weight
from model.networks import Networks
from model.sampling import forward_process, target
from model.training.config import TrainConfig
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


class DiffusionStage(Stage):
    name = "diffusion"
    max_noise = 1.0

    def trained(self) -> dict[str, nn.Module]:
        return {"denoiser": self.nets.denoiser, "reference": self.nets.reference}

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"diffusion": self.denoise(batch, batch.landmarks_BTP2, generator)}

    def denoise(self, batch: ClipBatch, lm_BTP2: Tensor, generator: torch.Generator) -> Tensor:
        """|| v - v^ ||^2 on some frames of each window, told the landmarks `lm`."""
        model, nets = self.config.model, self.nets
        x_BKCHW, at_BK = _pick(batch, self.config.stage(self.name).frames, generator)
        b, k = at_BK.shape
        rows = _rows(at_BK)
        lm, true_lm = lm_BTP2[rows, at_BK].flatten(0, 1), batch.landmarks_BTP2[rows, at_BK].flatten(0, 1)

        # z, its context, and F_a: nothing here is trained
        with torch.no_grad():
            hidden_BKCHW = x_BKCHW * (1 - batch.mask_HW)
            refs_BRCHW = batch.ref_frames_BRCHW
            parts = [x_BKCHW.flatten(0, 1), hidden_BKCHW.flatten(0, 1), refs_BRCHW.flatten(0, 1)]
            encoded = nets.autoencoder.encode(torch.cat(parts))
            z, source, refs = encoded[: b * k], encoded[b * k : 2 * b * k], encoded[2 * b * k :]
        mask_1HW = latent_mask(batch.mask_HW, model.latent_px)
        references = nets.reference(refs.reshape(b, -1, *refs.shape[1:]))

        # q(z_t | z)
        process = forward_process(model.diffusion)
        limit = max(int(model.diffusion.num_steps * self.max_noise), 1)
        t_B = torch.randint(0, limit, (b * k,), generator=generator).to(z.device)
        noise = torch.randn(z.shape, generator=generator).to(z)
        z_t = process.add_noise(z, noise, t_B)

        # v^
        told = [_dropped(b * k, self.config.drop_condition, generator).to(z) for _ in range(2)]
        hat = nets.denoiser(z_t, mask_1HW.expand(b * k, -1, -1, -1), source, t_B, lm, references, *told)
        seen_B = batch.seen_BT[rows, at_BK].flatten()
        weight = region_weight(mask_1HW, true_lm, seen_B, self.topology, self.weights)
        return diffusion_loss(hat, target(process, model.diffusion, z, noise, t_B), weight)


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
        return {
            "diffusion": self.denoise(batch, told_BTP2, generator),
            **{name: self.weights.completion * part for name, part in parts.items()},
        }


STAGES: dict[str, Callable[[Networks, TrainConfig], Stage]] = {
    s.name: s for s in (AutoencoderStage, CompletionStage, DiffusionStage, JointStage)
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


def _rows(at_BK: Tensor) -> Tensor:
    """(B, 1): the window each of these frames is in."""
    return torch.arange(len(at_BK), device=at_BK.device)[:, None]


def _dropped(count: int, share: float, generator: torch.Generator) -> Tensor:
    """(count,) 1 for what is kept, 0 for what is trained without."""
    return (torch.rand(count, generator=generator) >= share).float()
