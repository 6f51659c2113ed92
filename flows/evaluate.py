"""Checkpoint + held-out clips -> scorecard. The same command goes on where the last one stopped."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster.config import EngineConfig
from flows.cluster.driver import run
from flows.cluster.engine import open_engine
from flows.cluster.failures import Failure
from flows.cluster.progress import Progress
from flows.cluster.work import WorkerSpec
from flows.evaluation.config import EvaluationConfig
from flows.evaluation.page import write_scorecard
from flows.evaluation.scorecard import ClipRow, scorecard
from flows.evaluation.verdicts import Verdicts
from flows.report.contact import spread
from flows.title import Voice
from flows.units import Stopped, stop_on_interrupt
from flows.voice import read_voice
from flows.workers.evaluate import ClipVerdict, EvaluateWorker
from model.pretrained import load
from model.training.keeping import DATASET
from shards.errors import DubwrightError, RequestError
from shards.fingerprint import fingerprint
from shards.leases import hold_lease
from shards.reader import Dataset, open_dataset
from shards.store import open_store

log = logging.getLogger(__name__)
_JUDGED_AS = 4
"""Raised by hand when a figure means something else: verdicts of before are then made again."""
_CARD, _CLIPS = "scorecard.json", "clips"


class NothingJudged(DubwrightError):
    """Not one clip could be judged, so there is nothing to tell."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationPlan:
    """What is judged: a model, and clips it was not trained on."""

    voice: Voice
    dataset: Dataset
    rows: tuple[int, ...]
    """Of the dataset's table."""
    config: EvaluationConfig

    @property
    def made_by(self) -> str:
        shown = {"shown", "limit", "splits"}
        knobs = self.config.model_dump_json(exclude=shown)
        return fingerprint(_JUDGED_AS, self.voice.digest, self.dataset.info.hash, knobs)

    def told(self, column: str, row: int) -> Any:
        return self.dataset.table.column(column)[row].as_py()


@task(cache_policy=NO_CACHE)
def plan_evaluation(
    checkpoint: str | None, store: str, dataset: str | None, config: EvaluationConfig
) -> EvaluationPlan:
    """Opens both and refuses what does not fit together; chooses clips of as many identities as the limit allows."""
    voice = read_voice(checkpoint)
    opened = open_dataset(open_store(store, create=False), dataset)
    rows = np.sort(np.concatenate([opened.rows(split) for split in config.splits]))
    if not len(rows):
        counts = {name: len(opened.rows(name)) for name in ("train", "val", "test")}
        raise RequestError(
            f"no clip of the dataset is held out in these splits; it has {counts}: pack it again with other shares",
            field="splits",
            value=list(config.splits),
        )
    if config.limit is not None:
        rows = rows[spread(opened.table.take(rows), config.limit)]
    plan = EvaluationPlan(voice=voice, dataset=opened, rows=tuple(int(row) for row in rows), config=config)
    record = load(Path(voice.checkpoint))[1]
    record.config.condition.check_sample(opened.read_row(plan.rows[0]))
    learned_from = record.card.get(DATASET)
    if learned_from is not None and opened.info.hash not in learned_from:
        log.warning("this model learned from %s: it may know people that %s holds out", learned_from, opened.info.hash)
    return plan


@task(cache_policy=NO_CACHE)
def judge_clips(plan: EvaluationPlan, out: Path, engine_config: EngineConfig, address: str) -> list[ClipVerdict]:
    """Judges what is not judged yet; the verdicts in the order of the plan."""
    verdicts = Verdicts(folder=out / _CLIPS, made_by=plan.made_by)
    keys = [plan.told("key", row) for row in plan.rows]
    open_ = [key for key in keys if verdicts.read(key) is None]
    failures: list[tuple[str, Failure]] = []
    spec = WorkerSpec(
        name="evaluate",
        factory=functools.partial(
            EvaluateWorker,
            plan.voice.checkpoint,
            plan.dataset.store.uri,
            plan.dataset.info.hash,
            plan.config.model_dump(mode="json"),
        ),
        gpus=1.0 if plan.config.device.startswith("cuda") else 0.0,
    )
    with (
        hold_lease(plan.dataset.store, "evaluate", reads=[plan.dataset.info.hash]),
        stop_on_interrupt() as should_stop,
        open_engine(address) as engine,
        Progress("clips") as progress,
    ):
        progress.total(len(open_))

        def keep(key: str, verdict: ClipVerdict) -> None:
            verdicts.write(verdict)
            progress.advance("left out" if verdict.left_out else "judged")

        summary = run(
            open_,
            spec,
            engine=engine,
            config=engine_config,
            key=lambda key: key,
            prepare=lambda key, attempt: key,
            on_done=keep,
            on_failed=lambda key, failure: failures.append((key, failure)),
            should_stop=should_stop,
        )
    if summary.stopped:
        raise Stopped
    return [_known(verdicts, key, dict(failures)) for key in keys]


def _known(verdicts: Verdicts, key: str, failures: dict[str, Failure]) -> ClipVerdict:
    """The verdict on the clip; what failed is told as a clip that was left out, and tried again by the next run."""
    found = verdicts.read(key)
    if found is not None:
        return found
    failure = failures[key]
    why = f"{failure.error_class}: {failure.message}"
    return ClipVerdict(key=key, frames=0, figures={}, strip=b"", strip_with_landmarks=b"", left_out=why)


@task(cache_policy=NO_CACHE)
def report_evaluation(plan: EvaluationPlan, verdicts: Sequence[ClipVerdict], out: Path) -> dict[str, Any]:
    """Writes the scorecard and its page; returns the card without its single clips, and where both are."""
    by_key = {verdict.key: verdict for verdict in verdicts}
    judged = [row for row in plan.rows if not by_key[plan.told("key", row)].left_out]
    left_out = {verdict.key: verdict.left_out for verdict in verdicts if verdict.left_out}
    if not judged:
        key, why = next(iter(left_out.items()))
        raise NothingJudged(f"none of {len(left_out)} clips could be judged; clip {key}: {why}")
    rows = [_row(plan, row, by_key[plan.told("key", row)]) for row in judged]
    card = {
        "checkpoint": {
            "folder": plan.voice.checkpoint,
            "digest": plan.voice.digest,
            "description": plan.voice.description,
        },
        "dataset": plan.dataset.info.hash,
        "config": plan.config.model_dump(mode="json"),
        "left_out": left_out,
        **scorecard(rows),
    }
    shown = [by_key[row.key] for row in _spread_by_distance(rows, plan.config.shown)]
    page = write_scorecard(out, card, shown)
    del card["rows"]
    return {**card, "page": str(page), "scorecard": str(out / _CARD)}


def _row(plan: EvaluationPlan, row: int, verdict: ClipVerdict) -> ClipRow:
    about = {name: plan.told(name, row) for name in ("identity", "language", "split")}
    return ClipRow(key=verdict.key, frames=verdict.frames, figures=verdict.figures, **about)


def _spread_by_distance(rows: Sequence[ClipRow], number: int) -> list[ClipRow]:
    """From the best to the worst at even steps: a page of the best alone would flatter."""
    order = sorted(rows, key=lambda row: (np.nan_to_num(row.figures["made.lips"], nan=np.inf), row.key))
    picks = np.unique(np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int))
    return [order[i] for i in picks]


@flow(name="evaluate", validate_parameters=True)
def evaluate(
    checkpoint: str | None,
    store: str,
    out: str,
    dataset: str | None = None,
    config: EvaluationConfig | None = None,
    engine: EngineConfig | None = None,
    address: str = "local",
) -> dict[str, Any]:
    """Judges a checkpoint on clips that it was not trained on."""
    begun = time.monotonic()
    folder = Path(out)
    check_out(folder)
    plan = plan_evaluation(checkpoint, store, dataset, config or EvaluationConfig())
    verdicts = judge_clips(plan, folder, engine or EngineConfig(), address)
    return {**report_evaluation(plan, verdicts, folder), "seconds": round(time.monotonic() - begun, 1)}


def dry_run(
    checkpoint: str | None, store: str, out: str, dataset: str | None, config: EvaluationConfig
) -> dict[str, Any]:
    """What would be judged, without judging it."""
    check_out(Path(out))
    plan = plan_evaluation.fn(checkpoint, store, dataset, config)
    verdicts = Verdicts(folder=Path(out, _CLIPS), made_by=plan.made_by)
    keys = [plan.told("key", row) for row in plan.rows]
    return {
        "checkpoint": plan.voice.description,
        "dataset": plan.dataset.info.hash,
        "clips": len(keys),
        "judged already": sum(verdicts.read(key) is not None for key in keys),
        "identities": len({plan.told("identity", row) for row in plan.rows}),
        "out": out,
        "config": config.model_dump(mode="json"),
    }


def check_out(out: Path) -> None:
    """Refuses a place where nothing can be written, before anything is loaded."""
    if out.exists() and not out.is_dir():
        raise RequestError("is a file; a folder is needed", field="--out", value=str(out))
