"""What the store remembers of places: which content lay there when it was last read, so that it is not read again.

    STORE/sources/{sha256 of the file}.parquet      uri, stamp, sha256, at

A row is a fact: under this stamp (size, time and number of a file; size and version of an object) the place held these
bytes. Facts of two runs cannot contradict each other, so runs add files side by side and need no lock; once there are
many, a run writes all that it read as one and removes those. A file that is lost or damaged costs hashing, no more.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ObjectMissing
from shards.store import Store

log = logging.getLogger(__name__)

FOLDER = "sources/"
MOST_FILES = 8
"""More than these are made into one."""
_SCHEMA = pa.schema([("uri", pa.string()), ("stamp", pa.string()), ("sha256", pa.string()), ("at", pa.int64())])


@dataclass(frozen=True, slots=True)
class _Fact:
    stamp: str
    sha256: str
    at: int
    """When it was learnt, seconds since 1970: of two facts about a place the later one is kept."""


@dataclass(slots=True)
class Known:
    """The facts of a store; without one, those of this run alone."""

    store: Store | None = None
    _facts: dict[str, _Fact] = field(default_factory=dict)
    _fresh: dict[str, _Fact] = field(default_factory=dict)
    _files: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store | None) -> Known:
        """All that the store remembers."""
        known = cls(store)
        if store is not None:
            known._files = list(store.list(FOLDER))
            for path in known._files:
                known._read(store, path)
        return known

    def sha256(self, uri: str, stamp: str) -> str | None:
        """The content of that place under that stamp, if it was ever read."""
        fact = self._facts.get(uri)
        return fact.sha256 if fact is not None and fact.stamp == stamp else None

    def learn(self, uri: str, stamp: str, sha256: str) -> None:
        """Notes the fact, if it is none of those that are known."""
        if self.sha256(uri, stamp) != sha256:
            self._facts[uri] = self._fresh[uri] = _Fact(stamp, sha256, int(time.time()))

    def save(self) -> None:
        """Adds what was learnt to the store."""
        if self.store is None or not self._fresh:
            return
        merges = len(self._files) >= MOST_FILES
        data = _table(self._facts if merges else self._fresh)
        path = f"{FOLDER}{hashlib.sha256(data).hexdigest()}.parquet"
        self.store.create(path, data)
        if merges:
            # Only after the one that holds them all is there.
            for old in self._files:
                self.store.delete(old)
        self._files = [path] if merges else [*self._files, path]
        self._fresh.clear()

    def _read(self, store: Store, path: str) -> None:
        try:
            table = pq.read_table(io.BytesIO(store.read(path)), schema=_SCHEMA)
        except ObjectMissing:
            return  # another run has just made it part of a larger one
        except (pa.ArrowException, OSError, ValueError) as error:
            log.warning("%s/%s is damaged, what it remembers is read anew: %s", store.uri, path, error)
            return
        columns = (table.column(name).to_pylist() for name in _SCHEMA.names)
        for uri, stamp, sha256, at in zip(*columns, strict=True):
            held = self._facts.get(uri)
            if held is None or held.at <= at:
                self._facts[uri] = _Fact(stamp, sha256, at)


def _table(facts: dict[str, _Fact]) -> bytes:
    rows = [{"uri": uri, "stamp": f.stamp, "sha256": f.sha256, "at": f.at} for uri, f in sorted(facts.items())]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink)
    return sink.getvalue()
