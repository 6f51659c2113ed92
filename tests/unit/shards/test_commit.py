"""The ledger: a unit is done once, by whoever commits first; every unit is accounted for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shards.commit import Account, Ledger, Plan, Quarantine, Receipt, commit_path
from shards.errors import AccountError, ObjectDamaged, ObjectMissing
from shards.schema import Rejection
from shards.store import open_store
from tests.support.datasets import commit_clips, commit_rejection, make_plan, unit_clips


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


def given_up(unit_id: str, message: str = "it crashed") -> Quarantine:
    return Quarantine(unit_id=unit_id, error_class="X", message=message, stderr_tail="", reproduce="run it", attempts=3)


def receipt_of(unit_id: str, detail: str) -> Receipt:
    return Receipt(unit_id=unit_id, stage="extract", rejections=(Rejection(code="no_face", detail=detail),))


class TestPlans:
    def test_a_plan_comes_back_as_it_was(self, ledger: Ledger) -> None:
        plan = make_plan(5)
        ledger.write_plan(plan)
        assert ledger.read_plan(plan.plan_id) == plan

    def test_writing_a_plan_again_changes_nothing(self, ledger: Ledger) -> None:
        plan = make_plan(5)
        ledger.write_plan(plan)
        before = {path: ledger.store.read(path) for path in ledger.store.list("plans/")}
        ledger.write_plan(plan)
        assert {path: ledger.store.read(path) for path in ledger.store.list("plans/")} == before

    def test_a_plan_of_no_units_is_a_plan(self, ledger: Ledger) -> None:
        ledger.write_plan(make_plan(0))
        assert ledger.read_plan(make_plan(0).plan_id).units == ()

    def test_the_newest_plan_is_first(self, ledger: Ledger) -> None:
        plans = [make_plan(n) for n in (3, 1, 2)]
        for plan in plans:
            ledger.write_plan(plan)
        assert ledger.plans() == [plan.plan_id for plan in reversed(plans)]

    def test_a_plan_whose_units_were_exchanged_is_refused(self, ledger: Ledger) -> None:
        small, large = make_plan(2), make_plan(3)
        ledger.write_plan(small)
        ledger.write_plan(large)
        ledger.store.write(f"plans/{large.plan_id}.parquet", ledger.store.read(f"plans/{small.plan_id}.parquet"))
        with pytest.raises(ObjectDamaged, match="2 of 3 units"):
            ledger.read_plan(large.plan_id)

    def test_an_unknown_plan_is_missing(self, ledger: Ledger) -> None:
        with pytest.raises(ObjectMissing, match="plans/nope"):
            ledger.read_plan("nope")


class TestAttempts:
    def test_tries_are_counted_from_one(self, ledger: Ledger) -> None:
        unit = make_plan(1).units[0]
        assert ledger.attempts(unit.unit_id) == 0
        assert [ledger.begin(unit, "me") for _ in range(3)] == [1, 2, 3]
        assert ledger.attempts(unit.unit_id) == 3

    def test_tries_that_start_at_once_have_different_numbers(self, ledger: Ledger) -> None:
        unit = make_plan(1).units[0]
        with ThreadPoolExecutor(8) as pool:
            numbers = list(pool.map(lambda n: ledger.begin(unit, f"worker-{n}"), range(16)))
        assert sorted(numbers) == list(range(1, 17))

    def test_tries_of_a_unit_whose_name_begins_alike_are_not_counted(self, ledger: Ledger) -> None:
        units = make_plan(11).units
        ledger.begin(next(u for u in units if u.unit_id == "unit-10"), "me")
        assert ledger.attempts("unit-1") == 0


class TestObjects:
    def test_an_object_is_named_by_its_content_and_put_once(self, ledger: Ledger, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"same")
        (tmp_path / "b").write_bytes(b"same")
        first, second = (ledger.put_object(tmp_path / name, ".tar") for name in "ab")
        assert first == second
        assert first.path == f"objects/{first.sha256[:2]}/{first.sha256}.tar"
        assert list(ledger.store.list("objects/")) == [first.path]

    def test_an_object_cut_short_is_put_again(self, ledger: Ledger, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"whole")
        ref = ledger.put_object(tmp_path / "a", "tar")
        ledger.store.write(ref.path, b"who")
        ledger.put_object(tmp_path / "a", "tar")
        assert ledger.store.read(ref.path) == b"whole"


class TestCommits:
    def test_a_commit_comes_back_as_it_was(self, ledger: Ledger, tmp_path: Path) -> None:
        receipt = commit_clips(ledger, "unit-0", unit_clips(0, 2), tmp_path)
        assert ledger.receipt("unit-0") == receipt
        assert ledger.receipt("unit-1") is None

    def test_the_second_to_commit_adopts_the_first(self, ledger: Ledger) -> None:
        first = ledger.commit(receipt_of("u", "first"))
        assert ledger.commit(receipt_of("u", "second")) == first
        assert ledger.receipt("u") == first

    def test_of_many_who_commit_at_once_all_get_the_same(self, ledger: Ledger) -> None:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda n: ledger.commit(receipt_of("u", str(n))), range(16)))
        assert len({r.rejections[0].detail for r in results}) == 1

    def test_a_commit_of_an_object_that_is_not_there_is_refused(self, ledger: Ledger, tmp_path: Path) -> None:
        receipt = commit_clips(ledger, "unit-0", unit_clips(0, 1), tmp_path)
        ledger.store.delete(receipt.objects[0].path)
        with pytest.raises(ObjectMissing, match="unit-1"):
            ledger.commit(replace(receipt, unit_id="unit-1"))
        assert ledger.receipt("unit-1") is None

    def test_a_changed_commit_is_found(self, ledger: Ledger) -> None:
        ledger.commit(receipt_of("u", "first"))
        data = ledger.store.read(commit_path("u"))
        ledger.store.write(commit_path("u"), data.replace(b"first", b"worst"))
        with pytest.raises(ObjectDamaged, match=r"commits/u\.json is damaged"):
            ledger.receipt("u")


class TestQuarantine:
    def test_the_first_reason_holds(self, ledger: Ledger) -> None:
        first = ledger.quarantine(given_up("u", "first"))
        assert ledger.quarantine(given_up("u", "second")) == first
        assert ledger.quarantined("u") == first
        assert ledger.quarantined("v") is None

    def test_a_released_unit_is_pending_with_no_tries(self, ledger: Ledger) -> None:
        plan = make_plan(1)
        ledger.begin(plan.units[0], "me")
        ledger.quarantine(given_up("unit-0"))
        assert ledger.pending(plan) == []
        assert ledger.release("unit-0")
        assert not ledger.release("unit-0")
        assert ledger.pending(plan) == list(plan.units)
        assert ledger.attempts("unit-0") == 0


class TestAccount:
    def test_every_unit_is_counted_once(self, ledger: Ledger, tmp_path: Path) -> None:
        plan = make_plan(5)
        commit_clips(ledger, "unit-0", unit_clips(0, 2), tmp_path)
        commit_rejection(ledger, "unit-1")
        ledger.quarantine(given_up("unit-2"))
        assert ledger.account(plan) == Account(planned=5, kept=1, rejected=1, quarantined=1, pending=2)
        assert [u.unit_id for u in ledger.pending(plan)] == ["unit-3", "unit-4"]

    def test_a_commit_after_the_quarantine_counts_as_a_result(self, ledger: Ledger) -> None:
        """A slow worker may finish a unit that was given up on meanwhile."""
        ledger.quarantine(given_up("unit-0"))
        commit_rejection(ledger, "unit-0")
        account = ledger.account(make_plan(1))
        assert account == Account(planned=1, kept=0, rejected=1, quarantined=0, pending=0)
        account.check()

    def test_units_of_other_plans_are_not_counted(self, ledger: Ledger) -> None:
        for number in range(4):
            commit_rejection(ledger, f"unit-{number}")
        ledger.quarantine(given_up("unit-9"))
        assert ledger.account(make_plan(2)) == Account(planned=2, kept=0, rejected=2, quarantined=0, pending=0)

    def test_an_unfinished_plan_does_not_pass(self, ledger: Ledger) -> None:
        with pytest.raises(AccountError, match="2 pending"):
            ledger.account(make_plan(2)).check()

    def test_a_plan_written_by_one_is_settled_by_another(self, ledger: Ledger) -> None:
        plan: Plan = make_plan(2)
        ledger.write_plan(plan)
        other = Ledger(open_store(ledger.store.uri, create=False))
        commit_rejection(other, "unit-0")
        assert [u.unit_id for u in ledger.pending(other.read_plan(plan.plan_id))] == ["unit-1"]
