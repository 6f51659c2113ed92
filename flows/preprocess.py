"""Footage -> dataset. Plan every unit, work off what is pending, prove the account, publish.

Running the same command again does only what is missing; a threshold that moved publishes again without measuring.
"""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

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
from flows.workers.pack import PackWorker
from preprocessing.config import PreprocessConfig, QualityConfig
from preprocessing.errors import Unusable
from preprocessing.media.probe import probe
from preprocessing.quality.gates import judge
from shards.commit import Claim, Ledger, Plan, Receipt, SampleEntry, Unit
from shards.deal import PackConfig
from shards.fingerprint import fingerprint
from shards.harvest import Harvest, harvest
from shards.leases import hold_lease
from shards.pack import open_shards
from shards.publish import Publication
from shards.publish import publish as publish_dataset
from shards.schema import Rejection
from shards.shard import pack_shard, plan_shards
from shards.store import open_store

GIVEN_UP_SHOWN = 10
"""Sources in quarantine that the summary names."""


PACKED_HERE = 4
"""Shards that are packed in this process: a cluster takes longer to start than these take to copy."""


class Outcome(NamedTuple):
    """What the plan came to."""

    harvest: Harvest
    publication: Publication | None


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
    _work_off(ledger, plan, spec, job, address, _reproduce, "sources")


def _work_off(
    ledger: Ledger,
    plan: Plan,
    spec: WorkerSpec[Claim, Receipt],
    job: PreprocessJob,
    address: str,
    reproduce: Callable[[Unit], str],
    what: str,
) -> None:
    with stop_on_interrupt() as should_stop, open_engine(address) as engine, Progress(what) as progress:
        progress.total(len(plan.units))
        work_off(
            ledger,
            plan,
            spec,
            engine=engine,
            config=job.engine,
            progress=progress,
            reproduce=reproduce,
            should_stop=should_stop,
        )


def _reproduce(unit: Unit) -> str:
    """In a store of its own: what was given up is not tried again in the same one."""
    return f'dubwright preprocess {shlex.quote(unit.payload["path"])} --store "$(mktemp -d)" --address none'


@task(cache_policy=NO_CACHE)
def publish(plan: Plan, store: str, job: PreprocessJob, address: str) -> Outcome:
    """Proves the account, packs what is not packed yet, and publishes; no dataset when no clip is worth training on."""
    ledger = Ledger(open_store(store, create=False))
    harvested = harvest(ledger, plan, accept=functools.partial(_accept, config=job.clips.quality))
    harvested.check()
    if not harvested.samples.num_rows:
        return Outcome(harvested, None)
    packing = plan_shards(harvested, job.pack)
    # The decisions of both plans are needed up to the last moment, whatever a sweep thinks of them.
    with hold_lease(ledger.store, "publish", reads=(plan.plan_id, packing.plan.plan_id)) as lease:
        _pack(ledger, packing.plan, job, address, lease.run)
        thresholds = job.clips.quality.model_dump(mode="json")
        published = publish_dataset(ledger, harvested, packing, job.pack, lease=lease, thresholds=thresholds)
    return Outcome(harvested, published)


def _pack(ledger: Ledger, plan: Plan, job: PreprocessJob, address: str, run: str) -> None:
    pending = open_shards(ledger, plan)
    if len(pending) <= PACKED_HERE:
        for unit in pending:
            pack_shard(ledger, ledger.begin(unit, run, is_isolated=False))
        return
    spec = WorkerSpec(name="pack", factory=functools.partial(PackWorker, ledger.store.uri), cpus=1.0)
    _work_off(ledger, plan, spec, job, address, _look_for_damage, "shards")


def _look_for_damage(unit: Unit) -> str:
    return "dubwright store verify, for what is damaged"


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
    outcome = publish(plan, store, job, address)
    return summary(outcome, store) | {"seconds": round(time.monotonic() - begun, 1)}


def summary(outcome: Outcome, store: str) -> dict[str, Any]:
    """The account in plain values, as `--json` prints it."""
    harvested, publication = outcome
    account = harvested.account
    return {
        "account": str(account),
        "planned": account.planned,
        "kept": account.kept,
        "rejected": account.rejected,
        "quarantined": account.quarantined,
        "clips": harvested.samples.num_rows,
        "rejections": dict(harvested.rejections),
        "given_up": _given_up(harvested),
        "dataset": publication.info.hash if publication else None,
        # False: another dataset was published while this one was being made, and stays the newest.
        "is_newest": publication.is_current if publication else None,
        "store": store,
    }


def _given_up(harvested: Harvest) -> dict[str, str]:
    """Source -> why it was given up and what shows it, for the first few."""
    names = {unit.unit_id: unit.payload["name"] for unit in harvested.plan.units}
    return {
        names[found.unit_id]: f"{found.error_class}: {found.message}; to see it: {found.reproduce}"
        for found in harvested.given_up[:GIVEN_UP_SHOWN]
    }


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
