"""Training's worker: one job, a dataset and a recipe -> a checkpoint. Tells how far it is through a file beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.training.clips import DatasetClips
from model.training.config import TrainConfig
from model.training.loop import StepReport, TrainResult, train
from shards.errors import RequestError
from shards.reader import open_dataset
from shards.store import open_store

METRICS = "metrics.jsonl"
"""One line a step, beside the checkpoint."""


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

    def process(self, item: TrainJob) -> TrainResult:
        config = TrainConfig.model_validate(item.config)
        dataset = open_dataset(open_store(item.store, create=False), item.dataset)
        if not dataset.keys("train"):
            raise RequestError("the dataset has no clips to train on", where=item.store, field="dataset")
        clips = DatasetClips(dataset, seed=config.seed, selection=config.selection, workers=config.readers)
        out = Path(item.out)
        out.mkdir(parents=True, exist_ok=True)
        # A line at a time: who follows the run sees each step, and a kill loses none.
        with (out / METRICS).open("a", encoding="utf-8", buffering=1) as stream:
            return train(config, clips, out, on_step=_writer(stream.write))

    def close(self) -> None:
        """Nothing is held between jobs."""


def _writer(write: Callable[[str], object]) -> Callable[[StepReport], None]:
    def on_step(report: StepReport) -> None:
        write(json.dumps({**asdict(report), "parts": dict(report.parts)}) + "\n")

    return on_step
