"""Beginning with the weights of another checkpoint: what of it fits, and what does not, in words.

Tensors are matched by name and shape, so a model with a part more or less than the other takes over all the rest. Data
of another kind is refused: weights that were trained on other landmarks or another crop would match, and mean nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.networks import Networks
from model.pretrained import load
from model.training.config import TrainConfig
from shards.errors import RequestError

log = logging.getLogger(__name__)

SHOWN = 4
"""Names told of a long list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """What became of each tensor."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    """In this model and not in the other: they begin at random."""
    reshaped: tuple[str, ...]
    """In both, of different shapes: they begin at random too."""
    unused: tuple[str, ...]
    """In the other model alone."""

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors taken over"]
        for what, names in (("missing", self.missing), ("of another shape", self.reshaped), ("unused", self.unused)):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:SHOWN])}{more})")
        return ", ".join(parts)


def begin(networks: Networks, config: TrainConfig) -> dict[str, int]:
    """The weights a run begins with: published ones that the model names, then those of `start_from`.

    Returns how many steps of each stage these were trained for.
    """
    networks.load_sources()
    if config.start_from is None:
        return {}
    log.info("%s: %s", config.start_from, take_over(networks, config.start_from))
    return dict(load(Path(config.start_from))[1].trained)


def take_over(networks: Networks, folder: str) -> TakenOver:
    """Fills the networks with what fits of the model in a folder; refuses one that was made for other data."""
    there, _ = load(Path(folder))
    theirs, mine = there.config.condition, networks.config.condition
    mine.check(topology=theirs.topology, features=theirs.features, window=theirs.window, crop_px=theirs.crop_px)
    report = match(networks.state_dict(), there.state_dict())
    if not report.matched:
        raise RequestError("none of its tensors fits this model", field="start_from", value=folder)
    with torch.no_grad():
        source, target = there.state_dict(), networks.state_dict()
        for name in report.matched:
            target[name].copy_(source[name])
    return report


def match(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> TakenOver:
    """By name and shape."""
    both = [name for name in mine if name in theirs]
    fits = {name for name in both if mine[name].shape == theirs[name].shape}
    return TakenOver(
        matched=tuple(name for name in both if name in fits),
        missing=tuple(name for name in mine if name not in theirs),
        reshaped=tuple(name for name in both if name not in fits),
        unused=tuple(name for name in theirs if name not in mine),
    )
