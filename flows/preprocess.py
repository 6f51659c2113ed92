"""Footage -> dataset. Plan every unit, work off what is pending, prove the account, publish.

Running the same command again does only what is missing; a threshold that moved publishes again without measuring.
"""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL

from flows.cluster.engine import open_engine
from flows.cluster.progress import Progress
from flows.cluster.work import WorkerSpec
from flows.planning import PreprocessJob, dry_run, existing, object_needed, plan_footage, reject_unread
from flows.report.dataset import write_card
from flows.sources.find import find
from flows.units import stop_on_interrupt, work_off
from flows.version import pinned
from flows.workers.extract import ExtractWorker
from flows.workers.pack import PackWorker
from preprocessing.config import QualityConfig
from preprocessing.quality.duplicates import TWIN_SCORES, twins
from preprocessing.quality.gates import judge
from shards.commit import Claim, Ledger, Plan, Receipt, SampleEntry, Unit
from shards.harvest import Harvest, harvest
from shards.leases import hold_lease
from shards.pack import open_shards
from shards.publish import Publication
from shards.publish import publish as publish_dataset
from shards.schema import Rejection
from shards.shard import pack_shard, plan_shards
from shards.store import open_store

__all__ = ["PreprocessJob", "dry_run", "preprocess", "unchanged"]

GIVEN_UP_SHOWN = 10
"""Sources in quarantine that the summary names."""


PACKED_HERE = 4
"""Shards that are packed in this process: a cluster takes longer to start than these take to copy."""


class Outcome(NamedTuple):
    """What the plan came to."""

    harvest: Harvest
    publication: Publication | None


@task(cache_policy=NO_CACHE)
def plan_sources(sources: list[str], job: PreprocessJob, store: str | None = None) -> Plan:
    """One unit a distinct content; what the store remembers of a file is not read again."""
    # Before a store is made: a source that is not there is refused, and leaves none.
    places = find(sources)
    return plan_footage(places, job, open_store(store) if store is not None else None)


@task(cache_policy=NO_CACHE)
def extract_clips(plan: Plan, store: str, job: PreprocessJob, address: str) -> None:
    """Brings every unit to a commit or to quarantine."""
    ledger = Ledger(open_store(store))
    ledger.write_plan(plan)
    if not reject_unread(ledger, plan):
        return
    config = pinned(job.clips)[0].model_dump(mode="json")
    spec = WorkerSpec(
        name="extract",
        factory=functools.partial(ExtractWorker, ledger.store.uri, config, job.staging),
        cpus=1.0,
    )
    _work_off(ledger, plan, spec, job, address, _reproduce, "sources", object_needed)


def _work_off(
    ledger: Ledger,
    plan: Plan,
    spec: WorkerSpec[Claim, Receipt],
    job: PreprocessJob,
    address: str,
    reproduce: Callable[[Unit], str],
    what: str,
    near: Callable[[Unit], str | None] = lambda unit: None,
) -> None:
    with stop_on_interrupt() as should_stop, open_engine(address) as engine, Progress(what, makes="clips") as progress:
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
            near=near,
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
    harvested = harvested.without(_copies(harvested, job.clips.quality))
    if not harvested.samples.num_rows:
        return Outcome(harvested, None)
    packing = plan_shards(harvested, job.pack)
    # The decisions of both plans are needed up to the last moment, whatever a sweep thinks of them.
    with hold_lease(ledger.store, "publish", reads=(plan.plan_id, packing.plan.plan_id)) as lease:
        _pack(ledger, packing.plan, job, address, lease.run)
        thresholds = job.clips.quality.model_dump(mode="json")
        published = publish_dataset(ledger, harvested, packing, job.pack, lease=lease, thresholds=thresholds)
        # Under the lease: a sweep that dropped the dataset meanwhile would leave its page behind.
        write_card(ledger.store, published.info.hash)
    return Outcome(harvested, published)


def _copies(harvested: Harvest, config: QualityConfig) -> dict[str, Rejection]:
    """Clips that show what another shows, by key."""
    if config.max_twin_bits < 0:
        return {}
    column = harvested.samples.column("scores")
    # Of a million clips' scores only these few: all of them would be gigabytes of Python objects.
    asked = [pc.map_lookup(column, pa.scalar(name), "first").to_pylist() for name in TWIN_SCORES]
    scores = [
        {name: value for name, value in zip(TWIN_SCORES, values, strict=True) if value is not None}
        for values in zip(*asked, strict=True)
    ]
    return twins(harvested.samples.column("key").to_pylist(), scores, config.max_twin_bits)


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
    plan = plan_sources(sources, job, store)
    extract_clips(plan, store, job, address)
    outcome = publish(plan, store, job, address)
    return summary(outcome, store) | {"seconds": round(time.monotonic() - begun, 1)}


def unchanged(sources: list[str], store: str, job: PreprocessJob) -> dict[str, Any] | None:
    """The account of a run that finds nothing to extract; None where there is something to do.

    Without Prefect, whose API takes longer to start than all that is left to do; but where a server of the user's keeps
    the runs, this is one of them.
    """
    begun, places, held = time.monotonic(), find(sources), existing(store)
    if held is None or PREFECT_API_URL.value():
        return None
    plan, ledger = plan_footage(places, job, held), Ledger(held)
    if ledger.pending(plan):
        return None
    ledger.write_plan(plan)
    return summary(publish.fn(plan, store, job, "none"), store) | {"seconds": round(time.monotonic() - begun, 1)}


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
    places = {unit.unit_id: unit.payload["path"] for unit in harvested.plan.units}
    return {
        places[found.unit_id]: f"{found.error_class}: {found.message}; to see it: {found.reproduce}"
        for found in harvested.given_up[:GIVEN_UP_SHOWN]
    }
