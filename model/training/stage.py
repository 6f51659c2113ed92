"""What a stage of training is, and the two that come first. No optimiser, no files, no loop.

    autoencoder   pictures -> pictures
    completion    speech, pose, references -> lips and jaw

First what is random is drawn, which fixes what each part of the loss is a mean over; then the networks are run. So the
counts of all processes are known before the first gradient. The stages with the denoiser are in `stages.py`.

B windows, T frames of a window, K pictures taken from it, C H W picture or latent.
"""

# ruff: noqa: N815  (shape suffixes)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from model.batch import ClipBatch
from model.loss import autoencoder_sums, completion_counts, completion_sums, means, region_weight
from model.networks import Networks
from model.training.augment import varied
from model.training.config import TrainConfig
from model.training.draws import Draws
from shards.topology import topology

SCALE_BATCHES = 4
"""Batches of pictures from which the latents' scale is measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """Windows and all that is drawn for them; nothing of it depends on the weights."""

    batch: ClipBatch
    counts: dict[str, Tensor]
    """How much each part of the loss is a mean over."""


AnyTask = TypeVar("AnyTask", bound=Task)


class Stage(ABC, Generic[AnyTask]):
    """One stage of training over the networks; holds no state of its own."""

    name: str

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        self.nets, self.config, self.weights = networks, config, config.weights
        self.topology = topology(config.model.condition.topology)

    @abstractmethod
    def trained(self) -> dict[str, nn.Module]:
        """The networks whose weights move, unless they are frozen."""

    @abstractmethod
    def draw(self, batch: ClipBatch, draws: Draws) -> AnyTask:
        """What is to be done with these windows."""

    @abstractmethod
    def sums(self, task: AnyTask) -> dict[str, Tensor]:
        """Named parts, each still to be divided by its count; the sum of the quotients is minimised."""

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named parts for one batch that stands alone."""
        task = self.draw(batch, Draws.of(generator, len(batch.seen_BT)))
        return means(self.sums(task), task.counts)

    def rate_of(self, network: str) -> float:
        """The share of the stage's rate this network is trained at."""
        del network
        return 1.0

    def finish(self, batches: Iterator[ClipBatch]) -> None:
        """What is left to do after the last step; `batches` are whole ones, of all processes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures(Task):
    """Pictures to be encoded and decoded."""

    x_BCHW: Tensor
    noise_BCHW: Tensor
    weight_B1HW: Tensor


class AutoencoderStage(Stage[Pictures]):
    name = "autoencoder"

    def trained(self) -> dict[str, nn.Module]:
        return {"autoencoder": self.nets.autoencoder}

    def draw(self, batch: ClipBatch, draws: Draws) -> Pictures:
        x_BKCHW, at_BK = pick(batch, self.config.autoencoder.frames, draws)
        rows, side = rows_of(at_BK), self.config.model.latent_px
        lm, seen = batch.landmarks_BTP2[rows, at_BK].flatten(0, 1), batch.seen_BT[rows, at_BK].flatten()
        config = self.config.model.autoencoder
        noise = draws.normal(at_BK.shape[1], config.latent_channels, side, side).flatten(0, 1).to(x_BKCHW)
        weight = region_weight(batch.mask_HW[None], lm, seen, self.topology, self.weights)
        return Pictures(
            batch=batch,
            counts=dict.fromkeys(("picture", "gradient"), weight.sum()),
            x_BCHW=x_BKCHW.flatten(0, 1),
            noise_BCHW=config.train_noise * noise,
            weight_B1HW=weight,
        )

    def sums(self, task: Pictures) -> dict[str, Tensor]:
        hat_BCHW = self.nets.autoencoder.roundtrip(task.x_BCHW, task.noise_BCHW).to(task.x_BCHW)
        return autoencoder_sums(hat_BCHW, task.x_BCHW, task.weight_B1HW, self.weights)

    def finish(self, batches: Iterator[ClipBatch]) -> None:
        pictures = [next(batches).frames_BTCHW[:, ::5].flatten(0, 1) for _ in range(SCALE_BATCHES)]
        self.nets.autoencoder.measure_scale(torch.cat(pictures))


class CompletionStage(Stage[Task]):
    name = "completion"

    def trained(self) -> dict[str, nn.Module]:
        return {"completion": self.nets.completion}

    def draw(self, batch: ClipBatch, draws: Draws) -> Task:
        batch = batch.under_other_heads()
        if self.config.augment:
            batch = varied(batch, self.config.model.condition.dims, draws)
        counts = completion_counts(batch.landmarks_BTP2, batch.seen_BT, self.topology, self.weights)
        return Task(batch=batch, counts=counts)

    def sums(self, task: Task) -> dict[str, Tensor]:
        return self.errors(self.complete(task.batch), task.batch)

    def errors(self, hat_BTP2: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        return completion_sums(hat_BTP2, batch.landmarks_BTP2, batch.seen_BT, self.topology, self.weights)

    def complete_twice(self, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """What is drawn, under the own heads, and what is judged, under others; in one call of the network."""
        other = batch.under_other_heads()
        if other is batch:
            hat_BTP2 = self.complete(batch)
            return hat_BTP2, hat_BTP2
        names = ("audio_BTWC", "landmarks_BTP2", "seen_BT", "ref_landmarks_BNP2")
        both = replace(batch, **{name: torch.cat([getattr(batch, name), getattr(other, name)]) for name in names})
        own_BTP2, other_BTP2 = self.complete(both).chunk(2)
        return own_BTP2, other_BTP2

    def complete(self, batch: ClipBatch) -> Tensor:
        hat: Tensor = self.nets.completion(
            batch.audio_BTWC, batch.landmarks_BTP2, batch.seen_BT, batch.ref_landmarks_BNP2
        )
        return hat


def pick(batch: ClipBatch, count: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """`count` random frames of each window, seen ones first: (B, K, C, H, W) and their (B, K) places."""
    order = draws.uniform(batch.seen_BT.shape[1]).to(batch.seen_BT.device)
    at_BK = (order + 2.0 * ~batch.seen_BT).argsort(dim=1)[:, :count]
    return batch.frames_BTCHW[rows_of(at_BK), at_BK], at_BK


def run_of(batch: ClipBatch, count: int, draws: Draws) -> tuple[Tensor, Tensor]:
    """`count` consecutive frames of each window from a random one on: (B, K, C, H, W) and their (B, K) places."""
    length = batch.seen_BT.shape[1]
    count = min(count, length)
    first_B1 = draws.whole(length - count + 1, 1)
    at_BK = (first_B1 + torch.arange(count)).to(batch.seen_BT.device)
    return batch.frames_BTCHW[rows_of(at_BK), at_BK], at_BK


def rows_of(at_BK: Tensor) -> Tensor:
    """(B, 1): the window each of these frames is in."""
    return torch.arange(len(at_BK), device=at_BK.device)[:, None]
