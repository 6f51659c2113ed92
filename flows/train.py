"""Dataset -> checkpoint. The same command goes on where the last one stopped, step for step."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster.config import EngineConfig
from flows.cluster.driver import run
from flows.cluster.engine import Engine, open_engine
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.progress import Progress
from flows.cluster.resources import available_cpus
from flows.cluster.work import WorkerSpec
from flows.units import Stopped, stop_on_interrupt
from flows.workers.train import METRICS, TrainingFailed, TrainJob, TrainWorker
from model.errors import CheckpointDamaged
from model.training.checkpoint import refuse_other
from model.training.clips import fitted
from model.training.config import TrainConfig, recipe
from model.training.loop import TrainResult
from model.training.shelf import Shelf
from model.training.stages import STAGES
from shards.errors import DubwrightError, RequestError
from shards.leases import hold_lease
from shards.reader import Dataset, open_dataset
from shards.store import open_store

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""A job whose process dies goes on from its last checkpoint this often."""
A_WEEK_S = 7 * 24 * 3600.0


@task(cache_policy=NO_CACHE)
def plan_training(store: str, dataset: str | None, config: TrainConfig, out: str) -> Dataset:
    """Opens the dataset; refuses one that the model cannot learn from, and a place that holds another run."""
    shelf = Shelf(out)
    opened = open_dataset(open_store(store, create=False), dataset)
    if not opened.keys("train"):
        raise RequestError("the dataset has no clips to train on", where=store, field="dataset")
    fitted_config = as_fitted(opened, config)
    opened.sequence("train", seed=config.seed, global_batch=1, selection=config.selection)  # refuses an empty choice
    _look_for_held_out(opened, config)
    _refuse_other_run(shelf, fitted_config, opened.info.hash)
    return opened


def _look_for_held_out(dataset: Dataset, config: TrainConfig) -> None:
    """Nobody can tell whether a model is good that is judged by people it was trained on."""
    people = dataset.info.identities_by_split
    if any(people.get(split) for split in ("val", "test")):
        return
    why = f"dataset {dataset.info.hash[:12]} holds no identity out: all {people.get('train', 0)} are for training"
    if config.validate_every:
        raise RequestError(f"{why}; pack it with `val_share`, or do not validate", field="validate_every")
    log.warning("%s. Nothing will tell how good the model is with people it has not seen", why)


def _refuse_other_run(shelf: Shelf, config: TrainConfig, dataset: str) -> None:
    """Of the newest checkpoint, what its manifest says; its tensors are read when the run goes on."""
    for step in reversed(shelf.steps()):
        try:
            about = shelf.about(step)
        except CheckpointDamaged:
            continue  # the run itself says so, and uses the one before
        refuse_other(about, config)
        if (began := about["progress"]["source"].get("dataset_hash", dataset)) != dataset:
            message = f"the run here began with dataset {began}; open that one, or train into another folder"
            raise RequestError(message, field="dataset", value=dataset)
        return


def as_fitted(dataset: Dataset, config: TrainConfig) -> TrainConfig:
    """The config as it is trained on these data. Their first clip speaks for all."""
    return fitted(config, dataset.read(dataset.keys("train")[0]))


@task(cache_policy=NO_CACHE)
def train_model(
    job: TrainJob, engine_config: EngineConfig, address: str, workers: int = 1, min_workers: int | None = None
) -> TrainResult:
    """Runs the job, on Ray Train or in this process, and shows how far it is."""
    if address == "none" and workers > 1:
        message = "without Ray one process trains; `torchrun -m model.train` joins several"
        raise RequestError(message, field="workers", value=workers)
    with (
        # No sweep takes the dataset away while it is trained on.
        hold_lease(open_store(job.store, create=False), "train", reads=[job.dataset]),
        stop_on_interrupt() as should_stop,
        # More processes than cores only slow each other down, but wait for cores that never come they would for ever.
        open_engine(address, num_cpus=max(workers, available_cpus()) if address == "local" else None) as engine,
        _watched(job),
    ):
        if address == "none":
            result = _in_this_process(job, engine_config, engine, should_stop)
        else:
            result = _on_ray(job, address, workers, min_workers, should_stop)
    # In this very process the training loop hears Ctrl-C itself, saves and returns.
    if result is None or not result.finished:
        raise Stopped
    return result


def _on_ray(
    job: TrainJob, address: str, workers: int, min_workers: int | None, should_stop: Callable[[], bool]
) -> TrainResult:
    # Ray Train takes seconds to import, and a plain run does not need it.
    from flows.ray_training import Crew, train_on_ray

    on_gpu = TrainConfig.model_validate(job.config).device.startswith("cuda")
    crew = Crew(
        workers=workers,
        min_workers=min_workers,
        use_gpu=on_gpu,
        is_own=address == "local",
        max_failures=ATTEMPTS,
    )
    return train_on_ray(job, crew, should_stop)


def _in_this_process(
    job: TrainJob, engine_config: EngineConfig, engine: Engine, should_stop: Callable[[], bool]
) -> TrainResult | None:
    """None when it was stopped before it began."""
    results: list[TrainResult] = []
    failures: list[Failure] = []
    summary = run(
        [job],
        WorkerSpec(name="train", factory=TrainWorker, cpus=1.0, gpus=0.0),
        engine=engine,
        config=engine_config.model_copy(update={"max_workers": 1, "max_attempts": ATTEMPTS, "deadline_s": A_WEEK_S}),
        key=lambda item: item.out,
        prepare=lambda item, attempt: item,
        on_done=lambda item, result: results.append(result),
        on_failed=lambda item, failure: failures.append(failure),
        should_stop=should_stop,
    )
    if failures:
        raise _error(failures[0])
    return None if summary.stopped else results[0]


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
    is_over, reached = False, 0
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
                row = json.loads(line)
                if row["total_step"] > reached:  # what a lost worker had done is done again, and counts once
                    reached = row["total_step"]
                    progress.advance(row["stage"])


@flow(name="train", validate_parameters=True)
def train(
    store: str,
    out: str,
    preset: str = "compact",
    dataset: str | None = None,
    config: TrainConfig | None = None,
    engine: EngineConfig | None = None,
    address: str = "local",
    workers: int = 1,
    min_workers: int | None = None,
) -> dict[str, Any]:
    """Trains every stage, or goes on with what is in `out`: a folder, or an address in a bucket.

    `workers` processes share each step; with `min_workers` it goes on with fewer while machines are missing.
    """
    begun = time.monotonic()
    config = config or recipe(preset)
    opened = plan_training(store, dataset, config, out)
    config = as_fitted(opened, config)
    job = TrainJob(
        store=opened.store.uri,
        dataset=opened.info.hash,
        out=Shelf(out).uri,
        config=config.model_dump(mode="json"),
    )
    result = train_model(job, engine or EngineConfig(), address, workers, min_workers)
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
    opened = plan_training.fn(store, dataset, config, out)
    config = as_fitted(opened, config)
    return {
        "preset": config.model.name,
        "dataset": opened.info.hash,
        "clips": len(opened.keys("train")),
        "steps": {name: config.stage(name).steps for name in STAGES},
        "out": out,
        "config": config.model_dump(mode="json"),
    }
