"""Where a training run stands, in one file: tensors by name, the rest as JSON in the file's header. No pickle.

Tensors are whole, however many processes trained them, so another number of processes goes on. Where the file lies,
and which one is used when the newest is damaged, is `shelf.py`'s.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.ema import Ema
from model.errors import CheckpointDamaged, CheckpointMismatch
from model.held import shared_as, whole
from model.training.config import STAGE_NAMES, TrainConfig
from model.training.shelf import Shelf
from model.training.world import World
from shards.fingerprint import plain

log = logging.getLogger(__name__)

FREE = (
    *("best_by", "best_is", "checkpoint_every", "checkpointing", "compile", "device", "keep_last", "parallel"),
    *("readers", "start_from", "validate_every"),
    *(f"{stage}.accumulate" for stage in STAGE_NAMES),
)
"""Fields that may change between a run and its continuation: they move no weight but by rounding, or have done so."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a run is; changes from step to step."""

    stage: str
    step: int = 0
    """Steps of this stage that are done."""
    done: dict[str, int] = field(default_factory=dict)
    """Steps per finished stage."""
    before: dict[str, int] = field(default_factory=dict)
    """Steps per stage of the weights that the run began with (`start_from`)."""
    source: dict[str, Any] = field(default_factory=dict)
    """What the clip source said of itself."""
    best: dict[str, Any] = field(default_factory=dict)
    """The best validation: its step, its value and all its metrics."""

    validated: int = 0
    """The step, of all stages, of the newest validation."""

    @property
    def total(self) -> int:
        """Steps of all stages."""
        return sum(steps for stage, steps in self.done.items() if stage != self.stage) + self.step


def gathered(networks: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that the next step depends on, whole and in main memory; every process takes part."""
    tensors = {f"net.{name}": value for name, value in networks.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.mean.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"opt.{index}.{slot}": value for slot, value in slots.items()}
    return {name: whole(value).cpu().contiguous() for name, value in tensors.items()}


def save_state(
    shelf: Shelf, config: TrainConfig, progress: Progress, ema_steps: int, tensors: Mapping[str, Tensor]
) -> None:
    """Puts a state on the shelf, whole or not at all."""
    about = {"config": plain(config), "progress": plain(progress), "ema_steps": ema_steps}
    with shelf.scratch() as scratch:
        file = scratch / "state.safetensors"
        save_file(dict(tensors), file, metadata={"about": json.dumps(about)})
        shelf.put(progress.total, file, about, keep=config.keep_last)


class SavedState:
    """A run that was stopped; read once, then handed to the networks, the mean and the optimiser."""

    def __init__(self, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.about, self.tensors = about, tensors
        self.progress = Progress(**about["progress"])

    @classmethod
    def read(cls, path: Path) -> SavedState:
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                return cls(about, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, TypeError, KeyError, ValueError) as error:
            raise CheckpointDamaged(f"{path}: not a training state: {error}") from error

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): v for name, v in self.tensors.items() if name.startswith(prefix)}

    def load_networks(self, networks: nn.Module) -> None:
        networks.load_state_dict(self.part("net."))

    def load_rest(self, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
        """The mean and the optimiser of the stage that was under way, each process its share."""
        ema.load(self.part("ema."), self.about["ema_steps"])
        slots: dict[int, dict[str, Tensor]] = {}
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for name, value in self.part("opt.").items():
            index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = shared_as(params[int(index)], value)
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def find_state(shelf: Shelf, config: TrainConfig) -> SavedState | None:
    """The newest whole state, None at the start; refuses to continue another run."""
    damaged: list[str] = []
    for step in reversed(shelf.steps()):
        try:
            refuse_other(shelf.about(step), config)
            with shelf.opened(step) as file:
                return SavedState.read(file)
        except CheckpointDamaged as error:
            log.warning("the checkpoint of step %d is damaged, the one before it is used: %s", step, error)
            damaged.append(str(error))
    if damaged:
        raise CheckpointDamaged(f"no checkpoint here is whole; train into another folder. {'; '.join(damaged)}")
    return _single_file(shelf, config)


def _single_file(shelf: Shelf, config: TrainConfig) -> SavedState | None:
    """The state as runs of the first release left it."""
    path = None if shelf.folder is None else shelf.folder / "training.safetensors"
    if path is None or not path.is_file():
        return None
    state = SavedState.read(path)
    refuse_other(state.about, config)
    return state


def shared_state(find: Callable[[], SavedState | None], world: World) -> SavedState | None:
    """What rank 0 finds, for all."""
    found: list[SavedState | None] = []

    def look() -> tuple[dict[str, Any], dict[str, Any]] | None:
        found.append(state := find())
        if state is None:
            return None
        return state.about, {name: (value.shape, value.dtype) for name, value in state.tensors.items()}

    if (told := world.from_main(look)) is None:
        return None
    about, sizes = told
    state = found[0] if found else None
    if state is None:
        state = SavedState(about, {name: torch.empty(shape, dtype=kind) for name, (shape, kind) in sizes.items()})
    world.share(state.tensors)
    return state


def refuse_other(about: Mapping[str, Any], config: TrainConfig) -> None:
    """Refuses a state that is of another run than this config's."""
    refuse_other_run(about["config"], plain(config), Progress(**about["progress"]))


def refuse_other_run(saved: Mapping[str, Any], given: Mapping[str, Any], progress: Progress) -> None:
    """Names the first field that differs. A stage not yet finished may be longer, one not yet begun may be another."""
    before, now = _flat(saved), _flat(given)
    longer = {f"{stage}.steps" for stage in STAGE_NAMES}
    longer -= {f"{stage}.steps" for stage in progress.done}
    unbegun = tuple(f"{stage}." for stage in STAGE_NAMES if stage not in progress.done and stage != progress.stage)
    for name in sorted(before.keys() | now.keys()):
        if name in FREE or name in longer or name.startswith(unbegun) or before.get(name) == now.get(name):
            continue
        raise CheckpointMismatch(
            f"this folder holds a run with {before.get(name)!r}; train into another folder, or with the same config",
            field=name,
            value=now.get(name),
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for name, part in value.items() for k, v in _flat(part, f"{prefix}.{name}".strip(".")).items()}
