"""Where a training run stands, in one file: tensors by name, the rest as JSON in the file's header. No pickle.

One file and one rename: a state is whole or it is the one before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.ema import Ema
from model.errors import CheckpointDamaged, CheckpointMismatch
from model.training.config import STAGE_NAMES, TrainConfig
from shards.fingerprint import plain

STATE = "training.safetensors"
FREE = ("checkpoint_every", "checkpointing", "device", "readers")
"""Fields that may change between a run and its continuation: they move no weight on the CPU."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """How far a run is; changes from step to step."""

    stage: str
    step: int = 0
    """Steps of this stage that are done."""
    done: dict[str, int] = field(default_factory=dict)
    """Steps per finished stage."""
    source: dict[str, Any] = field(default_factory=dict)
    """What the clip source said of itself."""


def save_state(
    out: Path, config: TrainConfig, progress: Progress, networks: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer
) -> None:
    """Writes all that the next step depends on."""
    tensors = {f"net.{name}": value for name, value in networks.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.mean.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"opt.{index}.{slot}": value for slot, value in slots.items()}
    about = {"config": plain(config), "progress": plain(progress), "ema_steps": ema.steps}
    out.mkdir(parents=True, exist_ok=True)
    part = out / (STATE + ".part")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        part,
        metadata={"about": json.dumps(about)},
    )
    os.replace(part, out / STATE)


class SavedState:
    """A run that was stopped; read once, then handed to the networks, the mean and the optimiser."""

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                self.about: dict[str, Any] = json.loads(file.metadata()["about"])
                self.tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, KeyError) as error:
            raise CheckpointDamaged(f"{path}: not a training state: {error}") from error
        self.progress = Progress(**self.about["progress"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): v for name, v in self.tensors.items() if name.startswith(prefix)}

    def load_into(self, networks: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
        networks.load_state_dict(self.part("net."))
        ema.load(self.part("ema."), self.about["ema_steps"])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in self.part("opt.").items():
            index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def find_state(out: Path, config: TrainConfig) -> SavedState | None:
    """The state to continue from, None at the start; refuses to continue another run."""
    path = out / STATE
    if not path.is_file():
        return None
    state = SavedState(path)
    refuse_other_run(state.about["config"], plain(config), state.progress)
    return state


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
