"""The training loop: stages in order, optimiser steps, the running mean, checkpoints, a clean stop.

It defines no loss, reads no data set and knows no cluster. Running it again with the same folder continues exactly:
all randomness is a function of (seed, stage, step), and the clip source says where it stands.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.batch import ClipBatch, collate, windows
from model.ema import Ema
from model.errors import NonFinite
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.training.checkpoint import Progress, find_state, save_state
from model.training.clips import ClipSource
from model.training.config import StageConfig, TrainConfig
from model.training.stages import STAGES, Stage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One optimiser step."""

    stage: str
    step: int
    """Steps of this stage done, this one included."""
    steps: int
    """Steps of this stage."""
    total_step: int
    total_steps: int
    loss: float
    parts: Mapping[str, float]
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended. The model is in `folder`, ready for `DubbingPipeline.from_pretrained`."""

    folder: Path
    finished: bool
    """False when it was asked to stop; running again continues."""
    trained: Mapping[str, int]
    """Steps per stage."""
    digest: str
    seconds: float


def train(
    config: TrainConfig,
    clips: ClipSource,
    out: Path,
    *,
    on_step: Callable[[StepReport], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainResult:
    """Trains all stages into `out`, or continues what is there. Stops cleanly on Ctrl-C and when `should_stop` says."""
    started = time.monotonic()
    with _interrupt() as interrupted:
        run = _Run(config, clips, out, on_step, lambda: interrupted() or (should_stop is not None and should_stop()))
        finished = run.all_stages()
    return TrainResult(
        folder=out,
        finished=finished,
        trained=run.trained(),
        digest=run.export(),
        seconds=time.monotonic() - started,
    )


class _Run:
    """One call of `train`: the networks, where they stand and how to go on."""

    def __init__(
        self,
        config: TrainConfig,
        clips: ClipSource,
        out: Path,
        on_step: Callable[[StepReport], None] | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.clips, self.out = config, clips, out
        self.on_step, self.should_stop = on_step, should_stop
        self.saved = find_state(out, config)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.nets = Networks(config.model)
        if self.saved is None:
            self.nets.load_sources()
            self.progress = Progress(stage=next(iter(STAGES)))
        else:
            self.progress = self.saved.progress
            clips.restore(self.progress.source)
        self.nets.to(config.device)
        self.nets.denoiser.checkpointing = config.checkpointing
        # All at once: what a late stage lacks is found out before the first step, not after days.
        with torch.random.fork_rng():
            self.stages = {name: make(self.nets, config) for name, make in STAGES.items()}
        self.drawn = clips.train()
        self._enter(self.progress.stage)
        if self.saved is not None:
            self.saved.load_into(self.nets, self.ema, self.optimizer)
            log.info("continuing at stage %s, step %d", self.progress.stage, self.progress.step)

    # -- stages --------------------------------------------------------------------------------------------------------

    def all_stages(self) -> bool:
        """True when the last stage is done, False when stopped before; saved in both cases."""
        names = list(STAGES)
        for name in names[names.index(self.progress.stage) :]:
            if self.config.stage(name).steps == 0:
                continue  # never begun, so a continuation may still give it steps
            if name != self.stage.name:
                self._enter(name)
            if not self._one_stage():
                self._save()
                return False
        self._save()
        return True

    def _enter(self, name: str) -> None:
        """A fresh optimiser and mean over what this stage trains; all else is frozen."""
        self.stage: Stage = self.stages[name]
        self.nets.requires_grad_(False).eval()
        trained = self.stage.trained()
        self.shares = [self.stage.rate_of(part) for part in trained]
        groups = [{"params": list(net.requires_grad_(True).train().parameters())} for net in trained.values()]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), weight_decay=self.config.weight_decay)
        self.ema = Ema(self.nets, self.config.ema_decay)

    def _one_stage(self) -> bool:
        name, settings = self.stage.name, self.config.stage(self.stage.name)
        if name in self.progress.done:
            return True
        if self.progress.stage != name:
            self.progress.stage, self.progress.step = name, 0
        while self.progress.step < settings.steps:
            if self.should_stop():
                return False
            self._report(self._step(settings), settings)
            if self.progress.step % self.config.checkpoint_every == 0:
                self._save()
                self.export()
        self.ema.copy_to(self.nets)
        self.stage.finish(self._batches(settings, first=settings.steps))
        self.progress.done[name] = settings.steps
        return True

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(self, settings: StageConfig) -> tuple[dict[str, float], float]:
        started, step = time.monotonic(), self.progress.step
        batch = next(self._batches(settings, first=step))
        parts = self._losses(batch, step)
        loss = torch.stack(list(parts.values())).sum()
        said = {name: float(part.detach()) for name, part in parts.items()}
        self._need_finite(loss, said)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        own = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(own, self.config.grad_clip)
        self._need_finite(norm, {**said, "gradient norm": float(norm)})
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = share * self._rate(settings, step)
        self.optimizer.step()
        self.ema.update(self.nets)
        self.progress.step += 1
        return said, time.monotonic() - started

    def _losses(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        seed = int(np.random.SeedSequence([*self._key(step), 1]).generate_state(1)[0])
        kind = torch.device(self.config.device).type
        mixed = torch.autocast(kind, torch.bfloat16, enabled=self.config.precision == "bf16")
        # Dropout draws from the global generator; it is seeded per step, and given back as it was.
        with torch.random.fork_rng(), mixed:
            torch.manual_seed(seed)
            return self.stage.loss(batch, torch.Generator().manual_seed(seed))

    def _batches(self, settings: StageConfig, *, first: int) -> Iterator[ClipBatch]:
        step = first
        while True:
            rng = np.random.default_rng([*self._key(step), 0])
            length = self.config.model.completion.window_frames
            items: list[ClipBatch] = []
            for _ in range(settings.clips):
                items += windows(next(self.drawn), length, rng, self.config.model, settings.windows)
            yield collate(items).to(self.nets.device)
            step += 1

    def _key(self, step: int) -> tuple[int, int, int]:
        return self.config.seed, list(STAGES).index(self.stage.name), step

    def _rate(self, settings: StageConfig, step: int) -> float:
        return settings.rate * min(1.0, (step + 1) / max(settings.warmup, 1))

    def _need_finite(self, value: Tensor, parts: Mapping[str, float]) -> None:
        if not math.isfinite(float(value.detach())):
            raise NonFinite(stage=self.stage.name, step=self.progress.step, parts=parts)

    # -- what is kept --------------------------------------------------------------------------------------------------

    def trained(self) -> dict[str, int]:
        return {**self.progress.done, self.progress.stage: self.progress.step}

    def export(self) -> str:
        """Writes the running mean as a model into the folder; returns its digest."""
        shown = deepcopy(self.nets)
        self.ema.copy_to(shown)
        return DubbingPipeline.from_networks(shown, trained=self.trained()).save_pretrained(self.out)

    def _save(self) -> None:
        self.progress.source = dict(self.clips.state())
        save_state(self.out, self.config, self.progress, self.nets, self.ema, self.optimizer)

    def _report(self, said: tuple[dict[str, float], float], settings: StageConfig) -> None:
        if self.on_step is None:
            return
        parts, seconds = said
        total = sum(self.config.stage(name).steps for name in STAGES)
        self.on_step(
            StepReport(
                stage=self.stage.name,
                step=self.progress.step,
                steps=settings.steps,
                total_step=sum(self.progress.done.values()) + self.progress.step,
                total_steps=total,
                loss=sum(parts.values()),
                parts=parts,
                rate=self.optimizer.param_groups[0]["lr"],
                seconds=seconds,
            )
        )


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C asks to stop after the step, so that no half step is saved; the second one interrupts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: Any) -> None:
        del number, frame
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
