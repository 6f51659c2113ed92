"""Training's worker: a dataset and a recipe -> a checkpoint. Tells how far it is through a file beside it.

One process or one of several: which one it is, the model room finds out by itself.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.watching.validation import held_out_clips
from flows.watching.watch import TrainingWatch
from model.training.clips import DatasetClips
from model.training.config import TrainConfig
from model.training.loop import StepReport, TrainResult, train
from model.training.shelf import Shelf
from model.training.world import World
from shards.errors import DubwrightError, RequestError
from shards.reader import Dataset, open_dataset
from shards.store import open_store

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
"""One line a step, beside the checkpoints; for those in a bucket, in a folder of the machine that reports."""


class TrainingFailed(DubwrightError):
    """The job was given up; its last checkpoint is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What to train, on what, where to."""

    store: str
    dataset: str
    out: str
    config: Mapping[str, Any]


class TrainWorker:
    """Runs a whole job as one item; a job that is killed goes on from its last checkpoint."""

    def setup(self) -> None:
        """Everything is loaded per job."""

    def process(self, item: TrainJob, should_stop: Callable[[], bool] | None = None) -> TrainResult:
        config = TrainConfig.model_validate(item.config)
        dataset = open_dataset(open_store(item.store, create=False), item.dataset)
        if not dataset.keys("train"):
            raise RequestError("the dataset has no clips to train on", where=item.store, field="dataset")
        clips = DatasetClips(dataset, seed=config.seed, selection=config.selection, workers=config.readers)
        with _reported(item, dataset, config) as doors:
            return train(config, clips, item.out, should_stop=should_stop, **doors)

    def close(self) -> None:
        """Nothing is held between jobs."""


@contextmanager
def _reported(job: TrainJob, dataset: Dataset, config: TrainConfig) -> Iterator[dict[str, Any]]:
    """The loop's doors, on the process that reports: a metrics file, and all that a watch makes of the run."""
    shelf = Shelf(job.out)
    if not World.here(config.device).is_main:
        yield {}
        return
    shelf.make()
    folder = shelf.folder or Path(tempfile.mkdtemp(prefix="dubwright-train-"))
    if shelf.folder is None:
        log.info("the run is watched in %s; its checkpoints go to %s", folder, shelf.uri)
    held_out = held_out_clips(dataset) if config.validate_every else []
    # A line at a time: who follows the run sees each step, and a kill loses none.
    with (
        (folder / METRICS).open("a", encoding="utf-8", buffering=1) as stream,
        TrainingWatch(folder, held_out) as watch,
    ):

        def on_step(report: StepReport) -> None:
            stream.write(json.dumps({**asdict(report), "parts": dict(report.parts)}) + "\n")
            watch.on_step(report)

        yield {"on_step": on_step, "on_validation": watch.on_validation if held_out else None}
