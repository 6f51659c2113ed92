"""A plan is written before any work, comes back as it was, and is found out when it was changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shards.commit import Ledger
from shards.errors import ObjectDamaged, ObjectMissing
from shards.store import open_store
from tests.support.datasets import make_plan


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


class TestPlans:
    def test_a_plan_comes_back_as_it_was(self, ledger: Ledger) -> None:
        plan = make_plan(5)
        ledger.write_plan(plan)
        assert ledger.read_plan(plan.plan_id) == plan

    def test_a_plan_written_again_is_the_newest(self, ledger: Ledger) -> None:
        """It is in use again, which is what a sweep asks."""
        first, second = make_plan(1), make_plan(2)
        for plan in (first, second, first):
            ledger.write_plan(plan)
        assert ledger.plans() == [first.plan_id, second.plan_id]

    def test_writing_a_plan_again_changes_nothing_in_it(self, ledger: Ledger) -> None:
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
        for second, plan in enumerate(plans):
            ledger.write_plan(plan)
            # A disk's clock may stand still for some milliseconds.
            os.utime(Path(ledger.store.uri, "plans", f"{plan.plan_id}.json"), (second, second))
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
