"""Footage -> dataset. Plan every unit, work off what is pending, prove the account, publish.

Running the same command again does only what is missing; a threshold that moved publishes again without measuring.
"""

from __future__ import annotations

import functools
import itertools
import shlex
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from flows.cluster.config import EngineConfig
from flows.cluster.engine import open_engine
from flows.cluster.progress import Progress
from flows.cluster.work import WorkerSpec
from flows.sources import SourceFile, find_sources
from flows.units import stop_on_interrupt, work_off
from flows.version import stage_version
from flows.workers.extract import ExtractWorker
from preprocessing.config import PreprocessConfig, QualityConfig
from preprocessing.errors import Unusable
from preprocessing.media.probe import probe
from preprocessing.quality.gates import judge
from shards.commit import Ledger, Plan, SampleEntry, Unit
from shards.fingerprint import fingerprint
from shards.index import DatasetInfo
from shards.pack import PackConfig, finalize
from shards.schema import Rejection
from shards.store import open_store

GIVEN_UP_SHOWN = 10
"""Sources in quarantine that the summary names."""


class PreprocessJob(BaseModel):
    """Everything a preprocessing run depends on besides the footage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: PreprocessConfig = PreprocessConfig()
    pack: PackConfig = PackConfig()
    engine: EngineConfig = EngineConfig()
    limit: int | None = Field(None, ge=1, description="take only the first so many sources")


@task(cache_policy=NO_CACHE)
def plan_sources(sources: list[str], job: PreprocessJob) -> Plan:
    """One unit a distinct content; copies of a file are one source."""
    found = find_sources(sources, job.limit)
    return Plan.of("extract", [_unit(source, job.clips) for source in found], job.clips.measured())


def _unit(source: SourceFile, config: PreprocessConfig) -> Unit:
    version = stage_version("extract")
    return Unit(
        unit_id=fingerprint(version, source.sha256, config.measured()),
        stage="extract",
        payload={
            "path": str(source.path.resolve()),
            "name": source.names[0],
            "sha256": source.sha256,
            "size_bytes": source.size_bytes,
            "code_version": version,
        },
    )


@task(cache_policy=NO_CACHE)
def extract_clips(plan: Plan, store: str, job: PreprocessJob, address: str) -> None:
    """Brings every unit to a commit or to quarantine."""
    ledger = Ledger(open_store(store))
    if not ledger.pending(plan):
        ledger.write_plan(plan)
        return
    spec = WorkerSpec(
        name="extract",
        factory=functools.partial(ExtractWorker, ledger.store.uri, job.clips.model_dump(mode="json")),
        cpus=1.0,
    )
    with (
        stop_on_interrupt() as should_stop,
        open_engine(address) as engine,
        Progress("sources") as progress,
    ):
        progress.total(len(plan.units))
        work_off(
            ledger,
            plan,
            spec,
            engine=engine,
            config=job.engine,
            progress=progress,
            reproduce=_reproduce,
            should_stop=should_stop,
        )


def _reproduce(unit: Unit) -> str:
    """In a store of its own: what was given up is not tried again in the same one."""
    return f'dubwright preprocess {shlex.quote(unit.payload["path"])} --store "$(mktemp -d)" --address none'


@task(cache_policy=NO_CACHE)
def publish(plan: Plan, store: str, job: PreprocessJob) -> DatasetInfo | None:
    """Proves the account and publishes; None when not one clip is worth training on."""
    ledger = Ledger(open_store(store, create=False))
    accept = functools.partial(_accept, config=job.clips.quality)
    ledger.account(plan).check()
    if not any(accept(entry) is None for receipt in ledger.receipts(plan) for entry in receipt.samples):
        return None
    return finalize(ledger, plan, job.pack, accept=accept, thresholds=job.clips.quality.model_dump(mode="json"))


def _accept(entry: SampleEntry, config: QualityConfig) -> Rejection | None:
    return judge(entry.scores, config)


@flow(name="preprocess", validate_parameters=True, log_prints=False)
def preprocess(
    sources: list[str], store: str, job: PreprocessJob | None = None, address: str = "local"
) -> dict[str, Any]:
    """Prepares a dataset from footage; returns the account."""
    begun = time.monotonic()
    job = job or PreprocessJob()
    plan = plan_sources(sources, job)
    extract_clips(plan, store, job, address)
    dataset = publish(plan, store, job)
    return summary(plan, store, job, dataset) | {"seconds": round(time.monotonic() - begun, 1)}


def summary(plan: Plan, store: str, job: PreprocessJob, dataset: DatasetInfo | None) -> dict[str, Any]:
    """The account in plain values, as `--json` prints it."""
    ledger = Ledger(open_store(store, create=False))
    account = ledger.account(plan)
    reasons: Counter[str] = Counter()
    clips = 0
    for receipt in ledger.receipts(plan):
        reasons.update(r.code for r in receipt.rejections)
        verdicts = [judge(entry.scores, job.clips.quality) for entry in receipt.samples]
        reasons.update(v.code for v in verdicts if v is not None)
        clips += sum(v is None for v in verdicts)
    return {
        "planned": account.planned,
        "kept": account.kept,
        "rejected": account.rejected,
        "quarantined": account.quarantined,
        "clips": clips,
        "rejections": dict(sorted(reasons.items())),
        "given_up": _given_up(ledger, plan) if account.quarantined else {},
        "dataset": dataset.hash if dataset else None,
        "store": store,
    }


def _given_up(ledger: Ledger, plan: Plan) -> dict[str, str]:
    """Source -> why it was given up and what shows it, for the first few."""
    found = ((unit, ledger.quarantined(unit.unit_id)) for unit in plan.units)
    told = ((unit.payload["name"], f"{q.error_class}: {q.message}; to see it: {q.reproduce}") for unit, q in found if q)
    return dict(itertools.islice(told, GIVEN_UP_SHOWN))


def dry_run(sources: list[str], store: str, job: PreprocessJob) -> dict[str, Any]:
    """The plan, without doing it: what would be read and what is done already."""
    plan = plan_sources.fn(sources, job)
    done = 0
    place = Path(store)
    if "://" in store or place.is_file() or (place.is_dir() and any(place.iterdir())):
        ledger = Ledger(open_store(store, create=False))
        done = len(plan.units) - len(ledger.pending(plan))
    seconds = Fraction(0)
    unreadable = []
    for unit in plan.units:
        try:
            seconds += probe(Path(unit.payload["path"])).duration_s
        except Unusable as unusable:
            unreadable.append({"source": unit.payload["name"], "code": unusable.rejection.code})
    return {
        "planned": len(plan.units),
        "done": done,
        "footage_seconds": round(float(seconds), 1),
        "unreadable": unreadable,
        "store": store,
        "config": job.model_dump(mode="json"),
    }
