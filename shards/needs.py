"""What in a store is needed, and for whose sake: the question a sweep asks, and asks again before it removes.

Every look reads the store anew. Only what never changes under its name is remembered between two looks: a decision, a
plan's units, a dataset's shards.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from shards import plans
from shards.ahead import read_ahead
from shards.catalog import current_generation, generation_path, generations, published
from shards.commit import READS_AT_ONCE, Ledger
from shards.errors import ObjectDamaged, ObjectMissing
from shards.index import info_path, read_info
from shards.leases import Seen
from shards.records import Receipt
from shards.store import Store

_COMMIT = re.compile(r"commits/([^./]+)(?:\.(\d+))?\.json")
_LEFT_BY_A_TRY = re.compile(r"attempts/([^/]+)/(\d+)\.(\d+)\.(?:([0-9a-f]{64})\.pin|json)")
_OBJECT = re.compile(r"objects/[0-9a-f]{2}/([0-9a-f]{64})\..+")


@dataclass(frozen=True, slots=True)
class TryFile:
    """Something that a try left: the record that it began, or a pin."""

    path: str
    unit_id: str
    epoch: int
    digest: str | None
    """The object that a pin holds; None for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """Where every unit of the store stands."""

    epochs: Mapping[str, int]
    """The present epoch, of those of which one was voided."""
    decided: Mapping[str, int]
    """Unit -> the epoch of the decision that counts."""
    void: tuple[str, ...]
    """Decisions that count no more, by path."""
    tries: tuple[TryFile, ...]

    def is_open(self, left: TryFile) -> bool:
        """That what the try makes may yet count."""
        return left.epoch >= self.epochs.get(left.unit_id, 1) and left.epoch > self.decided.get(left.unit_id, 0)


@dataclass(slots=True)
class Needs:
    """Looks at one store, as often as asked."""

    store: Store
    as_if_void: dict[str, int] = field(default_factory=dict)
    """Unit -> an epoch that is taken for void: how a rehearsal sees what it would have done."""
    as_if_gone: set[str] = field(default_factory=set)
    """Datasets that are taken for removed, likewise."""
    _objects: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    _shards: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    _units: dict[str, frozenset[str]] = field(default_factory=dict)

    def objects(self) -> dict[str, tuple[list[str], int]]:
        """Digest -> paths and bytes, of every object there is."""
        found: dict[str, tuple[list[str], int]] = {}
        for entry in self.store.entries("objects/"):
            if match := _OBJECT.fullmatch(entry.path):
                paths, size = found.get(match[1], ([], 0))
                found[match[1]] = ([*paths, entry.path], size + entry.size_bytes)
        return found

    def units(self) -> Units:
        """Decisions after voids and tries after decisions, so that one on its way is seen in one place or the other."""
        epochs = dict(Ledger(self.store).epochs())
        for unit_id, epoch in self.as_if_void.items():
            epochs[unit_id] = max(epochs.get(unit_id, 1), epoch + 1)
        decided: dict[str, int] = {}
        void = []
        for path in self.store.list("commits/"):
            if match := _COMMIT.fullmatch(path):
                unit_id, epoch = match[1], int(match[2] or 1)
                if epoch < epochs.get(unit_id, 1):
                    void.append(path)
                else:
                    decided[unit_id] = max(epoch, decided.get(unit_id, 0))
        found = (_LEFT_BY_A_TRY.fullmatch(path) for path in self.store.list("attempts/"))
        tries = (TryFile(match[0], match[1], int(match[2]), match[4]) for match in found if match)
        return Units(epochs=epochs, decided=decided, void=tuple(void), tries=tuple(tries))

    def decided_objects(self, units: Units) -> frozenset[str]:
        """Digests that the decisions name. One that cannot be read stops the sweep: nobody knows what it names."""
        unread = [which for which in units.decided.items() if which not in self._objects]
        for which, digests in zip(unread, read_ahead(self._named, unread, depth=READS_AT_ONCE), strict=True):
            self._objects[which] = digests
        return frozenset(digest for which in units.decided.items() for digest in self._objects[which])

    def pinned_objects(self, units: Units) -> frozenset[str]:
        """Digests that tries need which may yet decide their unit."""
        return frozenset(left.digest for left in units.tries if left.digest and units.is_open(left))

    def holders(self, digests: Collection[str]) -> dict[str, set[tuple[str, int]]]:
        """Digest -> (unit, epoch) of the decisions that name it and the tries that need it."""
        units, found = self.units(), {digest: set[tuple[str, int]]() for digest in digests}
        self.decided_objects(units)
        for which in units.decided.items():
            for digest in found.keys() & set(self._objects[which]):
                found[digest].add(which)
        for left in units.tries:
            if left.digest in found and units.is_open(left):
                found[left.digest].add((left.unit_id, left.epoch))
        return found

    def dataset_objects(self) -> frozenset[str]:
        """Digests of the shards of every published dataset."""
        names = (name for name in published(self.store) if name not in self.as_if_gone)
        return frozenset(digest for name in names for digest in self._dataset(name)[0])

    def plans_of(self, datasets: Iterable[str]) -> frozenset[str]:
        """The plans that these datasets were made from."""
        return frozenset(plan_id for name in datasets for plan_id in self._dataset(name)[1])

    def units_of(self, plan_ids: Iterable[str]) -> frozenset[str]:
        """The units that any of these plans names; one removed meanwhile names none."""
        found: set[str] = set()
        for plan_id in plan_ids:
            if plan_id not in self._units:
                try:
                    self._units[plan_id] = plans.read_unit_ids(self.store, plan_id)
                except ObjectMissing:
                    continue
            found |= self._units[plan_id]
        return frozenset(found)

    def datasets_by_age(self) -> list[str]:
        """Published datasets, the last that was published (or made the newest again) first."""
        when = {
            entry.path.split("/")[1]: entry.modified
            for entry in self.store.entries("datasets/")
            if PurePosixPath(entry.path).name == "dataset.json"
        }
        for number in generations(self.store):
            name = self.generation(number)
            if name in when:
                when[name] = max(when[name], self.store.modified(generation_path(number)))
        newest = current_generation(self.store).dataset
        return sorted(when, key=lambda name: (name == newest, when[name], name), reverse=True)

    def generation(self, number: int) -> str:
        """The dataset that was the newest in that generation; "" when it was cleared away meanwhile."""
        try:
            return self.store.read(generation_path(number)).decode(errors="replace").strip()
        except ObjectMissing:
            return ""

    def _named(self, which: tuple[str, int]) -> tuple[str, ...]:
        unit_id, epoch = which
        try:
            decision = Ledger(self.store).decision(unit_id, epoch)
        except ObjectDamaged as error:
            raise ObjectDamaged(f"{error}; `dubwright store retry {self.store.uri} --damaged` comes first") from error
        result = decision.result if decision is not None else None
        return tuple(ref.sha256 for ref in result.objects) if isinstance(result, Receipt) else ()

    def _dataset(self, name: str) -> tuple[frozenset[str], frozenset[str]]:
        """Digests of its shards, and its plans."""
        if name not in self._shards:
            try:
                info = read_info(self.store, name)
            except ObjectMissing:
                return frozenset(), frozenset()
            except ObjectDamaged as error:
                raise ObjectDamaged(
                    f"{error}; publish it again (the command that made it), or remove {info_path(name)} to give it up"
                ) from error
            shards = frozenset(ref.sha256 for ref in info.shards)
            self._shards[name] = (shards, frozenset({info.plan_id, info.pack_plan_id}))
        return self._shards[name]


def in_use(seen: Iterable[Seen]) -> dict[str, str]:
    """Dataset or plan -> who says to need it, of the runs that are alive."""
    return {name: each.lease.holder for each in seen if each.is_alive for name in each.lease.reads}
