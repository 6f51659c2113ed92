"""Reads everything that a store's records name, and says what is not as recorded, and what to do about it.

    objects      the bytes hash to their name, and each sample's run lies where a decision or an index says: its key,
                 its members, their checksums (`check.py`)
    records      decisions, tries, voids, plans, datasets with every row of their index, CURRENT: whole, and those of
                 their name

An object that nobody names is counted, not judged: that is a sweep's business. Reads only; clearing damage away is
`repair.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from shards import plans
from shards.ahead import read_ahead
from shards.catalog import CURRENT_FOLDER, current_generation, generation_path, published
from shards.check import Row, problem_of
from shards.commit import READS_AT_ONCE, Ledger, commit_path
from shards.errors import ObjectDamaged, ObjectMissing, RequestError, StoreError, UnknownSchemaVersion
from shards.index import dataset_hash, index_path, info_path, read_index, read_info
from shards.records import ObjectRef, Receipt, SampleEntry
from shards.sealed import is_unchanged
from shards.store import Store

HASHED_AT_ONCE = max(4, os.cpu_count() or 1)
Kind = Literal["object", "decision", "try", "void", "plan", "dataset", "current"]
REMEDIES: Mapping[Kind, str] = {
    "object": "`dubwright store retry {uri} --damaged`, then run again the command that made it",
    "decision": "`dubwright store retry {uri} --damaged`, then run again the command that made it",
    "try": "`dubwright store retry {uri} --damaged`",
    "void": "`dubwright store retry {uri} --damaged`",
    "plan": "run the command that planned it again: it is written anew",
    "dataset": "run the command that published it again (`dubwright preprocess`, same settings): it is written anew",
    "current": "`dubwright store retry {uri} --damaged`; the newest dataset before it counts until one is published",
}


class Watch(Protocol):
    """Who wants to see how far it is."""

    def total(self, number: int) -> None: ...

    def advance(self, category: str, number: int = 1) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not what its records say."""

    kind: Kind
    path: str
    problem: str
    remedy: str
    units: tuple[str, ...] = ()
    """Units whose decision it is, or whose decision names it: to be done again."""
    datasets: tuple[str, ...] = ()
    """Datasets that are not whole by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The outcome."""

    is_quick: bool
    """Of objects only the sizes were asked."""
    objects: int
    """Named by a record."""
    size_bytes: int
    """Of those."""
    samples: int
    """Rows of indexes and of decisions that were read where they should lie."""
    unnamed: int
    """Objects that nobody names."""
    unnamed_bytes: int
    damaged: tuple[Damage, ...]

    @property
    def units_to_redo(self) -> tuple[str, ...]:
        return tuple(sorted({unit for damage in self.damaged for unit in damage.units}))

    @property
    def datasets_hit(self) -> tuple[str, ...]:
        return tuple(sorted({name for damage in self.damaged for name in damage.datasets}))


def verify(store: Store, *, quick: bool = False, watch: Watch | None = None) -> Verification:
    """Compares everything with its record; `quick` takes an object of the right size for whole."""
    return _Verifier(store, quick, watch).run()


@dataclass(slots=True)
class _Named:
    """An object as records name it."""

    units: list[tuple[str, int]] = field(default_factory=list)
    """(unit, epoch)"""
    datasets: list[str] = field(default_factory=list)


class _Index:
    """The rows of a dataset, by object."""

    def __init__(self, table: pa.Table) -> None:
        codes = table.column("object").combine_chunks().dictionary_encode()
        numbers = codes.indices.to_numpy()
        self._table, self._order = table, np.argsort(numbers, kind="stable")
        starts = np.searchsorted(numbers[self._order], np.arange(len(codes.dictionary) + 1))
        self._spans = {
            path: (int(starts[code]), int(starts[code + 1])) for code, path in enumerate(codes.dictionary.to_pylist())
        }

    @property
    def objects(self) -> set[str]:
        return set(self._spans)

    def rows(self, path: str) -> Iterator[Row]:
        start, stop = self._spans.get(path, (0, 0))
        found = self._table.select(["offset", "size_bytes", "key"]).take(pa.array(self._order[start:stop]))
        return (Row(**row) for row in found.to_pylist())


class _Verifier:
    def __init__(self, store: Store, quick: bool, watch: Watch | None) -> None:
        self.store, self.quick, self.watch, self.ledger = store, quick, watch, Ledger(store)
        self.named: dict[ObjectRef, _Named] = {}
        self.indexes: dict[str, _Index] = {}
        self.damaged: list[Damage] = []
        self.samples = 0

    def run(self) -> Verification:
        self.read_decisions()
        self.read_small_records()
        self.read_datasets()
        sizes = {entry.path: entry.size_bytes for entry in self.store.entries("objects/")}
        self.read_objects(sizes)
        unnamed = sizes.keys() - {ref.path for ref in self.named}
        return Verification(
            is_quick=self.quick,
            objects=len(self.named),
            size_bytes=sum(ref.size_bytes for ref in self.named),
            samples=self.samples,
            unnamed=len(unnamed),
            unnamed_bytes=sum(sizes[path] for path in unnamed),
            damaged=tuple(self.damaged),
        )

    def damage(self, kind: Kind, path: str, problem: object, **hit: tuple[str, ...]) -> None:
        if isinstance(problem, UnknownSchemaVersion) and is_unchanged(self.store.read(path)):
            # Not damaged: written by a newer program, which may make more of it than we can.
            raise problem
        remedy = REMEDIES[kind].format(uri=self.store.uri)
        self.damaged.append(Damage(kind=kind, path=path, problem=str(problem), remedy=remedy, **hit))

    # -- records

    def read_decisions(self) -> None:
        def read(which: tuple[str, int]) -> tuple[tuple[str, int], tuple[ObjectRef, ...], Exception | None]:
            try:
                decision = self.ledger.decision(*which)
            except (StoreError, RequestError) as error:
                return which, (), error
            result = decision.result if decision is not None else None
            return which, result.objects if isinstance(result, Receipt) else (), None

        for which, refs, error in read_ahead(read, sorted(self.ledger.decided().items()), depth=READS_AT_ONCE):
            misnamed = [ref for ref in refs if PurePosixPath(ref.path).stem != ref.sha256]
            if error is not None or misnamed:
                problem = error or f"names an object by the path of another: {misnamed[0]}"
                self.damage("decision", commit_path(*which), problem, units=(which[0],))
                continue
            for ref in refs:
                self.named.setdefault(ref, _Named()).units.append(which)

    def read_small_records(self) -> None:
        kinds: tuple[tuple[Kind, str, Callable[[str], Any]], ...] = (
            ("try", "attempts/", self.ledger.attempt_at),
            ("void", "voids/", self.ledger.void_at),
            ("plan", plans.FOLDER, lambda path: self.ledger.read_plan(PurePosixPath(path).stem)),
        )
        for kind, folder, read in kinds:
            paths = [path for path in self.store.list(folder) if path.endswith(".json")]
            for path, error in self.tried(read, paths):
                self.damage(kind, path, error)
        for _, error in self.tried(lambda _: self.need_current(), [CURRENT_FOLDER]):
            last = max(self.store.list(CURRENT_FOLDER), default=generation_path(0))
            self.damage("current", last, error)

    def need_current(self) -> None:
        if (name := current_generation(self.store).dataset) is not None:
            self.store.size(info_path(name))

    def tried(self, read: Callable[[str], Any], paths: Iterable[str]) -> Iterator[tuple[str, Exception]]:
        """The paths that cannot be read, and why."""

        def one(path: str) -> tuple[str, Exception | None]:
            try:
                read(path)
            except (StoreError, RequestError) as error:
                return path, error
            return path, None

        for path, error in read_ahead(one, paths, depth=READS_AT_ONCE):
            if error is not None:
                yield path, error

    def read_datasets(self) -> None:
        for name in published(self.store):
            path = info_path(name)
            try:
                info = read_info(self.store, name)
                path = index_path(name)
                table = read_index(self.store.read(path), f"{self.store.uri}/{path}")
                if dataset_hash(info, table) != name:
                    raise ObjectDamaged("its rows or figures are not those the dataset is named by")
                index = _Index(table)
                if strangers := index.objects - {ref.path for ref in info.shards}:
                    raise ObjectDamaged(f"rows lie in an object that is none of its shards: {min(strangers)}")
            except (StoreError, RequestError) as error:
                self.damage("dataset", path, error, datasets=(name,))
                continue
            self.indexes[name] = index
            for ref in info.shards:
                self.named.setdefault(ref, _Named()).datasets.append(name)

    # -- objects

    def read_objects(self, sizes: Mapping[str, int]) -> None:
        if self.watch is not None:
            self.watch.total(len(self.named))

        def one(ref: ObjectRef) -> tuple[ObjectRef, str | None, int]:
            if (size := sizes.get(ref.path)) != ref.size_bytes:
                return ref, "missing" if size is None else f"{size} bytes, {ref.size_bytes} are recorded", 0
            if self.quick:
                return ref, None, 0
            rows = list(self.rows(ref))
            return ref, problem_of(self.store, ref, rows), len(rows)

        by_path = sorted(self.named, key=lambda ref: ref.path)
        for ref, problem, samples in read_ahead(one, by_path, depth=HASHED_AT_ONCE):
            self.samples += samples
            if problem:
                named = self.named[ref]
                units = tuple(sorted({unit_id for unit_id, _ in named.units}))
                self.damage("object", ref.path, problem, units=units, datasets=tuple(named.datasets))
            if self.watch is not None:
                self.watch.advance("damaged" if problem else "whole")

    def rows(self, ref: ObjectRef) -> Iterator[Row]:
        """Of every record that says what lies in the object. Decisions are read again: all their rows at once would
        not fit into memory."""
        for which in self.named[ref].units:
            for entry in self.entries(ref, which):
                yield Row(entry.offset, entry.size_bytes, entry.key)
        for name in self.named[ref].datasets:
            yield from self.indexes[name].rows(ref.path)

    def entries(self, ref: ObjectRef, which: tuple[str, int]) -> tuple[SampleEntry, ...]:
        """The samples that a decision has in this object."""
        try:
            decision = self.ledger.decision(*which)
        except ObjectMissing:
            return ()
        result = decision.result if decision is not None else None
        return result.samples if isinstance(result, Receipt) and result.objects[:1] == (ref,) else ()
