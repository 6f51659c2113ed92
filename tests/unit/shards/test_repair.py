"""After a repair the ordinary run makes the store whole again: the same dataset, the same bytes."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest

from shards.commit import Ledger, Quarantine, commit_path
from shards.errors import RequestError, Superseded, SweptMeanwhile
from shards.index import index_path, info_path
from shards.leases import condemned, hold_lease
from shards.pack import PackConfig, finalize
from shards.reader import open_dataset
from shards.removal import take_turn
from shards.repair import Repaired, reopen, repair
from shards.store import Store, open_store
from shards.verify import verify
from tests.support.datasets import claim, commit_clips, make_dataset, make_plan, unit_clips
from tests.support.sweeps import Mortal, missing, put, receipt, unit

PACK = PackConfig(target_bytes=100_000, val_share=0.0, test_share=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two units of two clips each, published."""
    store = open_store(tmp_path / "store")
    make_dataset(store, tmp_path, num_units=2, clips_per_unit=2, config=PACK)
    return store


def flip(store: Store, path: str, place: float = 0.5) -> None:
    data = bytearray(store.read(path))
    data[int(place * len(data))] ^= 1
    store.write(path, bytes(data))


def fragment_of(store: Store, unit_id: str) -> str:
    found = Ledger(store).receipt(unit_id)
    assert found is not None
    return found.objects[0].path


def published_bytes(store: Store) -> dict[str, str]:
    """What is published, and all that it was made from."""
    return {path: store.sha256(path) for folder in ("objects/", "datasets/") for path in store.list(folder)}


def mend(store: Store) -> Repaired:
    return repair(store, verify(store))


def run_again(store: Store, folder: Path) -> str:
    """The ordinary run: what is pending is done, and published."""
    ledger, plan = Ledger(store), make_plan(2)
    ledger.write_plan(plan)
    for pending in ledger.pending(plan):
        commit_clips(ledger, pending.unit_id, unit_clips(int(pending.unit_id.removeprefix("unit-")), 2), folder)
    return finalize(ledger, plan, PACK).hash


class TestDamage:
    @pytest.mark.parametrize("what", ["fragment", "shard", "both", "all objects"])
    def test_damaged_objects_come_back_with_the_same_bytes(self, store: Store, tmp_path: Path, what: str) -> None:
        name, before = open_dataset(store).info.hash, published_bytes(store)
        shard = open_dataset(store).info.shards[0].path
        paths = {
            "fragment": [fragment_of(store, "unit-1")],
            "shard": [shard],
            "both": [fragment_of(store, "unit-1"), shard],
            "all objects": list(store.list("objects/")),
        }[what]
        for path in paths:
            flip(store, path)
        repaired = mend(store)
        assert repaired.removed == tuple(sorted(paths))
        assert repaired.left == ()
        assert run_again(store, tmp_path) == name
        assert published_bytes(store) == before
        assert verify(store).damaged == ()

    def test_a_lost_object_comes_back(self, store: Store, tmp_path: Path) -> None:
        before = published_bytes(store)
        for path in list(store.list("objects/")):
            store.delete(path)
        mend(store)
        run_again(store, tmp_path)
        assert published_bytes(store) == before

    def test_every_kind_of_record_comes_back(self, store: Store, tmp_path: Path) -> None:
        name, before = open_dataset(store).info.hash, published_bytes(store)
        ledger = Ledger(store)
        ledger.void("unit-7", "retry", "")
        store.write("CURRENT/000002", b"not a hash\n")
        for path in (
            commit_path("unit-0"),
            "attempts/unit-1/1.1.json",
            "voids/unit-7/1.json",
            f"plans/{make_plan(2).plan_id}.parquet",
            index_path(name),
            info_path(name),
        ):
            flip(store, path, 0.9)
        repaired = mend(store)
        assert repaired.units == ("unit-0",)
        assert {damage.kind for damage in repaired.left} == {"plan", "dataset"}
        assert ledger.epoch("unit-7") == 2
        assert run_again(store, tmp_path) == name
        assert published_bytes(store) == before
        assert verify(store).damaged == ()

    def test_a_whole_store_is_left_as_it_is(self, store: Store) -> None:
        before = set(store.list())
        assert mend(store) == Repaired(units=(), removed=(), left=())
        assert set(store.list()) == before

    def test_any_flip_anywhere_is_mended(self, store: Store, tmp_path: Path) -> None:
        """Whatever one byte of the whole store it is, but for the marker of the place."""
        name, before = open_dataset(store).info.hash, published_bytes(store)
        rng = random.Random(0)
        paths = [path for path in store.list() if path != "layout.json" and store.size(path)]
        for path in paths:
            flip(store, path, rng.random())
            mend(store)
            assert run_again(store, tmp_path) == name, path
            assert verify(store).damaged == (), path
            assert published_bytes(store) == before, path

    def test_every_unit_that_rests_on_the_object_is_opened(self, store: Store, tmp_path: Path) -> None:
        """Those that came to it after `verify` had looked, too, and tries that took the damaged bytes for whole."""
        ledger = Ledger(store)
        path = fragment_of(store, "unit-1")
        data = store.read(path)
        flip(store, path)
        found = verify(store)
        with hold_lease(store, "driver") as lease:
            late = ledger.begin(unit("late"), lease.run)
            (tmp_path / "whole.tar").write_bytes(data)
            ref = ledger.put_object(late, tmp_path / "whole.tar", "tar")
            decided = claim(ledger, "decided")
            ledger.put_object(decided, tmp_path / "whole.tar", "tar")
            ledger.commit(decided, receipt("decided", ref))
            assert repair(store, found).units == ("decided", "late", "unit-1")
            with pytest.raises((Superseded,)):
                ledger.decide(late, receipt("late", ref))
            again = ledger.begin(unit("late"), lease.run)
            assert ledger.put_object(again, tmp_path / "whole.tar", "tar") == ref
            ledger.commit(again, receipt("late", ref))
        assert store.read(path) == data

    def test_it_waits_for_no_sweep_but_says_that_one_is_under_way(self, store: Store) -> None:
        flip(store, fragment_of(store, "unit-1"))
        with take_turn(store), pytest.raises(RequestError, match="a sweep is under way"):
            mend(store)

    def test_while_it_goes_on_the_same_bytes_cannot_be_put(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ledger, path = Ledger(store), fragment_of(store, "unit-1")
        (tmp_path / "whole.tar").write_bytes(store.read(path))
        flip(store, path)
        refused: list[str] = []
        void = Ledger.void

        def meanwhile(*arguments: object, **named: object) -> int:
            with pytest.raises(SweptMeanwhile):
                ledger.put_object(claim(ledger, "late"), tmp_path / "whole.tar", "tar")
            refused.append("late")
            return void(*arguments, **named)  # type: ignore[arg-type]

        found = verify(store)
        monkeypatch.setattr(Ledger, "void", meanwhile)
        repair(store, found)
        assert refused == ["late"]
        assert condemned(store) == {}

    def test_a_repair_that_is_killed_anywhere_is_finished_by_the_next(self, store: Store, tmp_path: Path) -> None:
        name, before = open_dataset(store).info.hash, published_bytes(store)
        path, dies_at, killed = fragment_of(store, "unit-1"), 0, True
        while killed:
            dies_at += 3
            flip(store, path)
            killed = Mortal.kills(store, dies_at, functools.partial(repair, found=verify(store)))
            for lease in list(store.list("runs/")):
                store.delete(lease)
            mend(store)
            assert run_again(store, tmp_path) == name
            assert missing(Ledger(store)) == []
            assert published_bytes(store) == before, dies_at
        assert dies_at > 10


class TestReopen:
    @pytest.fixture
    def ledger(self, store: Store) -> Ledger:
        ledger = Ledger(store)
        quarantine = Quarantine(
            unit_id="bad", error_class="E", message="broke", stderr_tail="", reproduce="run it", attempts=1
        )
        ledger.decide(claim(ledger, "bad"), quarantine)
        return ledger

    def test_what_was_given_up_is_opened_and_nothing_else(self, ledger: Ledger) -> None:
        before = ledger.decided()
        assert reopen(ledger) == ["bad"]
        assert reopen(ledger) == []
        assert ledger.decided() == {unit_id: epoch for unit_id, epoch in before.items() if unit_id != "bad"}

    def test_its_tries_are_forgiven(self, ledger: Ledger) -> None:
        reopen(ledger)
        assert ledger.opened_by_hand("bad") == 1
        assert ledger.begin(unit("bad"), "run").epoch == 2

    def test_named_units_are_opened_whatever_they_came_to(self, ledger: Ledger, tmp_path: Path) -> None:
        assert reopen(ledger, ["unit-0"]) == ["unit-0"]
        assert [pending.unit_id for pending in ledger.pending(make_plan(2))] == ["unit-0"]
        name = open_dataset(ledger.store).info.hash
        assert run_again(ledger.store, tmp_path) == name

    def test_a_unit_that_is_not_decided_is_refused_before_any_is_opened(self, ledger: Ledger) -> None:
        with pytest.raises(RequestError, match=r"not decided.*'nope'"):
            reopen(ledger, ["unit-0", "nope"])
        assert ledger.decided()["unit-0"] == 1

    def test_a_zombie_of_an_opened_unit_cannot_come_back(self, ledger: Ledger, tmp_path: Path) -> None:
        zombie = ledger.begin(unit("unit-0"), "gone")
        ref = put(ledger, zombie, b"late", tmp_path)
        reopen(ledger, ["unit-0"])
        with pytest.raises(Superseded):
            ledger.commit(zombie, receipt("unit-0", ref))
