"""Tries and what they put: each is on record before it does anything, and holds its objects until it is over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shards.commit import Ledger
from shards.errors import ObjectDamaged, SweptMeanwhile
from shards.store import Store, open_store
from tests.support.datasets import claim, make_plan
from tests.support.sweeps import leave_lease, leave_sweep, put, receipt


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


class TestTries:
    def test_tries_are_counted_from_one(self, ledger: Ledger) -> None:
        unit = make_plan(1).units[0]
        assert ledger.attempts(unit.unit_id) == []
        claims = [ledger.begin(unit, f"run-{number}", is_isolated=number > 1) for number in (1, 2, 3)]
        assert [(claim.epoch, claim.number, claim.run) for claim in claims] == [
            (1, 1, "run-1"),
            (1, 2, "run-2"),
            (1, 3, "run-3"),
        ]
        attempts = ledger.attempts(unit.unit_id)
        assert [(found.number, found.run, found.is_isolated) for found in attempts] == [
            (1, "run-1", False),
            (2, "run-2", True),
            (3, "run-3", True),
        ]

    def test_tries_that_start_at_once_have_different_numbers(self, ledger: Ledger) -> None:
        unit = make_plan(1).units[0]
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda n: ledger.begin(unit, f"worker-{n}"), range(16)))
        assert sorted(claim.number for claim in claims) == list(range(1, 17))

    def test_tries_of_a_unit_whose_name_begins_alike_are_not_counted(self, ledger: Ledger) -> None:
        claim(ledger, "unit-10")
        assert ledger.attempts("unit-1") == []

    def test_they_are_counted_anew_in_each_epoch(self, ledger: Ledger) -> None:
        for _ in range(2):
            claim(ledger, "u")
        ledger.void("u", "retry", "")
        again = claim(ledger, "u")
        assert (again.epoch, again.number) == (2, 1)
        assert [(found.epoch, found.number) for found in ledger.attempts("u")] == [(1, 1), (1, 2), (2, 1)]

    def test_a_try_called_off_is_as_if_it_had_not_been(self, ledger: Ledger) -> None:
        first, second = claim(ledger, "u"), claim(ledger, "u")
        ledger.call_off(first)
        ledger.call_off(first)
        assert [found.number for found in ledger.attempts("u")] == [second.number]

    def test_what_a_try_called_off_has_put_is_still_held_and_its_number_its_own(
        self, ledger: Ledger, tmp_path: Path
    ) -> None:
        """Its process may be about to decide."""
        first = claim(ledger, "u")
        ref = put(ledger, first, b"made", tmp_path)
        ledger.call_off(first)
        assert list(ledger.store.list("attempts/")) == [f"attempts/u/1.1.{ref.sha256}.pin"]
        assert claim(ledger, "u").number == 2
        assert ledger.commit(first, receipt("u", ref)).objects == (ref,)

    def test_a_damaged_record_of_a_try_does_not_keep_the_next_from_starting(self, ledger: Ledger) -> None:
        claim(ledger, "u")
        ledger.store.write("attempts/u/1.1.json", b"damaged")
        assert claim(ledger, "u").number == 2
        with pytest.raises(ObjectDamaged, match=r"attempts/u/1\.1\.json"):
            ledger.attempts("u")

    def test_a_record_that_lies_in_anothers_place_is_found(self, ledger: Ledger) -> None:
        claim(ledger, "u")
        claim(ledger, "v")
        ledger.store.write("attempts/u/1.1.json", ledger.store.read("attempts/v/1.1.json"))
        with pytest.raises(ObjectDamaged, match="is the record of another try: of v"):
            ledger.attempts("u")


class TestObjects:
    def test_an_object_is_named_by_its_content_and_put_once(
        self, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = put(ledger, claim(ledger, "u"), b"same", tmp_path)
        monkeypatch.setattr(Store, "put_file", lambda *_: pytest.fail("it was put again"))
        assert put(ledger, claim(ledger, "v"), b"same", tmp_path) == first
        assert first.path == f"objects/{first.sha256[:2]}/{first.sha256}.bin"
        assert list(ledger.store.list("objects/")) == [first.path]

    def test_an_object_cut_short_is_put_again(self, ledger: Ledger, tmp_path: Path) -> None:
        ref = put(ledger, claim(ledger, "u"), b"whole", tmp_path)
        ledger.store.write(ref.path, b"who")
        put(ledger, claim(ledger, "u"), b"whole", tmp_path)
        assert ledger.store.read(ref.path) == b"whole"

    def test_it_is_pinned_before_it_is_put(
        self, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise a sweep between the two would take it for nobody's."""
        pins: list[str] = []
        put_file = Store.put_file

        def looked(store: Store, path: str, local: Path) -> None:
            pins.extend(store.list("attempts/"))
            put_file(store, path, local)

        monkeypatch.setattr(Store, "put_file", looked)
        ref = put(ledger, claim(ledger, "u"), b"made", tmp_path)
        assert f"attempts/u/1.1.{ref.sha256}.pin" in pins

    def test_one_that_is_just_being_removed_is_not_relied_on(self, ledger: Ledger, tmp_path: Path) -> None:
        ref = put(ledger, claim(ledger, "u"), b"made", tmp_path)
        leave_lease(ledger.store, "sweeper")
        leave_sweep(ledger.store, "sweeper", (ref.sha256,))
        with pytest.raises(SweptMeanwhile, match=ref.sha256):
            put(ledger, claim(ledger, "v"), b"made", tmp_path)
        put(ledger, claim(ledger, "v"), b"another", tmp_path)
