"""What a store remembers of places: facts that runs add side by side, and that can be lost at no cost but time."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.sources.known import FOLDER, MOST_FILES, Known, _Fact, _table
from shards.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def learnt(store: Store, *facts: tuple[str, str, str]) -> Known:
    known = Known.of(store)
    for fact in facts:
        known.learn(*fact)
    known.save()
    return known


def test_what_one_run_learnt_the_next_one_knows(store: Store) -> None:
    learnt(store, ("/a b/日本.mp4", "1-2-3", "f" * 64))
    known = Known.of(store)
    assert known.sha256("/a b/日本.mp4", "1-2-3") == "f" * 64
    assert known.sha256("/a b/日本.mp4", "1-2-4") is None
    assert known.sha256("/other.mp4", "1-2-3") is None


def test_runs_at_the_same_time_lose_nothing_of_each_other(store: Store) -> None:
    one, other = Known.of(store), Known.of(store)
    one.learn("/a", "1", "aa")
    other.learn("/b", "1", "bb")
    one.save()
    other.save()
    known = Known.of(store)
    assert (known.sha256("/a", "1"), known.sha256("/b", "1")) == ("aa", "bb")


@pytest.mark.parametrize("names", ["01", "10"])
def test_of_two_facts_about_a_place_the_later_is_kept(store: Store, names: str) -> None:
    for name, at in zip(names, (100, 200), strict=True):
        store.write(f"{FOLDER}{name}.parquet", _table({"/a": _Fact(str(at), "f" * 64, at)}))
    assert Known.of(store).sha256("/a", "200") == "f" * 64


def test_nothing_new_writes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt(store, ("/a", "1", "aa"))
    before = list(store.entries(FOLDER))
    monkeypatch.setattr("flows.sources.known.time.time", lambda: 1e10)
    learnt(store, ("/a", "1", "aa"))
    assert list(store.entries(FOLDER)) == before


def test_many_files_become_one_that_holds_them_all(store: Store) -> None:
    for number in range(MOST_FILES + 1):
        learnt(store, (f"/{number}", "1", str(number)))
    assert len(list(store.list(FOLDER))) == 1
    known = Known.of(store)
    assert [known.sha256(f"/{number}", "1") for number in range(MOST_FILES + 1)] == list(
        map(str, range(MOST_FILES + 1))
    )


def test_a_file_that_another_run_has_merged_since_it_was_listed_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt(store, ("/a", "1", "aa"))
    monkeypatch.setattr(Store, "list", lambda self, prefix="": iter([f"{FOLDER}gone.parquet"]))
    assert Known.of(store).sha256("/a", "1") is None


def test_a_damaged_file_is_told_forgotten_and_in_the_end_removed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write(f"{FOLDER}{'0' * 64}.parquet", b"not parquet")
    learnt(store, ("/a", "1", "aa"))
    assert "is damaged" in caplog.text
    for number in range(MOST_FILES):
        learnt(store, (f"/{number}", "1", "x"))
    assert Known.of(store).sha256("/a", "1") == "aa"
    assert f"{FOLDER}{'0' * 64}.parquet" not in set(store.list(FOLDER))


def test_without_a_store_a_run_knows_what_it_learnt_itself() -> None:
    known = Known()
    known.learn("/a", "1", "aa")
    known.save()
    assert known.sha256("/a", "1") == "aa"
