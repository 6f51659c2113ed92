"""A small pipeline of real parts, for runs that are to be disturbed: a dozen units, real clips, plan to dataset.

What it comes to is told as plain values, so that two stores can be compared.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.cluster.config import EngineConfig
from flows.cluster.plain import PlainEngine
from flows.cluster.progress import Progress
from flows.cluster.work import Worker, WorkerSpec
from flows.units import work_off
from flows.workers.pack import PackWorker
from preprocessing.errors import Unusable
from shards.catalog import current_dataset
from shards.commit import Claim, Ledger, Plan, Receipt, Unit
from shards.fingerprint import fingerprint, plain
from shards.harvest import harvest
from shards.index import index_path, info_path, read_index
from shards.leases import hold_lease
from shards.pack import PackConfig, open_shards
from shards.publish import publish
from shards.repair import reopen, repair
from shards.shard import plan_shards
from shards.store import Store, open_store
from shards.sweep import sweep
from shards.verify import verify
from shards.writer import FragmentWriter
from tests.support.datasets import unit_clips

ACTS = ("keep",) * 9 + ("reject",) * 2 + ("poison",)
ENGINE = EngineConfig(backoff_s=0.0, max_attempts=12, max_transient=1000, grace_s=0.01)
"""Tries enough: with work in the driver's own process, each kill is charged to the unit it met. And without pauses
between them, so a sweep that is at work takes many."""
PACK = PackConfig(target_bytes=40_000, val_share=0.2, test_share=0.2)

EnterPhase = Callable[[str], None]


class ClipWorker:
    """Writes a unit's clips, or fails as its payload says."""

    def __init__(self, store_uri: str) -> None:
        self._store_uri = store_uri

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))

    def process(self, item: Claim) -> Receipt:
        unit, number = item.unit, item.unit.payload["number"]
        match unit.payload["act"]:
            case "reject":
                raise Unusable.because("no_face", "nobody is seen", value=0.0, threshold=1.0)
            case "poison":
                raise ValueError("it does not compute")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        with (
            tempfile.TemporaryDirectory() as scratch,
            FragmentWriter(Path(scratch, "fragment.tar")) as writer,
        ):
            for clip in unit_clips(number, 1 + number % 2):
                writer.add(clip)
            fragment = writer.seal()
            ref = self._ledger.put_object(item, fragment.path, "tar")
        receipt = Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(ref,), samples=fragment.entries)
        return self._ledger.commit(item, receipt)

    def close(self) -> None:
        """Nothing is held."""


def make_plan(acts: tuple[str, ...] = ACTS) -> Plan:
    """A unit for each act, in an order of their own."""
    payloads = [{"number": number, "act": act} for number, act in enumerate(acts)]
    units = [Unit(unit_id=fingerprint(payload)[:12], stage="extract", payload=payload) for payload in payloads]
    return Plan.of("extract", units, {"made_for": "a run that is disturbed"})


def run_pipeline(
    uri: str,
    enter: EnterPhase = lambda phase: None,
    *,
    plan: Plan | None = None,
    config: PackConfig = PACK,
    engine: EngineConfig = ENGINE,
) -> None:
    """The whole run: plan, extract, pack, publish. `enter` is told which part begins."""
    plan = plan or make_plan()
    enter("open")
    ledger = Ledger(open_store(uri))
    enter("extract")
    decide_all(ledger, plan, ClipWorker, engine)
    harvested = harvest(ledger, plan)
    harvested.check()
    enter("pack")
    packing = plan_shards(harvested, config)
    with hold_lease(ledger.store, "publish", reads=(plan.plan_id, packing.plan.plan_id)) as lease:
        open_shards(ledger, packing.plan)
        decide_all(ledger, packing.plan, PackWorker, engine)
        enter("publish")
        publish(ledger, harvested, packing, config, lease=lease, thresholds={})


def decide_all(
    ledger: Ledger, plan: Plan, worker: Callable[[str], Worker[Claim, Receipt]], engine: EngineConfig = ENGINE
) -> None:
    """Brings every unit of the plan to a decision."""
    spec = WorkerSpec(name=plan.stage, factory=functools.partial(worker, ledger.store.uri))
    work_off(
        ledger,
        plan,
        spec,
        engine=PlainEngine(),
        config=engine,
        progress=Progress("units", stream=io.StringIO()),
        reproduce=lambda unit: f"dubwright again {unit.unit_id}",
        should_stop=lambda: False,
    )


def run_other(uri: str, enter: EnterPhase = lambda phase: None) -> None:
    """The same footage is packed in another way: other shards, and a dataset that will not be the newest for long."""
    run_pipeline(uri, lambda phase: enter(f"other {phase}"), config=PACK.model_copy(update={"seed": 1}))


def run_sweep(uri: str, enter: EnterPhase = lambda phase: None) -> None:
    """What nobody needs is removed; of datasets all but the newest."""
    enter("sweep")
    sweep(open_store(uri), keep_datasets=1)


def run_retry(uri: str, enter: EnterPhase = lambda phase: None) -> None:
    """A person asks for what was given up to be tried again."""
    enter("retry")
    reopen(Ledger(open_store(uri)))


def run_repair(uri: str, enter: EnterPhase = lambda phase: None) -> None:
    """`verify` names the damage, `retry --damaged` opens its units again."""
    enter("repair")
    store = open_store(uri)
    repair(store, verify(store))


def outcome(uri: str, plan: Plan | None = None) -> dict[str, Any]:
    """What a store came to; `problems` is empty when every byte that is named is there and right."""
    store, plan = open_store(uri, create=False), plan or make_plan()
    ledger = Ledger(store)
    account = ledger.account(plan)
    account.check()
    name = current_dataset(store)
    return {
        "dataset": name,
        "files": _published_files(store, name),
        "account": plain(account),
        "results": {decision.unit_id: _told(decision.result) for decision in ledger.decisions(plan.units)},
        "problems": [f"{found.path}: {found.problem}" for found in verify(store).damaged],
        "twice": _decided_twice(store),
    }


def _published_files(store: Store, name: str | None) -> dict[str, str]:
    """Path -> sha256 of the dataset's records and each object its index names, read without our reader."""
    if name is None:
        return {}
    index = store.read(index_path(name))
    objects = read_index(index, index_path(name)).column("object").unique().to_pylist()
    paths = [index_path(name), info_path(name), *objects]
    return {path: hashlib.sha256(store.read(path)).hexdigest() for path in sorted(paths)}


def _told(result: object) -> str:
    # Of a unit that was given up, the number of tries depends on what happened on the way.
    return fingerprint(result) if isinstance(result, Receipt) else "quarantined"


def _decided_twice(store: Store) -> list[str]:
    """Units with two decisions in epochs that count; asked of the names of files alone."""
    void = {tuple(path.removesuffix(".json").split("/")[1:]) for path in store.list("voids/")}
    held: defaultdict[str, list[str]] = defaultdict(list)
    for path in store.list("commits/"):
        unit_id, _, epoch = path.removeprefix("commits/").removesuffix(".json").partition(".")
        if (unit_id, epoch or "1") not in void:
            held[unit_id].append(path)
    return sorted(unit_id for unit_id, paths in held.items() if len(paths) > 1)
