"""Lists that people write. What is wrong in one is tested with the lists there are: catalogues and lists of sources."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.table import MAX_SHOWN, Columns, ListError, Record, given_values, meta_values, parquet_records, text_records

COLUMNS = Columns(what="a list", required=("name",), optional=("size",))


def rows(path: Path) -> list[Record]:
    problems: list[str] = []
    read = parquet_records if path.suffix == ".parquet" else text_records
    found = list(read(path, COLUMNS, problems))
    assert problems == []
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_are_numbered_as_an_editor_shows_them(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f'name{delimiter}size\n\n"two\nlines"{delimiter}1\n b {delimiter}2\n')
    assert rows(path) == [(4, {"name": "two\nlines", "size": "1"}), (5, {"name": "b", "size": "2"})]


def test_rows_of_parquet_are_counted(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["a", "b"], "meta.x": [1, None]}), tmp_path / "list.parquet")
    found = rows(tmp_path / "list.parquet")
    assert found == [(1, {"name": "a", "meta.x": 1}), (2, {"name": "b", "meta.x": None})]
    assert [meta_values(record) for _, record in found] == [{"x": "1"}, {}]


def test_empty_values_are_not_given() -> None:
    assert given_values(1, {"name": "a", "size": "", "meta.x": "1"}, COLUMNS, []) == {"name": "a"}


def test_a_long_list_of_problems_is_cut_in_the_message_and_whole_in_the_error() -> None:
    problems = [f"row {number}: wrong" for number in range(MAX_SHOWN + 3)]
    error = ListError(Path("list.csv"), problems, "it cannot be used:")
    assert error.problems == problems
    assert str(error).splitlines()[0] == "list.csv: it cannot be used:"
    assert str(error).splitlines()[-1] == "  ... and 3 more"
