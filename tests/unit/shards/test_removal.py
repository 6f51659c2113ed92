"""One sweep at a time; what it is about to remove is said first, and who needs it is asked after."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shards.commit import Ledger
from shards.errors import RequestError, StoreError, SweptMeanwhile
from shards.leases import TTL_S, condemned, hold_lease, need_spared
from shards.needs import Needs
from shards.removal import take_turn
from shards.store import Store, open_store
from shards.sweep import sweep
from tests.support.sweeps import (
    LONG_S,
    do,
    leave_lease,
    leave_sweep,
    orphan,
    put,
    unit,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


class TestCondemned:
    def test_a_condemned_object_cannot_be_put_and_then_it_can(self, ledger: Ledger, tmp_path: Path) -> None:
        data = b"wanted again"
        path = orphan(ledger.store, data)
        refused: list[str] = []

        def want_it(what: str) -> None:
            """A driver that comes between the second look and the removal."""
            with hold_lease(ledger.store, "driver") as lease:
                claim = ledger.begin(unit("late"), lease.run)
                with pytest.raises(SweptMeanwhile) as caught:
                    put(ledger, claim, data, tmp_path)
                refused.append(str(caught.value))

        other = orphan(ledger.store, b"also not needed")
        assert sweep(ledger.store, on_removed=want_it).objects == 2
        assert "is being removed by a sweep" in refused[0]
        assert not ledger.store.exists(path)
        assert not ledger.store.exists(other)
        ref = do(ledger, "later", data, tmp_path)
        assert ledger.store.read(ref.path) == data

    def test_what_was_pinned_before_the_second_look_is_spared(self, ledger: Ledger, tmp_path: Path) -> None:
        path, other = orphan(ledger.store, b"wanted"), orphan(ledger.store, b"not wanted")
        with take_turn(ledger.store) as turn, hold_lease(ledger.store, "driver") as lease:
            names = [Path(each).stem for each in (path, other)]
            claim = ledger.begin(unit("a"), lease.run)
            # As a driver that had looked before they were condemned.
            ledger.store.create(f"attempts/a/1.{claim.number}.{names[0]}.pin", b"")
            needed = Needs(ledger.store)
            gone = turn.remove(names, needed=lambda: needed.pinned_objects(needed.units()), by=lambda name: None)
        assert gone == [names[1]]

    def test_nothing_is_condemned_after_a_sweep_however_it_ended(self, store: Store) -> None:
        orphan(store, b"a")

        def fail(what: str) -> None:
            raise StoreError("the disk is gone")

        with pytest.raises(StoreError, match="the disk is gone"):
            sweep(store, on_removed=fail)
        assert condemned(store) == {}
        assert sweep(store).objects == 0

    def test_many_names_are_condemned_a_batch_at_a_time(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shards.removal.NAMES_AT_ONCE", 3)
        for number in range(10):
            orphan(store, str(number).encode())
        most: list[int] = []
        swept = sweep(store, on_removed=lambda what: most.append(sum(map(len, condemned(store).values()))))
        assert swept.objects == 10
        assert max(most) == 3
        assert list(store.list("objects/")) == []


class TestOneAtATime:
    def test_a_second_is_refused_by_name(self, store: Store) -> None:
        with take_turn(store), pytest.raises(RequestError, match=r"a sweep is under way: gc on .*process \d+"):
            sweep(store)
        sweep(store)

    def test_of_many_at_once_one_goes_on(self, store: Store) -> None:
        held, over = threading.Barrier(8), threading.Event()
        outcomes: list[str] = []

        def take(_: int) -> None:
            held.wait(30)
            try:
                with take_turn(store):
                    outcomes.append("held")
                    over.wait(30)
            except RequestError:
                outcomes.append("refused")
            if outcomes.count("refused") == 7:
                over.set()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(take, range(8)))
        assert sorted(outcomes) == ["held"] + 7 * ["refused"]

    def test_one_that_is_out_of_touch_is_waited_for(self, store: Store) -> None:
        leave_lease(store, "sweeper", age_s=TTL_S + 60)
        leave_sweep(store, "sweeper")
        with pytest.raises(RequestError, match=r"out of touch for 3 min.*removed runs/sweeper\.json"):
            sweep(store)

    def test_one_that_died_long_ago_is_taken_over(self, store: Store) -> None:
        path = orphan(store, b"condemned by the dead")
        leave_lease(store, "sweeper", age_s=LONG_S)
        leave_sweep(store, "sweeper", (Path(path).stem,))
        assert sweep(store).objects == 1
        assert list(store.list("sweeps/")) == ["sweeps/2.json", "sweeps/2.over"]
        assert list(store.list("runs/")) == []

    def test_one_whose_lease_was_given_back_is_over(self, store: Store) -> None:
        leave_sweep(store, "sweeper")
        sweep(store)
        assert list(store.list("sweeps/")) == ["sweeps/2.json", "sweeps/2.over"]

    def test_what_a_dead_sweep_condemned_is_free_after_an_hour(self, ledger: Ledger, tmp_path: Path) -> None:
        name = hashlib.sha256(b"wanted").hexdigest()
        leave_sweep(ledger.store, "sweeper", (name,))
        with hold_lease(ledger.store, "driver") as lease:
            claim = ledger.begin(unit("a"), lease.run)
            for age_s, is_free in ((0, False), (TTL_S + 60, False), (LONG_S, True)):
                leave_lease(ledger.store, "sweeper", age_s=age_s)
                if is_free:
                    put(ledger, claim, b"wanted", tmp_path)
                else:
                    with pytest.raises(SweptMeanwhile):
                        put(ledger, claim, b"wanted", tmp_path)
        with pytest.raises(SweptMeanwhile):
            need_spared(ledger.store, (name,))  # nobody says what time it is

    def test_a_sweep_that_was_out_of_touch_stops(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = [orphan(store, str(number).encode()) for number in range(5)]
        with take_turn(store) as turn:
            now = [0.0]
            monkeypatch.setattr(turn.held, "_clocks", (lambda: now[0],))
            turn.held._renewed = (0.0,)
            turn.each(paths[:1], store.delete)
            now[0] = turn.held.lease.ttl_s + 1
            turn.held.renew()  # too late: another may have taken over meanwhile
            with pytest.raises(StoreError, match="the sweep stops: it was out of touch"):
                turn.each(paths[1:], store.delete)
        assert sorted(store.list("objects/")) == sorted(paths[1:])
