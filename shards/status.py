"""What is in a store, and whether it is what the records say: for `dubwright store status` and `store verify`.

Reads only, but for `redo`, which clears damage away so that the ordinary run makes it again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from shards.commit import Ledger, ObjectRef, commit_path
from shards.errors import ObjectDamaged, ObjectMissing, StoreError
from shards.fingerprint import plain
from shards.index import dataset_hash, index_path, info_path, read_info
from shards.reader import current_dataset, open_dataset, published
from shards.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """An object that is not what its records say."""

    path: str
    problem: str
    units: tuple[str, ...]
    """Units whose commit names it: to be done again."""
    datasets: tuple[str, ...]
    """Datasets that hold it: to be published again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome of reading every byte."""

    objects: int
    size_bytes: int
    damaged: tuple[Damage, ...]

    @property
    def units_to_redo(self) -> tuple[str, ...]:
        return tuple(sorted({unit for damage in self.damaged for unit in damage.units}))


def status(store: Store) -> dict[str, Any]:
    """Plans (newest first) with their accounts, datasets, and which is CURRENT; plain values."""
    ledger = Ledger(store)
    plans = []
    for plan_id in ledger.plans():
        plan = ledger.read_plan(plan_id)
        plans.append({"plan_id": plan_id, "stage": plan.stage, "account": plain(ledger.account(plan))})
    return {
        "uri": store.uri,
        "plans": plans,
        "datasets": [_summary(store, name) for name in published(store)],
        "current": current_dataset(store),
    }


def verify(store: Store) -> Verification:
    """Reads every object that a commit or a dataset names, and compares it with its name."""
    damaged = _damaged_records(store)
    unreadable = {damage.path for damage in damaged}
    refs, units, datasets = _named_objects(store, unreadable)
    for path in sorted(refs):
        if problem := _problem(store, refs[path]):
            log.error("%s: %s", path, problem)
            damaged.append(Damage(path=path, problem=problem, units=tuple(units[path]), datasets=tuple(datasets[path])))
    total = sum(ref.size_bytes for ref in refs.values())
    return Verification(objects=len(refs), size_bytes=total, damaged=tuple(damaged))


def redo(store: Store, found: Verification) -> tuple[str, ...]:
    """Removes the damaged objects and the commits that name them; the units are pending again."""
    for unit_id in found.units_to_redo:
        store.delete(commit_path(unit_id))
    # After the commits: a commit must never name what we have removed ourselves.
    for damage in found.damaged:
        store.delete(damage.path)
    return found.units_to_redo


def _named_objects(
    store: Store, unreadable: set[str]
) -> tuple[dict[str, ObjectRef], dict[str, list[str]], dict[str, list[str]]]:
    """path -> what is recorded of it, the units and the datasets that name it."""
    refs: dict[str, ObjectRef] = {}
    units: dict[str, list[str]] = defaultdict(list)
    datasets: dict[str, list[str]] = defaultdict(list)
    for unit_id in Ledger(store).committed():
        if commit_path(unit_id) not in unreadable and (receipt := Ledger(store).receipt(unit_id)) is not None:
            for ref in receipt.objects:
                refs[ref.path] = ref
                units[ref.path].append(unit_id)
    for name in published(store):
        if info_path(name) not in unreadable:
            for ref in read_info(store, name).shards:
                refs[ref.path] = ref
                datasets[ref.path].append(name)
    return refs, units, datasets


def _damaged_records(store: Store) -> list[Damage]:
    """Commits and dataset records that cannot be read, or are not those of their name."""
    damaged = []
    for unit_id in Ledger(store).committed():
        try:
            Ledger(store).receipt(unit_id)
        except StoreError as error:
            damaged.append(Damage(path=commit_path(unit_id), problem=str(error), units=(unit_id,), datasets=()))
    for name in published(store):
        path = info_path(name)
        try:
            info = read_info(store, name)
            path = index_path(name)
            if dataset_hash(info, open_dataset(store, name).table) != name:
                raise ObjectDamaged("its rows are not those the dataset is named by")
        except StoreError as error:
            damaged.append(Damage(path=path, problem=str(error), units=(), datasets=(name,)))
    return damaged


def _problem(store: Store, ref: ObjectRef) -> str | None:
    try:
        found = store.sha256(ref.path)
    except ObjectMissing:
        return "missing"
    return None if found == ref.sha256 else f"damaged: its bytes hash to {found[:12]}..., not to its name"


def _summary(store: Store, name: str) -> dict[str, Any]:
    info = read_info(store, name)
    shown = ("hash", "plan_id", "num_samples", "hours", "size_bytes", "samples_by_split", "rejections")
    return {field: plain(getattr(info, field)) for field in shown}
