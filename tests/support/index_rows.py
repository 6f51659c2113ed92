"""Indexes made by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa

from shards.index import SCHEMA, Split
from shards.records import SampleEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """A sample of a dataset, and where it lies."""

    object: str
    split: Split
    entry: SampleEntry
    """Offset and size within `object`."""


def index_table(rows: Iterable[IndexRow]) -> pa.Table:
    """The rows in the order given."""
    flat = [
        {**asdict(row.entry), "scores": sorted(row.entry.scores.items()), "object": row.object, "split": row.split}
        for row in rows
    ]
    return pa.Table.from_pylist(flat, schema=SCHEMA)
