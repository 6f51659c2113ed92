"""The ledger: a unit is decided once, by whoever is first; what is late or void never counts; no unit is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from shards.commit import Account, Ledger, Plan, Quarantine, Receipt, commit_path
from shards.errors import AccountError, ObjectDamaged, ObjectMissing, Superseded
from shards.schema import Rejection
from shards.store import Store, open_store
from tests.support.datasets import claim, commit_clips, commit_rejection, make_plan, unit_clips
from tests.support.sweeps import put, receipt


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


def given_up(unit_id: str, message: str = "it crashed") -> Quarantine:
    return Quarantine(unit_id=unit_id, error_class="X", message=message, stderr_tail="", reproduce="run it", attempts=3)


def receipt_of(unit_id: str, detail: str) -> Receipt:
    return Receipt(unit_id=unit_id, stage="extract", rejections=(Rejection(code="no_face", detail=detail),))


class TestDecisions:
    def test_a_commit_comes_back_as_it_was(self, ledger: Ledger, tmp_path: Path) -> None:
        done = commit_clips(ledger, "unit-0", unit_clips(0, 2), tmp_path)
        assert ledger.receipt("unit-0") == done
        assert ledger.receipt("unit-1") is None

    def test_it_says_which_try_decided(self, ledger: Ledger) -> None:
        claim(ledger, "u")
        second = claim(ledger, "u")
        ledger.commit(second, receipt_of("u", "done"))
        decision = ledger.decision("u")
        assert decision is not None
        assert (decision.epoch, decision.number, decision.run) == (1, 2, "test")

    def test_the_second_to_commit_adopts_the_first(self, ledger: Ledger) -> None:
        one, two = claim(ledger, "u"), claim(ledger, "u")
        first = ledger.commit(one, receipt_of("u", "first"))
        assert ledger.commit(two, receipt_of("u", "second")) == first
        assert ledger.receipt("u") == first

    def test_of_many_who_commit_at_once_all_get_the_same(self, ledger: Ledger) -> None:
        """Two drivers, many workers: one outcome."""

        def work(number: int) -> Receipt:
            return ledger.commit(claim(ledger, "u"), receipt_of("u", str(number)))

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, range(16)))
        assert len({result.rejections[0].detail for result in results}) == 1
        assert list(ledger.store.list("commits/")) == [commit_path("u")]

    def test_of_commits_and_quarantines_at_once_one_holds(self, ledger: Ledger) -> None:
        def work(number: int) -> Receipt | Quarantine | None:
            attempt = claim(ledger, "u")
            try:
                if number % 2:
                    return ledger.commit(attempt, receipt_of("u", str(number)))
                return ledger.decide(attempt, given_up("u", str(number)))
            except Superseded:
                return None

        with ThreadPoolExecutor(8) as pool:
            results = [result for result in pool.map(work, range(16)) if result is not None]
        (decision,) = ledger.decisions(Plan.of("extract", [claim(ledger, "u").unit], {}).units)
        assert all(result == decision.result for result in results)

    def test_a_commit_of_an_object_that_is_not_there_is_refused(self, ledger: Ledger, tmp_path: Path) -> None:
        attempt = claim(ledger, "u")
        ref = put(ledger, attempt, b"made", tmp_path)
        for wrong in (replace(ref, size_bytes=5), replace(ref, path="objects/aa/other.bin")):
            with pytest.raises(ObjectMissing, match=r"unit u: .* is not there as recorded"):
                ledger.commit(attempt, receipt("u", wrong))
        assert ledger.receipt("u") is None

    def test_a_late_try_whose_object_was_swept_adopts_what_was_decided(self, ledger: Ledger, tmp_path: Path) -> None:
        late = claim(ledger, "u")
        ref = put(ledger, late, b"made late", tmp_path)
        first = ledger.commit(claim(ledger, "u"), receipt_of("u", "first"))
        ledger.store.delete(ref.path)
        assert ledger.commit(late, receipt("u", ref)) == first

    def test_the_result_of_another_unit_is_refused(self, ledger: Ledger) -> None:
        with pytest.raises(ValueError, match="a result of unit v for unit u"):
            ledger.decide(claim(ledger, "u"), receipt_of("v", "done"))
        assert list(ledger.store.list("commits/")) == []

    def test_an_edited_decision_is_found(self, ledger: Ledger) -> None:
        ledger.commit(claim(ledger, "u"), receipt_of("u", "first"))
        data = ledger.store.read(commit_path("u"))
        ledger.store.write(commit_path("u"), data.replace(b"first", b"worst"))
        with pytest.raises(ObjectDamaged, match=r"commits/u\.json is damaged"):
            ledger.receipt("u")
        with pytest.raises(ObjectDamaged):
            ledger.commit(claim(ledger, "u"), receipt_of("u", "second"))

    def test_the_decision_of_another_unit_or_epoch_is_found(self, ledger: Ledger) -> None:
        """Whole and sealed, and in the wrong place."""
        ledger.commit(claim(ledger, "u"), receipt_of("u", "first"))
        data = ledger.store.read(commit_path("u"))
        ledger.store.write(commit_path("v"), data)
        ledger.store.write(commit_path("u", 2), data)
        with pytest.raises(ObjectDamaged, match=r"commits/v\.json holds the decision of another: u"):
            ledger.decision("v")
        with pytest.raises(ObjectDamaged, match=r"commits/u\.2\.json holds the decision of another"):
            ledger.decision("u", 2)

    def test_decisions_come_in_the_order_asked_and_open_units_are_left_out(self, ledger: Ledger) -> None:
        units = list(reversed(make_plan(12).units))
        for unit in units[::2]:
            commit_rejection(ledger, unit.unit_id)
        assert [decision.unit_id for decision in ledger.decisions(units)] == [unit.unit_id for unit in units[::2]]

    def test_files_that_are_no_decisions_are_passed_over(self, ledger: Ledger) -> None:
        for name in ("README", "u.json.bak", "u.x.json"):
            ledger.store.write(f"commits/{name}", b"")
        assert ledger.decided() == {}


class TestQuarantine:
    def test_the_first_reason_holds(self, ledger: Ledger) -> None:
        one, two = claim(ledger, "u"), claim(ledger, "u")
        first = ledger.decide(one, given_up("u", "first"))
        assert ledger.decide(two, given_up("u", "second")) == first == ledger.quarantined("u")
        assert ledger.quarantined("v") is None

    def test_a_zombie_that_finishes_after_it_cannot_undo_it(self, ledger: Ledger) -> None:
        zombie, other = claim(ledger, "unit-0"), claim(ledger, "unit-0")
        ledger.decide(other, given_up("unit-0", "it hangs"))
        with pytest.raises(Superseded, match="unit-0 was given up while this try was under way: it hangs"):
            ledger.commit(zombie, receipt_of("unit-0", "late"))
        account = ledger.account(make_plan(1))
        assert account == Account(planned=1, kept=0, rejected=0, quarantined=1, pending=0)
        account.check()

    def test_a_quarantine_after_the_commit_is_the_commit(self, ledger: Ledger) -> None:
        worker, driver = claim(ledger, "u"), claim(ledger, "u")
        done = ledger.commit(worker, receipt_of("u", "just in time"))
        assert ledger.decide(driver, given_up("u")) == done
        assert ledger.quarantined("u") is None

    def test_a_unit_opened_again_is_pending_with_its_tries_forgiven(self, ledger: Ledger) -> None:
        plan = make_plan(1)
        ledger.decide(claim(ledger, "unit-0"), given_up("unit-0"))
        assert ledger.pending(plan) == []
        ledger.void("unit-0", "retry", "")
        assert ledger.pending(plan) == list(plan.units)
        assert ledger.opened_by_hand("unit-0") == 1
        assert ledger.quarantined("unit-0") is None


class TestEpochs:
    def test_a_zombie_of_a_void_epoch_cannot_come_back(self, ledger: Ledger, tmp_path: Path) -> None:
        zombie = claim(ledger, "u")
        ref = put(ledger, zombie, b"late", tmp_path)
        ledger.void("u", "lapsed", "")
        with pytest.raises(Superseded, match="unit u: epoch 1 was voided"):
            ledger.commit(zombie, receipt("u", ref))
        assert ledger.receipt("u") is None
        assert ledger.decided() == {}
        assert ledger.account(Plan.of("extract", [zombie.unit], {})).pending == 1

    def test_nor_after_the_next_epoch_was_decided(self, ledger: Ledger) -> None:
        zombie = claim(ledger, "u")
        ledger.void("u", "retry", "")
        done = ledger.commit(claim(ledger, "u"), receipt_of("u", "anew"))
        with pytest.raises(Superseded):
            ledger.commit(zombie, receipt_of("u", "late"))
        with pytest.raises(Superseded):
            ledger.decide(zombie, given_up("u"))
        assert ledger.receipt("u") == done
        assert ledger.decided() == {"u": 2}

    def test_a_void_that_comes_while_it_is_decided_wins(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the decision and the look at the epoch: whoever decided learns of it."""
        attempt, create = claim(ledger, "u"), Store.create

        def voided_right_after(store: Store, path: str, data: bytes) -> bool:
            created = create(store, path, data)
            if path.startswith("commits/"):
                ledger.void("u", "retry", "")
            return created

        monkeypatch.setattr(Store, "create", voided_right_after)
        with pytest.raises(Superseded):
            ledger.commit(attempt, receipt_of("u", "done"))
        assert ledger.decided() == {}

    def test_an_epoch_is_void_once_however_often_it_is_voided(self, ledger: Ledger) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: ledger.void("u", "retry", "", epoch=1), range(16)))
        assert (ledger.epoch("u"), ledger.epochs()) == (2, {"u": 2})
        assert ledger.void("u", "retry", "") == 2
        assert ledger.epoch("u") == 3

    def test_only_what_was_opened_on_purpose_forgives(self, ledger: Ledger) -> None:
        assert ledger.opened_by_hand("u") == 0
        for reason in ("lapsed", "retry", "lapsed"):
            ledger.void("u", reason, "")  # type: ignore[arg-type]
        assert (ledger.epoch("u"), ledger.opened_by_hand("u")) == (4, 2)

    def test_units_whose_names_begin_alike_have_epochs_of_their_own(self, ledger: Ledger) -> None:
        ledger.void("unit-10", "retry", "")
        assert (ledger.epoch("unit-1"), ledger.epoch("unit-10")) == (1, 2)

    def test_while_units_are_voided_and_decided_no_reader_sees_two_outcomes(self, ledger: Ledger) -> None:
        """Each outcome that a reader sees is whole and of one epoch; an older one never comes back."""
        over = threading.Event()

        def write() -> None:
            for number in range(30):
                ledger.commit(claim(ledger, "u"), receipt_of("u", str(number)))
                ledger.void("u", "retry", "")
            over.set()

        def read() -> list[int]:
            seen = []
            while not over.is_set():
                seen += [decision.epoch for decision in ledger.decisions_of(ledger.decided().items())]
            return seen

        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                write()
            finally:
                over.set()
            for reader in readers:
                assert reader.result(60) == sorted(reader.result(60))


class TestAccount:
    def test_every_unit_is_counted_once(self, ledger: Ledger, tmp_path: Path) -> None:
        plan = make_plan(5)
        commit_clips(ledger, "unit-0", unit_clips(0, 2), tmp_path)
        commit_rejection(ledger, "unit-1")
        ledger.decide(claim(ledger, "unit-2"), given_up("unit-2"))
        assert ledger.account(plan) == Account(planned=5, kept=1, rejected=1, quarantined=1, pending=2)
        assert [u.unit_id for u in ledger.pending(plan)] == ["unit-3", "unit-4"]

    def test_what_happened_in_void_epochs_is_not_counted(self, ledger: Ledger) -> None:
        commit_rejection(ledger, "unit-0")
        ledger.void("unit-0", "retry", "")
        ledger.decide(claim(ledger, "unit-0"), given_up("unit-0"))
        assert ledger.account(make_plan(1)) == Account(planned=1, kept=0, rejected=0, quarantined=1, pending=0)

    def test_units_of_other_plans_are_not_counted(self, ledger: Ledger) -> None:
        for number in range(4):
            commit_rejection(ledger, f"unit-{number}")
        ledger.decide(claim(ledger, "unit-9"), given_up("unit-9"))
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
