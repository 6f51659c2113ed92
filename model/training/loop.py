"""The training loop: stages in order, optimiser steps, the running mean, checkpoints, validation, a clean stop.

It defines no loss, reads no data set and knows no cluster. Running it again with the same folder continues exactly:
all randomness is a function of (seed, stage, step, item), and the clip source says where it stands. Several processes
compute what one would: a step's clips are dealt to them, and each part of the loss is a mean over all of theirs.
"""

from __future__ import annotations

import logging
import math
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.ema import Ema
from model.errors import NonFinite
from model.held import whole
from model.loss import means
from model.networks import Networks
from model.training.checkpoint import Progress, SavedState, find_state, shared_state
from model.training.checks import first_stage, need_enough_clips
from model.training.clips import ClipSource
from model.training.config import StageConfig, TrainConfig
from model.training.draws import seed_of
from model.training.feed import Feed
from model.training.fine import begin
from model.training.keeping import Keeper, Validation, trained
from model.training.parallel import parallel, part_of_step
from model.training.rates import rate_at
from model.training.shelf import Shelf
from model.training.stage import Stage, Task
from model.training.stages import STAGES
from model.training.world import World
from shards.errors import RequestError
from shards.reader import Share

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One optimiser step of all processes, as rank 0 tells it."""

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
    waited_s: float
    """Of these, for data: clips, their windows, and the way to the device."""
    computed_s: float
    samples_per_s: float
    """Clips of all processes."""
    grad_norm: float
    """Before clipping."""
    peak_bytes: int
    """The most memory so far: of the CUDA device, or of this process on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended. The model is in `folder`, ready for `DubbingPipeline.from_pretrained`."""

    folder: str | Path
    """As it was given; a bucket's address where that was."""
    finished: bool
    """False when it was asked to stop; running again continues."""
    trained: Mapping[str, int]
    """Steps per stage."""
    digest: str
    seconds: float
    best: Mapping[str, Any] = field(default_factory=dict)
    """The best validation, empty where there was none."""


def train(
    config: TrainConfig,
    clips: ClipSource,
    out: str | Path,
    *,
    on_step: Callable[[StepReport], None] | None = None,
    on_validation: Validation | None = None,
    should_stop: Callable[[], bool] | None = None,
    world: World | None = None,
) -> TrainResult:
    """Trains all stages into `out`, or continues what is there. Stops cleanly on Ctrl-C and when `should_stop` says.

    `out` is a folder or a bucket's address. Rank 0 reports each step, and validates a copy of the model as it would
    be shown; the others wait for it.
    """
    started = time.monotonic()
    with _interrupt() as interrupted:
        asked = [interrupted] if should_stop is None else [interrupted, should_stop]
        world, shelf = world or World.here(config.device), Shelf(out)
        need_enough_clips(config, world)
        run = _Run(config, clips, world, on_step, Keeper(config, shelf, world, on_validation), asked)
        finished = run.all_stages()
        digest = run.keeper.export(run.progress, run.nets, run.ema)
    return TrainResult(
        folder=out,
        finished=finished,
        trained=trained(run.progress),
        digest=digest,
        seconds=time.monotonic() - started,
        best=run.progress.best,
    )


class _Run:
    """One call of `train`: the networks, where they stand and how to go on."""

    def __init__(
        self,
        config: TrainConfig,
        clips: ClipSource,
        world: World,
        on_step: Callable[[StepReport], None] | None,
        keeper: Keeper,
        asked: Sequence[Callable[[], bool]],
    ) -> None:
        self.config, self.clips, self.world, self.keeper = config, clips, world, keeper
        self.on_step, self.asked = on_step, asked
        saved = shared_state(lambda: find_state(keeper.shelf, config), world)
        self.progress = Progress(stage=first_stage(config)) if saved is None else saved.progress
        if self.progress.source:
            clips.restore(self.progress.source)  # a place in other data is refused before anything is built
        self._build(saved)
        keeper.need_space(self.nets)
        self._enter(self.progress.stage)
        if saved is not None:
            saved.load_rest(self.ema, self.optimizer)
            log.info("continuing at stage %s, step %d", self.progress.stage, self.progress.step)

    def _build(self, saved: SavedState | None) -> None:
        """The networks as they begin or stood, the same on every process, and all stages over them."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            self.nets = Networks(self.config.model)
        if saved is None:
            self.progress.before = self.world.from_main(lambda: begin(self.nets, self.config))
        else:
            saved.load_networks(self.nets)
        self._settle()

    def _settle(self) -> None:
        self.nets.to(self.world.device)
        self.world.share(self.nets.state_dict())
        self.nets.denoiser.checkpointing = self.config.checkpointing
        if self.config.compile:
            self.nets.denoiser.compile()
        # All at once: what a late stage lacks is found out before the first step, not after days.
        with torch.random.fork_rng():
            self.stages = {name: make(self.nets, self.config) for name, make in STAGES.items()}
        for name, stage in self.stages.items():
            if self.config.stage(name).steps and not self._trained(stage):
                frozen = ", ".join(self.config.frozen)
                raise RequestError(f"stage {name} would train nothing; give it 0 steps", field="frozen", value=frozen)

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
        if self.config.validate_every:
            self.keeper.validate(self.progress, self.nets, self.ema)
        self._save()
        return True

    def _trained(self, stage: Stage[Any]) -> dict[str, nn.Module]:
        return {name: net for name, net in stage.trained().items() if name not in self.config.frozen}

    def _enter(self, name: str) -> None:
        """A fresh optimiser and mean over what this stage trains; all else is frozen."""
        self._make_whole()
        self.stage = self.stages[name]
        self.nets.requires_grad_(False).eval()
        trained = self._trained(self.stage)
        self.shares = [self.stage.rate_of(part) for part in trained]
        for net in trained.values():
            net.requires_grad_(True).train()
        self.working = parallel(self.stage, trained, self.config.parallel, self.world)
        groups = [{"params": list(net.parameters())} for net in trained.values()]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), weight_decay=self.config.weight_decay)
        self.ema = Ema(self.nets, self.config.ema_decay)

    def _make_whole(self) -> None:
        """Networks of which each process holds all again, where it held a share: the next stage shares out others."""
        if not any(isinstance(value, DTensor) for value in self.nets.parameters()):
            return
        tensors = {name: whole(value) for name, value in self.nets.state_dict().items()}
        with torch.random.fork_rng():
            self.nets = Networks(self.config.model)
        self.nets.load_state_dict(tensors)
        self._settle()

    def _one_stage(self) -> bool:
        name, settings, progress = self.stage.name, self.config.stage(self.stage.name), self.progress
        if name in progress.done:
            return True
        if progress.stage != name:
            progress.stage, progress.step = name, 0
        share = Share(rank=self.world.rank, world_size=self.world.size)
        with closing(Feed(self.clips, self.config, name, share, first=progress.step, source=progress.source)) as feed:
            while progress.step < settings.steps:
                if self.world.any(any(ask() for ask in self.asked)):
                    return False
                self._step(feed, settings)
                self._keep()
        self.ema.copy_to(self.nets)
        self._make_whole()
        self.clips.restore(progress.source)
        self.stages[name].finish(batch.to(self.world.device) for batch in feed.whole_batches())
        progress.source = dict(self.clips.state())
        progress.done[name] = settings.steps
        return True

    def _keep(self) -> None:
        """What falls due after a step."""
        if self.config.validate_every and self.progress.total % self.config.validate_every == 0:
            self.keeper.validate(self.progress, self.nets, self.ema)
        if self.progress.step % self.config.checkpoint_every == 0:
            self._save()
            self.keeper.export(self.progress, self.nets, self.ema)

    def _save(self) -> None:
        self.keeper.save(self.progress, self.nets, self.ema, self.optimizer)

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(self, feed: Feed, settings: StageConfig) -> None:
        started, step = time.monotonic(), self.progress.step
        fed = feed.take()
        tasks = [self.stage.draw(batch.to(self.world.device), draws) for batch, draws in fed.parts]
        waited_s = time.monotonic() - started
        said = self._gradients(tasks, step)
        own = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = whole(nn.utils.clip_grad_norm_(own, self.config.grad_clip))
        self._need_finite(float(norm), {**said, "gradient norm": float(norm)})
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = share * rate_at(settings, step)
        self.optimizer.step()
        self.ema.update(self.nets)
        self.progress.step, self.progress.source = step + 1, fed.source
        if self.on_step is not None and self.world.is_main:
            self.on_step(self._report(said, float(norm), settings, started, waited_s))

    def _gradients(self, tasks: Sequence[Task], step: int) -> dict[str, float]:
        """Of the mean over all windows of all processes, in as many parts as the tasks are; the losses' parts."""
        names = list(tasks[0].counts)
        own = torch.stack([torch.stack([task.counts[name].float() for task in tasks]).sum() for name in names])
        counts = dict(zip(names, self.world.sum(own), strict=True))
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(len(names), device=self.world.device)
        for number, task in enumerate(tasks):
            with part_of_step(self.working, is_last=number == len(tasks) - 1):
                parts = means(self._sums(task, step, number), counts)
                # Processes' gradients are averaged, and each has only its own windows' part of the mean.
                torch.autograd.backward(self.world.size * torch.stack(list(parts.values())).sum())
            sums += torch.stack([parts[name].detach().float() for name in names])
        said = dict(zip(names, self.world.sum(sums).tolist(), strict=True))
        self._need_finite(sum(said.values()), said)
        return said

    def _sums(self, task: Task, step: int, number: int) -> dict[str, Tensor]:
        mixed = torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")
        # Dropout draws from the global generator; it is seeded per step, and given back as it was.
        with torch.random.fork_rng(), mixed:
            stage = list(STAGES).index(self.stage.name)
            torch.manual_seed(seed_of(self.config.seed, stage, step, self.world.rank, number, 2))
            sums: dict[str, Tensor] = self.working(task)
            return sums

    def _need_finite(self, value: float, parts: Mapping[str, float]) -> None:
        if not math.isfinite(value):
            raise NonFinite(stage=self.stage.name, step=self.progress.step, parts=parts)

    def _report(
        self, said: Mapping[str, float], norm: float, settings: StageConfig, started: float, waited_s: float
    ) -> StepReport:
        seconds = time.monotonic() - started
        return StepReport(
            stage=self.stage.name,
            step=self.progress.step,
            steps=settings.steps,
            total_step=self.progress.total,
            total_steps=sum(self.config.stage(name).steps for name in STAGES),
            loss=sum(said.values()),
            parts=said,
            rate=self.optimizer.param_groups[0]["lr"],
            seconds=seconds,
            waited_s=waited_s,
            computed_s=seconds - waited_s,
            samples_per_s=settings.clips / seconds,
            grad_norm=norm,
            peak_bytes=_peak_bytes(self.world.device),
        )


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
