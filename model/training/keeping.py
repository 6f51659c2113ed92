"""What a run leaves behind: its states, the model to be used, the best one, and the validation that tells which.

Every process takes part in putting tensors together; rank 0 writes. Where all of it lies is `shelf.py`'s.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from model.ema import Ema
from model.held import whole
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.training.checkpoint import Progress, gathered, save_state
from model.training.config import TrainConfig
from model.training.shelf import Shelf
from model.training.world import World
from shards.errors import RequestError

log = logging.getLogger(__name__)

Validation = Callable[[int, Networks], Mapping[str, float]]
BEST = "best"
DATASET = "Dataset"
"""Section of the model card."""


class Keeper:
    """Keeps a run's results as it goes."""

    def __init__(self, config: TrainConfig, shelf: Shelf, world: World, on_validation: Validation | None) -> None:
        self.config, self.shelf, self.world, self.on_validation = config, shelf, world, on_validation
        self._is_validated: bool = world.from_main(self._can_validate)  # it alone need be given the door

    def need_space(self, networks: nn.Module) -> None:
        """Refuses a full disk before hours are spent: weights, their mean, and the optimiser's two of each."""
        size = 4 * sum(value.nbytes for value in networks.state_dict().values())
        self.world.from_main(lambda: self.shelf.need_space(size, keep=self.config.keep_last))

    def save(self, progress: Progress, networks: Networks, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
        """Commits the state of this step."""
        tensors = gathered(networks, ema, optimizer)
        self.world.from_main(lambda: save_state(self.shelf, self.config, progress, ema.steps, tensors))

    def export(self, progress: Progress, networks: Networks, ema: Ema) -> str:
        """Writes the running mean as a model into the run's place; returns its digest."""
        shown = self._shown(networks, ema)
        return self.world.from_main(lambda: self._put_model(shown, progress))

    def validate(self, progress: Progress, networks: Networks, ema: Ema) -> None:
        """Has the running mean judged, once a step, and keeps it where it is the best so far."""
        if not self._is_validated or progress.validated == progress.total:
            return
        progress.validated = progress.total
        shown = self._shown(networks, ema)
        progress.best = self.world.from_main(lambda: self._judged(shown, progress))

    def _can_validate(self) -> bool:
        if self.config.best_by is not None and self.on_validation is None:
            field, value = "best_by", self.config.best_by
            raise RequestError("nobody validates this run, so no metric decides", field=field, value=value)
        return self.on_validation is not None

    def _judged(self, shown: Networks, progress: Progress) -> dict[str, object]:
        given = deepcopy(shown)  # theirs, whatever they do with it
        with torch.random.fork_rng():
            found = self.on_validation(progress.total, given) if self.on_validation is not None else {}
        metrics = {name: float(value) for name, value in found.items()}
        by = self.config.best_by
        if by is None:
            return progress.best
        if by not in metrics:
            raise RequestError("the validation has no such metric", field="best_by", value=by, choices=metrics)
        if not self._is_better(metrics[by], progress.best.get("value")):
            return progress.best
        best = {"step": progress.total, "best_by": by, "value": metrics[by], "metrics": metrics}
        log.info("step %d is the best so far: %s %g", progress.total, by, metrics[by])
        self._put_model(shown, progress, BEST, json.dumps(best, indent=1))
        return best

    def _is_better(self, value: float, before: float | None) -> bool:
        if not math.isfinite(value):
            return False
        return before is None or (value < before if self.config.best_is == "low" else value > before)

    def _shown(self, networks: Networks, ema: Ema) -> Networks:
        """A copy of the networks with the running mean in place; for rank 0, which alone looks at it."""
        tensors = {name: whole(value).cpu() for name, value in networks.state_dict().items()}
        tensors |= {name: whole(value).cpu() for name, value in ema.mean.items()}
        if not self.world.is_main:
            return networks
        with torch.random.fork_rng():
            shown = Networks(self.config.model)
        shown.load_state_dict(tensors)
        return shown.to(self.world.device).eval().requires_grad_(False)

    def _put_model(self, shown: Networks, progress: Progress, under: str = "", metrics: str | None = None) -> str:
        pipe = DubbingPipeline.from_networks(shown, trained=trained(progress), card=_told(progress))
        with self.shelf.scratch() as scratch:
            made = Path(scratch, "model")
            digest = pipe.save_pretrained(made)
            if metrics is not None:
                (made / "metrics.json").write_text(metrics)
            self.shelf.put_folder(made, under)
        return digest


def _told(progress: Progress) -> dict[str, str]:
    """Which dataset it learned from: who judges it wants to know whether these people were held out."""
    dataset = progress.source.get("dataset_hash")
    return {} if dataset is None else {DATASET: f"`{dataset}`"}


def trained(progress: Progress) -> dict[str, int]:
    """Steps per stage, those of the weights it began with included."""
    here = {**progress.done, progress.stage: progress.step}
    return {name: progress.before.get(name, 0) + here.get(name, 0) for name in {**progress.before, **here}}
