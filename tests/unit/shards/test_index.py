"""The index comes back row for row, and another program's parquet is refused."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.errors import ObjectDamaged, UnknownSchemaVersion
from shards.index import SCHEMA, IndexRow, index_bytes, index_table, read_index
from shards.records import SampleEntry


def row(number: int) -> IndexRow:
    entry = SampleEntry(
        key=f"{number:032x}",
        offset=512 * number,
        size_bytes=2**33,
        identity="é",
        language=None if number % 2 else "en",
        duration_s=1.5,
        num_frames=37,
        scores={"sync": 3.25, "blur": 0.1},
    )
    return IndexRow(object="objects/ab/x.tar", split="train", entry=entry)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_rows_come_back_in_their_order() -> None:
    table = index_table([row(2), row(0), row(1)])
    back = read_index(index_bytes(table), "here")
    assert back.equals(table)
    assert back.column("key").to_pylist() == [f"{n:032x}" for n in (2, 0, 1)]
    assert back.to_pylist()[0]["scores"] == [("blur", 0.1), ("sync", 3.25)]
    assert back.column("language").to_pylist() == ["en", "en", None]


def test_the_same_rows_are_the_same_bytes() -> None:
    assert index_bytes(index_table([row(1)])) == index_bytes(index_table([row(1)]))


def test_an_index_of_another_version_is_refused() -> None:
    table = index_table([row(1)]).replace_schema_metadata({"schema_version": "9"})
    with pytest.raises(UnknownSchemaVersion, match="schema version 9"):
        read_index(parquet(table), "here")


def test_a_parquet_of_other_columns_is_refused() -> None:
    table = pa.table({"key": ["a"]}).replace_schema_metadata(SCHEMA.metadata)
    with pytest.raises(ObjectDamaged, match="other columns"):
        read_index(parquet(table), "here")


def test_an_index_cut_short_is_refused() -> None:
    with pytest.raises(ObjectDamaged, match="here is not a parquet file"):
        read_index(index_bytes(index_table([row(1)]))[:-20], "here")
