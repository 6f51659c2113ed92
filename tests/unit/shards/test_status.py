"""Status tells what is in a store; verify finds every damaged byte and names the units to redo; redo heals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shards.commit import Ledger, commit_path
from shards.index import index_path, info_path
from shards.pack import PackConfig, finalize
from shards.reader import open_dataset
from shards.status import redo, status, verify
from shards.store import Store, open_store
from tests.support.datasets import commit_clips, commit_rejection, make_dataset, make_plan, unit_clips


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two units of two clips each, published."""
    store = open_store(tmp_path / "store")
    make_dataset(store, tmp_path, num_units=2, clips_per_unit=2)
    return store


def flip(store: Store, path: str, place: float = 0.5) -> None:
    data = bytearray(store.read(path))
    data[int(place * len(data))] ^= 1
    store.write(path, bytes(data))


def fragment_of(store: Store, unit_id: str) -> str:
    receipt = Ledger(store).receipt(unit_id)
    assert receipt is not None
    return receipt.objects[0].path


class TestStatus:
    def test_an_empty_store_has_nothing(self, tmp_path: Path) -> None:
        found = status(open_store(tmp_path / "s"))
        assert found == {"uri": str(tmp_path / "s"), "plans": [], "datasets": [], "current": None}

    def test_plans_datasets_and_current_are_told(self, store: Store) -> None:
        later = make_plan(3)
        Ledger(store).write_plan(later)
        commit_rejection(Ledger(store), "unit-2")
        found = json.loads(json.dumps(status(store)))
        assert [plan["plan_id"] for plan in found["plans"]] == [later.plan_id, make_plan(2).plan_id]
        assert found["plans"][0]["account"] == {
            "planned": 3,
            "kept": 2,
            "rejected": 1,
            "quarantined": 0,
            "pending": 0,
        }
        assert [d["num_samples"] for d in found["datasets"]] == [4]
        assert found["current"] == found["datasets"][0]["hash"]


class TestVerify:
    def test_a_whole_store_is_whole(self, store: Store) -> None:
        found = verify(store)
        assert found.damaged == ()
        assert found.objects == len(list(store.list("objects/")))
        assert found.size_bytes == sum(store.size(path) for path in store.list("objects/"))

    @pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
    def test_any_flipped_bit_of_an_object_is_found(self, store: Store, place: float) -> None:
        """Padding and tar headers too: what no decoder would ever look at."""
        path = fragment_of(store, "unit-1")
        flip(store, path, place)
        (damage,) = verify(store).damaged
        assert (damage.path, damage.units, damage.datasets) == (path, ("unit-1",), ())
        assert verify(store).units_to_redo == ("unit-1",)

    def test_a_missing_object_is_found(self, store: Store) -> None:
        store.delete(fragment_of(store, "unit-0"))
        (damage,) = verify(store).damaged
        assert (damage.problem, damage.units) == ("missing", ("unit-0",))

    def test_a_damaged_shard_names_its_dataset(self, store: Store) -> None:
        info = open_dataset(store).info
        flip(store, info.shards[0].path)
        (damage,) = verify(store).damaged
        assert (damage.units, damage.datasets) == ((), (info.hash,))

    def test_a_damaged_commit_is_found_and_its_unit_named(self, store: Store) -> None:
        flip(store, commit_path("unit-0"))
        (damage,) = verify(store).damaged
        assert (damage.path, damage.units) == (commit_path("unit-0"), ("unit-0",))

    def test_an_empty_commit_as_a_power_cut_may_leave_is_found(self, store: Store) -> None:
        store.write(commit_path("unit-0"), b"")
        assert verify(store).units_to_redo == ("unit-0",)

    def test_damaged_dataset_records_are_found(self, store: Store) -> None:
        name = open_dataset(store).info.hash
        flip(store, info_path(name))
        assert [d.path for d in verify(store).damaged] == [info_path(name)]

    def test_an_index_of_other_rows_is_found(self, store: Store, tmp_path: Path) -> None:
        """Whole as a file, and with as many rows: only the dataset's name gives it away."""
        info = open_dataset(store).info
        other = finalize(Ledger(store), make_plan(2), PackConfig(seed=5, val_share=0, test_share=0))
        store.write(index_path(info.hash), store.read(index_path(other.hash)))
        assert [d.path for d in verify(store).damaged] == [index_path(info.hash)]


def test_after_redo_the_ordinary_run_makes_the_store_whole_again(store: Store, tmp_path: Path) -> None:
    info, plan = open_dataset(store).info, make_plan(2)
    before = {path: store.sha256(path) for path in store.list("objects/")}
    flip(store, fragment_of(store, "unit-1"))
    flip(store, info.shards[0].path)
    flip(store, index_path(info.hash), 0.2)

    assert redo(store, verify(store)) == ("unit-1",)

    ledger = Ledger(store)
    assert [unit.unit_id for unit in ledger.pending(plan)] == ["unit-1"]
    commit_clips(ledger, "unit-1", unit_clips(1, 2), tmp_path)
    again = finalize(ledger, plan, PackConfig(target_bytes=100_000, val_share=0.0, test_share=0.0))
    assert again == info
    assert verify(store).damaged == ()
    assert {path: store.sha256(path) for path in store.list("objects/")} == before
