"""One object against its records: any flipped bit, and any row that does not lie where it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.check import Row, problem_of
from shards.commit import Ledger
from shards.records import ObjectRef
from shards.store import Store, open_store
from tests.support.datasets import commit_clips, unit_clips


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def fragment(store: Store, tmp_path: Path) -> tuple[ObjectRef, list[Row]]:
    """An object of three clips, and where they lie."""
    receipt = commit_clips(Ledger(store), "unit-0", unit_clips(0, 3), tmp_path)
    return receipt.objects[0], [Row(entry.offset, entry.size_bytes, entry.key) for entry in receipt.samples]


Fragment = tuple[ObjectRef, list[Row]]


def test_what_is_as_recorded_has_no_problem(store: Store, fragment: Fragment) -> None:
    ref, rows = fragment
    assert problem_of(store, ref, reversed(rows + rows)) is None
    assert problem_of(store, ref, []) is None


def test_it_is_read_a_block_at_a_time(store: Store, fragment: Fragment, monkeypatch: pytest.MonkeyPatch) -> None:
    ref, rows = fragment
    data = store.read(ref.path)
    monkeypatch.setattr(store, "blocks", lambda path: (data[at : at + 100] for at in range(0, len(data), 100)))
    assert problem_of(store, ref, rows) is None
    assert problem_of(store, ref, rows[1:]) is None


@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_any_flipped_bit_is_found(store: Store, fragment: Fragment, place: float) -> None:
    """Padding and tar headers too: what no decoder would ever look at."""
    ref, rows = fragment
    data = bytearray(store.read(ref.path))
    data[int(place * len(data))] ^= 1
    store.write(ref.path, bytes(data))
    assert "its bytes hash to" in str(problem_of(store, ref, rows))
    assert "its bytes hash to" in str(problem_of(store, ref, []))


def test_the_sample_that_is_hit_is_named(store: Store, fragment: Fragment) -> None:
    ref, rows = fragment
    data = bytearray(store.read(ref.path))
    data[rows[1].offset + rows[1].size_bytes // 2] ^= 1
    store.write(ref.path, bytes(data))
    told = str(problem_of(store, ref, rows))
    assert rows[1].key in told
    assert rows[0].key not in told


def test_one_that_is_gone_is_missing(store: Store, fragment: Fragment) -> None:
    ref, rows = fragment
    store.delete(ref.path)
    assert problem_of(store, ref, rows) == "missing"


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (lambda row: row._replace(offset=row.offset + 512), "sample|clip|member"),
        (lambda row: row._replace(key="0" * 32), "foreign member"),
        (lambda row: row._replace(size_bytes=row.size_bytes - 512), "clip"),
        (lambda row: row._replace(offset=-1), "recorded at byte -1"),
        (lambda row: row._replace(size_bytes=0), "0 long"),
        (lambda row: row._replace(offset=10**9), "recorded at byte 1000000000"),
    ],
)
def test_a_row_that_lies_elsewhere_is_found(store: Store, fragment: Fragment, moved: object, said: str) -> None:
    ref, rows = fragment
    told = str(problem_of(store, ref, [rows[0], moved(rows[1]), rows[2]]))  # type: ignore[operator]
    assert told.startswith("its bytes are those of its name, but not as recorded: ")
    assert any(word in told for word in said.split("|"))


def test_overlapping_rows_are_read_each_for_itself(store: Store, fragment: Fragment) -> None:
    ref, (first, second, third) = fragment
    both = Row(first.offset, first.size_bytes + second.size_bytes, first.key)
    told = str(problem_of(store, ref, [both, second, third]))
    assert "foreign member" in told
    assert "more samples" not in told
