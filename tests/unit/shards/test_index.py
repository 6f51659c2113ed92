"""The index comes back row for row, its digest is of the rows alone, and another program's parquet is refused."""

from __future__ import annotations

import hashlib
import io
import struct
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import ObjectDamaged, UnknownSchemaVersion
from shards.index import SCHEMA, index_bytes, read_index, rows_digest
from shards.records import SampleEntry
from tests.support.index_rows import IndexRow, index_table


def row(number: int) -> IndexRow:
    entry = SampleEntry(
        key=f"{number:032x}",
        offset=512 * number,
        size_bytes=2**33,
        identity="é",
        language=None if number % 2 else "en",
        duration_s=1.5,
        num_frames=37,
        scores={"sync": 3.25, "blur": 0.1} if number % 3 else {},
    )
    return IndexRow(object="objects/ab/x.tar", split="train", entry=entry)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


class TestParquet:
    def test_rows_come_back_in_their_order(self) -> None:
        table = index_table([row(2), row(0), row(1)])
        back = read_index(index_bytes(table), "here")
        assert back.equals(table)
        assert back.column("key").to_pylist() == [f"{n:032x}" for n in (2, 0, 1)]
        assert back.to_pylist()[0]["scores"] == [("blur", 0.1), ("sync", 3.25)]
        assert back.column("language").to_pylist() == ["en", "en", None]

    def test_the_same_rows_are_the_same_bytes(self) -> None:
        assert index_bytes(index_table([row(1)])) == index_bytes(index_table([row(1)]))

    def test_an_index_of_another_version_is_refused(self) -> None:
        table = index_table([row(1)]).replace_schema_metadata({"schema_version": "9"})
        with pytest.raises(UnknownSchemaVersion, match="schema version 9"):
            read_index(parquet(table), "here")

    def test_a_parquet_of_other_columns_is_refused(self) -> None:
        table = pa.table({"key": ["a"]}).replace_schema_metadata(SCHEMA.metadata)
        with pytest.raises(ObjectDamaged, match="other columns"):
            read_index(parquet(table), "here")

    def test_an_index_cut_short_is_refused(self) -> None:
        with pytest.raises(ObjectDamaged, match="here is not a parquet file"):
            read_index(index_bytes(index_table([row(1)]))[:-20], "here")


class TestDigest:
    def test_it_is_over_these_bytes(self) -> None:
        """Written out once by hand: a dataset's name must be the same with any pyarrow and on any machine."""

        def text(*values: str) -> bytes:
            lengths = b"".join(struct.pack("<q", len(value.encode())) for value in values)
            return lengths + "".join(values).encode()

        expected = (
            b"key\0" + text(f"{1:032x}", f"{2:032x}")
            + b"object\0" + text("objects/ab/x.tar", "objects/ab/x.tar")
            + b"offset\0" + struct.pack("<qq", 512, 1024)
            + b"size_bytes\0" + struct.pack("<qq", 2**33, 2**33)
            + b"split\0" + text("train", "train")
            + b"identity\0" + text("é", "é")
            + b"language\0" + bytes([0, 1]) + text("", "en")
            + b"duration_s\0" + struct.pack("<dd", 1.5, 1.5)
            + b"num_frames\0" + struct.pack("<ii", 37, 37)
            + b"scores\0" + struct.pack("<qq", 2, 2) + text("blur", "sync", "blur", "sync")
            + struct.pack("<dddd", 0.1, 3.25, 0.1, 3.25)
        )  # fmt: skip
        assert rows_digest(index_table([row(1), row(2)])) == hashlib.sha256(expected).hexdigest()

    @given(numbers=st.lists(st.integers(0, 20), max_size=12), data=st.data())
    def test_it_is_the_same_however_the_rows_are_held(self, numbers: list[int], data: st.DataObject) -> None:
        table = index_table([row(number) for number in numbers])
        expected = rows_digest(table)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(numbers)), max_size=3)))
        bounds = [0, *cuts, len(numbers)]
        chunked = pa.concat_tables(table.slice(start, stop - start) for start, stop in pairwise(bounds))
        assert rows_digest(chunked) == expected
        assert rows_digest(read_index(index_bytes(chunked), "here")) == expected
        assert rows_digest(table.take(pa.array(range(len(numbers)), pa.int64()))) == expected

    def test_a_part_of_a_table_counts_as_its_rows_alone(self) -> None:
        assert rows_digest(index_table([row(n) for n in range(6)]).slice(2, 3)) == rows_digest(
            index_table([row(n) for n in (2, 3, 4)])
        )

    @pytest.mark.parametrize("name", SCHEMA.names)
    def test_every_column_counts(self, name: str) -> None:
        table = index_table([row(1), row(2)])
        place, kind = table.schema.get_field_index(name), table.schema.field(name).type
        other = {"string": "x", "int64": 7, "int32": 7, "double": 7.5}.get(str(kind), [("sync", 1.0)])
        changed = table.set_column(place, table.schema.field(name), pa.array([other, other], kind))
        assert rows_digest(changed) != rows_digest(table)

    def test_no_value_is_another_than_an_empty_one(self) -> None:
        table = index_table([row(1)])
        empty = table.set_column(6, SCHEMA.field("language"), pa.array([""]))
        assert table.column("language").to_pylist() == [None]
        assert rows_digest(empty) != rows_digest(table)

    def test_the_order_of_rows_counts(self) -> None:
        assert rows_digest(index_table([row(1), row(2)])) != rows_digest(index_table([row(2), row(1)]))
