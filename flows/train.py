"""Dataset -> checkpoint. The same command goes on where the last one stopped, step for step."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster.config import EngineConfig
from flows.cluster.driver import run
from flows.cluster.engine import open_engine
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.progress import Progress
from flows.cluster.work import WorkerSpec
from flows.units import Stopped, stop_on_interrupt
from flows.workers.train import METRICS, TrainJob, TrainWorker
from model.training.clips import fitted
from model.training.config import TrainConfig, recipe
from model.training.loop import TrainResult
from model.training.stages import STAGES
from shards.errors import DubwrightError, RequestError
from shards.leases import hold_lease
from shards.reader import Dataset, open_dataset
from shards.store import open_store

ATTEMPTS = 3
"""A job whose process dies goes on from its last checkpoint this often."""
A_WEEK_S = 7 * 24 * 3600.0


class TrainingFailed(DubwrightError):
    """The job was given up; its last checkpoint is kept."""


@task(cache_policy=NO_CACHE)
def plan_training(store: str, dataset: str | None, config: TrainConfig) -> Dataset:
    """Opens the dataset and refuses one that the model cannot learn from."""
    opened = open_dataset(open_store(store, create=False), dataset)
    keys = opened.keys("train")
    if not keys:
        raise RequestError("the dataset has no clips to train on", where=store, field="dataset")
    as_fitted(opened, config)
    return opened


def check_out(out: str) -> None:
    """Refuses a place where no checkpoint can be put, before the dataset is even looked at."""
    if Path(out).exists() and not Path(out).is_dir():
        raise RequestError("is a file; a folder is needed", field="--out", value=out)


def as_fitted(dataset: Dataset, config: TrainConfig) -> TrainConfig:
    """The config as it is trained on these data. Their first clip speaks for all."""
    return fitted(config, dataset.read(dataset.keys("train")[0]))


@task(cache_policy=NO_CACHE)
def train_model(job: TrainJob, engine_config: EngineConfig, address: str) -> TrainResult:
    """Runs the job on one worker and shows how far it is."""
    results: list[TrainResult] = []
    failures: list[Failure] = []
    gpus = 1.0 if TrainConfig.model_validate(job.config).device.startswith("cuda") else 0.0
    spec = WorkerSpec(name="train", factory=TrainWorker, cpus=1.0, gpus=gpus)
    config = engine_config.model_copy(update={"max_workers": 1, "max_attempts": ATTEMPTS, "deadline_s": A_WEEK_S})
    with (
        # No sweep takes the dataset away while it is trained on.
        hold_lease(open_store(job.store, create=False), "train", reads=[job.dataset]),
        stop_on_interrupt() as should_stop,
        open_engine(address) as engine,
        _watched(job),
    ):
        summary = run(
            [job],
            spec,
            engine=engine,
            config=config,
            key=lambda item: item.out,
            prepare=lambda item, attempt: item,
            on_done=lambda item, result: results.append(result),
            on_failed=lambda item, failure: failures.append(failure),
            should_stop=should_stop,
        )
    if failures:
        raise _error(failures[0])
    # In this very process the training loop hears Ctrl-C itself, saves and returns.
    if summary.stopped or not results[0].finished:
        raise Stopped
    return results[0]


def _error(failure: Failure) -> DubwrightError:
    text = f"{failure.error_class}: {failure.message}"
    return RequestError(text) if failure.kind is FailureKind.INPUT else TrainingFailed(f"{text}\n{failure.tail}")


@contextmanager
def _watched(job: TrainJob) -> Iterator[None]:
    """Follows the job's metrics file while it runs, wherever its worker is on this machine."""
    over = threading.Event()
    total = sum(TrainConfig.model_validate(job.config).stage(name).steps for name in STAGES)
    with Progress("train") as progress:
        progress.total(total)
        metrics = Path(job.out, METRICS)
        before = metrics.stat().st_size if metrics.exists() else 0
        watcher = threading.Thread(target=_follow, args=(metrics, before, progress, over), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(timeout=5)


def _follow(path: Path, offset: int, progress: Progress, over: threading.Event) -> None:
    """Books each whole line from byte `offset` on, until it is over; what was written last is read as well."""
    is_over = False
    while not is_over:
        is_over = over.wait(0.5)
        if not path.exists():
            continue
        with path.open("rb") as stream:
            stream.seek(offset)
            lines = stream.read().splitlines(keepends=True)
        for line in lines:
            if line.endswith(b"\n"):
                offset += len(line)
                progress.advance(json.loads(line)["stage"])


@flow(name="train", validate_parameters=True)
def train(
    store: str,
    out: str,
    preset: str = "compact",
    dataset: str | None = None,
    config: TrainConfig | None = None,
    engine: EngineConfig | None = None,
    address: str = "local",
) -> dict[str, Any]:
    """Trains every stage, or goes on with what is in `out`."""
    begun = time.monotonic()
    config = config or recipe(preset)
    check_out(out)
    opened = plan_training(store, dataset, config)
    config = as_fitted(opened, config)
    job = TrainJob(
        store=opened.store.uri,
        dataset=opened.info.hash,
        out=str(Path(out).resolve()),
        config=config.model_dump(mode="json"),
    )
    result = train_model(job, engine or EngineConfig(), address)
    return {
        "checkpoint": str(result.folder),
        "finished": result.finished,
        "trained": dict(result.trained),
        "digest": result.digest,
        "dataset": opened.info.hash,
        "seconds": round(time.monotonic() - begun, 1),
    }


def dry_run(store: str, out: str, preset: str, dataset: str | None, config: TrainConfig | None) -> dict[str, Any]:
    """What would be trained on what, without training."""
    config = config or recipe(preset)
    check_out(out)
    opened = plan_training.fn(store, dataset, config)
    config = as_fitted(opened, config)
    return {
        "preset": config.model.name,
        "dataset": opened.info.hash,
        "clips": len(opened.keys("train")),
        "steps": {name: config.stage(name).steps for name in STAGES},
        "out": out,
        "config": config.model_dump(mode="json"),
    }
