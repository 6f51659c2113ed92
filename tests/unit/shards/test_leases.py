"""Who is alive: a lease is renewed while its run lasts, told by the store's clock, and keeps what it reads."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from shards.errors import StoreError, SweptMeanwhile
from shards.leases import (
    MARGIN_S,
    TTL_S,
    HeldLease,
    Seen,
    condemned,
    hold_lease,
    lease_path,
    leases,
    need_spared,
    read_lease,
    sweep_path,
)
from shards.store import Store, open_store
from tests.support.sweeps import aged, leave_lease, leave_sweep

BOUND_S = 30.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestHolding:
    def test_it_is_there_while_the_block_lasts(self, store: Store) -> None:
        with hold_lease(store, "train", reads=("d" * 64,)) as held:
            (seen,) = leases(store)
            assert (seen.lease, seen.is_alive) == (held.lease, True)
            assert held.lease.reads == ("d" * 64,)
            assert held.lease.holder.startswith("train on ")
        assert leases(store) == []

    def test_it_is_given_back_when_the_run_fails(self, store: Store) -> None:
        with pytest.raises(ValueError, match="broke"), hold_lease(store, "train"):
            raise ValueError("broke")
        assert leases(store) == []

    def test_every_run_has_one_of_its_own(self, store: Store) -> None:
        with hold_lease(store, "a") as one, hold_lease(store, "b") as two:
            assert one.run != two.run
            assert {seen.lease.run for seen in leases(store)} == {one.run, two.run}

    def test_a_thread_renews_it(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        again = threading.Event()
        renew, count = HeldLease.renew, [0]

        def counted(held: HeldLease) -> None:
            renew(held)
            count[0] += 1
            if count[0] > 2:
                again.set()

        monkeypatch.setattr(HeldLease, "renew", counted)
        with hold_lease(store, "train", ttl_s=0.01):
            assert again.wait(BOUND_S)

    def test_a_renewal_that_fails_is_tried_again(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        again = threading.Event()
        renew, count = HeldLease.renew, [0]

        def failing(held: HeldLease) -> None:
            """The first renewal on its own thread fails; those the caller asks for are not what is tested."""
            count[0] += threading.current_thread() is not threading.main_thread()
            if count[0] == 1:
                count[0] += 1
                raise StoreError("the network is down")
            renew(held)
            if count[0] > 2:
                again.set()

        monkeypatch.setattr(HeldLease, "renew", failing)
        with caplog.at_level(logging.WARNING), hold_lease(store, "train", ttl_s=0.01):
            assert again.wait(BOUND_S)
        assert "could not be renewed (tried again): the network is down" in caplog.text

    def test_that_it_cannot_be_given_back_does_not_hide_how_the_run_went(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def denied(*_: object) -> None:
            raise StoreError("denied")

        monkeypatch.setattr(Store, "delete", denied)
        with pytest.raises(ValueError, match="broke"), hold_lease(store, "train"):
            raise ValueError("broke")
        assert "could not be given back: denied" in caplog.text

    def test_a_sweep_that_took_it_for_dead_does_not_end_it(self, store: Store) -> None:
        with hold_lease(store, "train") as held:
            store.delete(lease_path(held.run))
            held.renew()
            assert [seen.lease.run for seen in leases(store)] == [held.run]

    def test_what_is_needed_later_is_added(self, store: Store) -> None:
        with hold_lease(store, "pack", reads=("a",)) as held:
            held.need("b")
            assert read_lease(store, held.run) == held.lease
            assert held.lease.reads == ("a", "b")


class TestRunningOut:
    def test_it_is_good_as_long_as_it_is_renewed_in_time(self, store: Store) -> None:
        clock = Clock()
        with hold_lease(store, "gc", clocks=(clock,)) as held:
            for _ in range(5):
                clock.now += TTL_S
                assert held.is_good
                held.renew()

    def test_once_it_ran_out_it_is_never_good_again(self, store: Store) -> None:
        """Whoever saw that it had run out may have acted on it."""
        clock = Clock()
        with hold_lease(store, "gc", clocks=(clock,)) as held:
            clock.now += TTL_S + 1
            held.renew()  # by the thread, the moment the process wakes up
            assert not held.is_good

    def test_the_clock_that_saw_most_counts(self, store: Store) -> None:
        """A machine that slept: one clock stood still."""
        still, wall = Clock(), Clock()
        with hold_lease(store, "gc", clocks=(still, wall)) as held:
            wall.now += TTL_S + 1
            assert not held.is_good

    def test_a_renewal_that_took_too_long_counts_from_its_beginning(self, store: Store) -> None:
        clock = Clock()
        with hold_lease(store, "gc", clocks=(clock,)) as held:
            write = store.write

            def slow(path: str, data: bytes) -> None:
                write(path, data)
                clock.now += TTL_S / 2 + 1

            store.write = slow  # type: ignore[method-assign]
            held.renew()
            assert held.is_good
            clock.now += TTL_S / 2
            assert not held.is_good


class TestSeeing:
    @pytest.mark.parametrize(
        ("age_s", "is_alive", "is_long_over"),
        [
            (0, True, False),
            (TTL_S, True, False),
            (TTL_S + 1, False, False),
            (TTL_S + MARGIN_S, False, False),
            (TTL_S + MARGIN_S + 1, False, True),
        ],
    )
    def test_alive_over_and_long_over(self, store: Store, age_s: float, is_alive: bool, is_long_over: bool) -> None:
        with hold_lease(store, "train") as held:
            seen = Seen(held.lease, store.modified(lease_path(held.run)), age_s)
            assert (seen.is_alive, seen.is_long_over) == (is_alive, is_long_over)

    def test_ages_are_told_by_the_stores_clock(self, store: Store) -> None:
        """As it stamped the witness's own lease: a machine whose clock is a day behind or ahead sees the same."""
        with hold_lease(store, "gc") as held:
            aged(store, lease_path(held.run), 24 * 3600)
            leave_lease(store, "alive", age_s=24 * 3600 + TTL_S / 2)
            leave_lease(store, "dead", age_s=24 * 3600 + TTL_S * 2)
            alive = {seen.lease.run: seen.is_alive for seen in leases(store, held.run)}
        assert alive == {held.run: True, "alive": True, "dead": False}

    def test_a_witness_whose_lease_was_taken_is_told(self, store: Store) -> None:
        with hold_lease(store, "gc") as held:
            store.delete(lease_path(held.run))
            with pytest.raises(StoreError, match="out of touch with the store for too long"):
                leases(store, held.run)

    def test_one_that_is_given_back_while_one_looks_is_left_out(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leave_lease(store, "ending")
        entries = list(store.entries("runs/"))
        store.delete(lease_path("ending"))
        monkeypatch.setattr(store, "entries", lambda folder: iter(entries))
        assert leases(store) == []


class TestCondemned:
    def test_nothing_is_without_a_sweep(self, store: Store) -> None:
        assert condemned(store) == {}
        need_spared(store, ("a",))

    def test_names_of_all_sweeps_that_left_some_are_told(self, store: Store) -> None:
        leave_sweep(store, "one", ("a", "b"), number=1)
        leave_sweep(store, "two", ("c",), number=2)
        assert condemned(store) == {1: frozenset("ab"), 2: frozenset("c")}

    def test_only_what_is_named_is_refused(self, store: Store) -> None:
        leave_lease(store, "one")
        leave_sweep(store, "one", ("ab",))
        need_spared(store, ("a", "b", "abc"))
        with pytest.raises(SweptMeanwhile, match=r"ab is being removed by a sweep.*60 min.*dubwright store gc"):
            need_spared(store, ("a", "ab"))

    def test_a_sweep_whose_run_left_its_block_removes_nothing_more(self, store: Store) -> None:
        leave_sweep(store, "gone", ("a",))
        need_spared(store, ("a",))

    def test_files_that_are_no_sweeps_are_passed_over(self, store: Store) -> None:
        store.write("sweeps/notes.txt", b"a\n")
        store.write(sweep_path(1, "about"), b"b\n")
        assert condemned(store) == {1: frozenset("b")}
