"""Publishes a packed dataset, once it is proven that nothing was lost, doubled or changed; else refuses, and says why.

    planned = kept + rejected + quarantined, every unit once, none pending      of the footage's plan
    planned = kept                                                              of the shards' plan
    both plans in the store are those that were worked off
    every object that their decisions name is there, with the size they name
    every shard has the bytes of its samples, and the index a row for each

Whether the bytes are the right ones is checked as they are copied (`shard.py`), and by `dubwright store verify`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.catalog import make_current
from shards.commit import Ledger, ObjectRef, Plan
from shards.deal import Deal, PackConfig
from shards.errors import AccountError, ObjectDamaged, ObjectMissing
from shards.fingerprint import plain
from shards.harvest import Harvest
from shards.index import SCHEMA, DatasetInfo, dataset_hash, index_bytes, index_path, info_path
from shards.leases import HeldLease
from shards.records import Account, Quarantine, to_record
from shards.shard import Packing
from shards.store import Store

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""A language or licence of which nobody said anything."""
NAMED = 5
"""Of many wrong things, so many are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A dataset that is published."""

    info: DatasetInfo
    is_current: bool
    """False when another was published while this one was being made."""


def publish(
    ledger: Ledger,
    harvested: Harvest,
    packing: Packing,
    config: PackConfig,
    *,
    lease: HeldLease,
    thresholds: Mapping[str, Any],
) -> Publication:
    """Proves the dataset whole, writes it, and makes it the newest. Again, it changes nothing.

    `lease` keeps both plans from a sweep, and from here on the dataset: one of this name may be going just now.
    """
    store = ledger.store
    harvested.check()
    harvested.need_samples()
    for plan in (harvested.plan, packing.plan):
        _need_as_written(ledger, plan)
    shards = _shards(ledger, packing)
    _need_objects(store, harvested, zip(packing.unit_ids, shards, strict=True))
    table = _table(packing.deal, shards)
    info = _describe(harvested, packing, shards, table, config, thresholds)
    lease.need(info.hash)
    # dataset.json last: a dataset that has it is whole.
    store.write(index_path(info.hash), index_bytes(table))
    store.write(info_path(info.hash), to_record(info))
    is_current = make_current(store, info.hash, harvested.noted)
    log.info("published dataset %s: %d samples in %d shards", info.hash, info.num_samples, len(info.shards))
    if not is_current:
        log.warning(
            "dataset %s is published, but another became the newest while it was made; run again to make it the newest",
            info.hash,
        )
    return Publication(info=info, is_current=is_current)


def _need_as_written(ledger: Ledger, plan: Plan) -> None:
    remedy = (
        f"remove plans/{plan.plan_id}.json and .parquet from {ledger.store.uri} and run again: both are written anew"
    )
    try:
        if ledger.read_plan(plan.plan_id) != plan:
            raise ObjectDamaged(f"plan {plan.plan_id} in the store is another than was worked off")
    except (ObjectDamaged, ObjectMissing) as error:
        raise AccountError(f"{error}; {remedy}") from error


def _shards(ledger: Ledger, packing: Packing) -> tuple[ObjectRef, ...]:
    """Each shard's object; every one of them must be there, and of the bytes of its samples."""
    refs: dict[str, ObjectRef] = {}
    for decision in ledger.decisions(packing.plan.units):
        result = decision.result
        if isinstance(result, Quarantine):
            raise AccountError(
                f"a shard was given up ({result.error_class}: {result.message}); mend that and run again"
            )
        if not result.objects:
            raise ObjectDamaged(f"the commit of shard {decision.unit_id} names no object")
        refs[decision.unit_id] = result.objects[0]
    planned, kept = len(packing.unit_ids), len(refs)
    Account(planned=planned, kept=kept, rejected=0, quarantined=0, pending=planned - kept).check()
    shards = tuple(refs[unit_id] for unit_id in packing.unit_ids)
    for unit_id, ref, size in zip(packing.unit_ids, shards, packing.deal.sizes.tolist(), strict=True):
        if ref.size_bytes != size:
            raise ObjectDamaged(
                f"the commit of shard {unit_id} names {ref.size_bytes} bytes and its samples have {size}; "
                f"{_redo(ledger.store)}"
            )
    return shards


def _need_objects(store: Store, harvested: Harvest, shards: Iterable[tuple[str, ObjectRef]]) -> None:
    """Everything that a decision names is there, with its size: by one listing."""
    needed = {ref.path: (unit_id, ref.size_bytes) for unit_id, ref in _named(harvested, shards)}
    found = {entry.path: entry.size_bytes for entry in store.entries("objects/") if entry.path in needed}
    wrong = [
        f"{path} of unit {unit_id} ({'missing' if path not in found else f'{found[path]} bytes, {size} recorded'})"
        for path, (unit_id, size) in needed.items()
        if found.get(path) != size
    ]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise ObjectDamaged(f"{store.uri} lacks {', '.join(sorted(wrong)[:NAMED])}{more}; {_redo(store)}")


def _named(harvested: Harvest, shards: Iterable[tuple[str, ObjectRef]]) -> Iterator[tuple[str, ObjectRef]]:
    for unit_id, refs in harvested.objects.items():
        for ref in refs:
            yield unit_id, ref
    yield from shards


def _redo(store: Store) -> str:
    return f"`dubwright store retry {store.uri} --damaged` opens the units that need it, then run again"


def _table(dealt: Deal, shards: tuple[ObjectRef, ...]) -> pa.Table:
    """The index: the samples as they lie, and the object of each."""
    shard_of = pa.array(np.repeat(np.arange(len(shards)), np.diff(dealt.bounds)))
    by_shard = {"object": [ref.path for ref in shards], "split": list(dealt.splits)}
    columns = [
        pa.array(by_shard[name], pa.string()).take(shard_of) if name in by_shard else dealt.samples.column(name)
        for name in SCHEMA.names
    ]
    table = pa.table(columns, schema=SCHEMA)
    if table.num_rows != dealt.samples.num_rows or table.num_rows != int(dealt.bounds[-1]):
        raise AccountError(f"{dealt.samples.num_rows} samples were dealt and the index has {table.num_rows} rows")
    return table


def _describe(
    harvested: Harvest,
    packing: Packing,
    shards: tuple[ObjectRef, ...],
    table: pa.Table,
    config: PackConfig,
    thresholds: Mapping[str, Any],
) -> DatasetInfo:
    info = DatasetInfo(
        hash="",
        plan_id=harvested.plan.plan_id,
        pack_plan_id=packing.plan.plan_id,
        num_samples=table.num_rows,
        num_frames=pc.sum(table.column("num_frames")).as_py(),
        hours=math.fsum(table.column("duration_s").to_numpy()) / 3600,
        size_bytes=sum(shard.size_bytes for shard in shards),
        samples_by_split=_counts(table.column("split")),
        identities_by_split=_counts(table.group_by(["split", "identity"]).aggregate([]).column("split")),
        samples_by_language=_counts(table.column("language").fill_null(UNKNOWN)),
        rejections=harvested.rejections,
        account=harvested.account,
        shards=shards,
        config=harvested.plan.config,
        pack_config=plain(config),
        thresholds=plain(thresholds),
        hours_by_licence=_hours_by_licence(harvested),
    )
    return replace(info, hash=dataset_hash(info, table))


def _hours_by_licence(harvested: Harvest) -> dict[str, float]:
    """The plan says it, not the samples: a licence that is learnt later makes no clip again."""
    said = [unit.payload.get("licence") for unit in harvested.plan.units]
    if not any(said):
        return {}
    licences = np.array([licence or UNKNOWN for licence in said])[harvested.samples.column("unit").to_numpy()]
    seconds = harvested.samples.column("duration_s").to_numpy()
    return {str(name): math.fsum(seconds[licences == name]) / 3600 for name in np.unique(licences)}


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    found = pc.value_counts(values)
    return dict(sorted(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
