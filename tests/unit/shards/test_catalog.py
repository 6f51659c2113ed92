"""Which dataset is the newest: it only ever goes forward."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shards.catalog import Generation, current_dataset, current_generation, generation_path, make_current, published
from shards.errors import ObjectDamaged
from shards.store import Store, open_store

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "s")


def test_before_the_first_there_is_none(store: Store) -> None:
    assert current_generation(store) == Generation(0, None)
    assert current_dataset(store) is None
    assert published(store) == []


def test_each_dataset_is_the_newest_from_its_turn_on(store: Store) -> None:
    for name in (A, B, A):
        assert make_current(store, name, current_generation(store))
        assert current_dataset(store) == name
    assert current_generation(store) == Generation(3, A)


def test_publishing_the_newest_again_changes_nothing(store: Store) -> None:
    make_current(store, A, current_generation(store))
    assert make_current(store, A, current_generation(store))
    assert current_generation(store).number == 1


def test_one_that_was_overtaken_does_not_become_the_newest(store: Store) -> None:
    asleep = current_generation(store)
    make_current(store, A, asleep)
    make_current(store, B, current_generation(store))
    assert not make_current(store, C, asleep)
    assert current_dataset(store) == B


def test_nor_does_it_when_the_generation_that_overtook_it_was_swept(store: Store) -> None:
    asleep = current_generation(store)
    make_current(store, A, asleep)
    make_current(store, B, current_generation(store))
    store.delete(generation_path(1))
    assert not make_current(store, C, asleep)
    assert current_dataset(store) == B


def test_of_two_that_looked_at_the_same_time_the_first_stays_the_newest(store: Store) -> None:
    noted = current_generation(store)
    assert make_current(store, A, noted)
    assert not make_current(store, B, noted)
    assert current_generation(store) == Generation(1, A)


def test_one_that_made_the_newest_again_says_so_when_it_was_overtaken_since(store: Store) -> None:
    make_current(store, A, current_generation(store))
    noted = current_generation(store)
    make_current(store, B, noted)
    assert not make_current(store, A, noted)


def test_of_several_at_once_one_becomes_the_newest(store: Store) -> None:
    noted = current_generation(store)
    names = [f"{n:064x}" for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda name: make_current(store, name, noted), names))
    assert [name for name, is_current in zip(names, told, strict=True) if is_current] == [current_dataset(store)]


def test_two_that_made_the_same_dataset_are_both_told_it_is_the_newest(store: Store) -> None:
    noted = current_generation(store)
    assert make_current(store, A, noted)
    assert make_current(store, A, noted)


def test_generations_beyond_the_padding_are_in_order(store: Store) -> None:
    for number, name in ((999_999, A), (1_000_000, B)):
        store.write(generation_path(number), name.encode())
    assert current_generation(store) == Generation(1_000_000, B)


def test_a_generation_that_names_no_dataset_is_refused_with_what_to_do(store: Store) -> None:
    store.write(generation_path(4), b"\x00rubbish")
    with pytest.raises(ObjectDamaged, match=r"CURRENT/000004 should hold a dataset's hash.*remove it"):
        current_dataset(store)


def test_only_whole_datasets_are_listed(store: Store) -> None:
    for path in (f"datasets/{A}/index.parquet", f"datasets/{B}/index.parquet", f"datasets/{B}/dataset.json"):
        store.write(path, b"x")
    assert published(store) == [B]
