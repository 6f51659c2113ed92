"""A plan's outcome, read once: the same as the records say one by one, and as strict."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shards import sealed
from shards.commit import Ledger, Plan, Quarantine, commit_path
from shards.errors import AccountError, ObjectDamaged, UnknownSchemaVersion
from shards.harvest import SAMPLES, harvest
from shards.records import SampleEntry
from shards.schema import Rejection
from shards.store import open_store
from tests.support.datasets import claim, commit_clips, commit_rejection, make_plan, unit_clips


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """unit-0 and unit-1 have clips, unit-2 no face, unit-3 is given up."""
    made = Ledger(open_store(tmp_path / "s"))
    for number in range(2):
        commit_clips(made, f"unit-{number}", unit_clips(number, 3), tmp_path)
    commit_rejection(made, "unit-2")
    made.decide(claim(made, "unit-3"), given_up("unit-3"))
    return made


def given_up(unit_id: str) -> Quarantine:
    return Quarantine(
        unit_id=unit_id, error_class="ValueError", message="poison", stderr_tail="", reproduce="run it", attempts=3
    )


PLAN = make_plan(4)


def entries(found: Any, plan: Plan) -> list[tuple[str, SampleEntry]]:
    rows = found.samples.to_pylist()
    return [
        (plan.units[row.pop("unit")].unit_id, SampleEntry(**{**row, "scores": dict(row["scores"])})) for row in rows
    ]


class TestTheOutcome:
    def test_samples_are_those_of_the_receipts_read_one_by_one(self, ledger: Ledger) -> None:
        found = harvest(ledger, PLAN)
        expected = [(receipt.unit_id, entry) for receipt in ledger.receipts(PLAN) for entry in receipt.samples]
        assert len(expected) == 6
        assert entries(found, PLAN) == expected
        assert found.samples.schema.equals(SAMPLES)

    def test_every_unit_is_in_the_account_once(self, ledger: Ledger) -> None:
        found = harvest(ledger, make_plan(5))
        assert found.account == ledger.account(make_plan(5))
        assert str(found.account) == "5 planned = 2 kept + 1 rejected + 1 quarantined + 1 pending"
        assert found.pending == ("unit-4",)
        assert [quarantine.unit_id for quarantine in found.given_up] == ["unit-3"]
        assert found.objects == {receipt.unit_id: receipt.objects for receipt in ledger.receipts(make_plan(2))}

    def test_what_is_pending_is_named(self, ledger: Ledger) -> None:
        harvest(ledger, PLAN).check()
        with pytest.raises(AccountError, match=r"9 planned.*5 pending.*first pending: unit-4, .*, unit-8$"):
            harvest(ledger, make_plan(9)).check()

    def test_units_of_other_plans_are_left_out(self, ledger: Ledger) -> None:
        assert {unit for unit, _ in entries(harvest(ledger, make_plan(1)), make_plan(1))} == {"unit-0"}

    def test_a_threshold_makes_rejections_of_samples(self, ledger: Ledger) -> None:
        def accept(entry: SampleEntry) -> Rejection | None:
            return None if entry.key == kept else Rejection(code="dull", detail="seen it")

        _, first = entries(harvest(ledger, PLAN), PLAN)[0]
        kept = first.key
        found = harvest(ledger, PLAN, accept=accept)
        assert entries(found, PLAN) == [("unit-0", first)]
        assert found.rejections == {"dull": 5, "no_face": 1}
        assert found.account == harvest(ledger, PLAN).account

    def test_what_only_the_whole_set_can_tell_is_left_out_and_counted(self, ledger: Ledger) -> None:
        whole = harvest(ledger, PLAN)
        first, *rest = whole.samples.column("key").to_pylist()
        less = whole.without({first: Rejection(code="duplicate", detail="of another")})
        assert less.samples.column("key").to_pylist() == rest
        assert less.rejections == {"duplicate": 1, **whole.rejections}
        assert less.account == whole.account
        assert whole.without({}) is whole

    def test_only_the_present_epoch_counts(self, ledger: Ledger, tmp_path: Path) -> None:
        ledger.void("unit-1", "retry", "once more")
        assert harvest(ledger, PLAN).pending == ("unit-1",)
        commit_clips(ledger, "unit-1", unit_clips(1, 1), tmp_path)
        found = harvest(ledger, PLAN)
        assert [unit for unit, _ in entries(found, PLAN)] == ["unit-0"] * 3 + ["unit-1"]

    def test_a_plan_without_units_is_an_empty_harvest(self, ledger: Ledger) -> None:
        found = harvest(ledger, make_plan(0))
        found.check()
        assert (found.samples.num_rows, found.account.planned) == (0, 0)


class TestTampering:
    def test_a_decision_that_was_removed_is_pending(self, ledger: Ledger) -> None:
        ledger.store.delete(commit_path("unit-1"))
        with pytest.raises(AccountError, match=r"1 pending.*first pending: unit-1"):
            harvest(ledger, PLAN).check()

    def test_a_decision_that_was_edited_is_named(self, ledger: Ledger) -> None:
        data = ledger.store.read(commit_path("unit-1"))
        ledger.store.write(commit_path("unit-1"), data.replace(b'"num_frames":2', b'"num_frames":3', 1))
        with pytest.raises(ObjectDamaged, match=r"commits/unit-1\.json is damaged: its checksum differs"):
            harvest(ledger, PLAN)

    def test_a_decision_exchanged_for_another_unit_s_is_named(self, ledger: Ledger) -> None:
        ledger.store.write(commit_path("unit-1"), ledger.store.read(commit_path("unit-0")))
        with pytest.raises(ObjectDamaged, match=r"commits/unit-1\.json holds the decision of another: unit-0"):
            harvest(ledger, PLAN)

    @pytest.mark.parametrize(
        "edit",
        [
            lambda record: record.update(unit_id="unit-0"),
            lambda record: record.update(epoch=2),
            lambda record: record["result"].update(unit_id="unit-0"),
        ],
    )
    def test_a_decision_that_is_not_of_its_name_is_named(
        self, ledger: Ledger, edit: Callable[[dict[str, Any]], object]
    ) -> None:
        rewrite(ledger, edit)
        with pytest.raises(ObjectDamaged, match=r"commits/unit-1\.json holds the decision of another"):
            harvest(ledger, PLAN)

    def test_a_decision_of_another_version_is_refused_by_name(self, ledger: Ledger) -> None:
        rewrite(ledger, lambda record: record.update(schema_version=99))
        with pytest.raises(UnknownSchemaVersion, match=r"commits/unit-1\.json.*99"):
            harvest(ledger, PLAN)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("key", 7),
            ("offset", 1.5),
            ("offset", True),
            ("size_bytes", "512"),
            ("size_bytes", 2**63),
            ("identity", None),
            ("language", ["en"]),
            ("duration_s", "long"),
            ("num_frames", 2**31),
            ("num_frames", None),
            ("scores", [1.0]),
            ("scores", {"sync": "high"}),
            ("scores", {"sync": True}),
        ],
    )
    def test_a_value_of_another_kind_is_named(self, ledger: Ledger, field: str, value: object) -> None:
        rewrite(ledger, lambda record: record["result"]["samples"][2].update({field: value}))
        with pytest.raises(ObjectDamaged, match=r"commits/unit-1\.json: "):
            harvest(ledger, PLAN)

    @pytest.mark.parametrize(
        ("edit", "problem"),
        [
            (lambda result: result["samples"][1].update(offset=0), "overlap, or lie outside"),
            (lambda result: result["samples"][2].update(size_bytes=1 << 40), "overlap, or lie outside"),
            (lambda result: result["samples"][0].update(offset=-512), "overlap, or lie outside"),
            (lambda result: result["samples"][0].update(size_bytes=0), "overlap, or lie outside"),
            (lambda result: result["samples"][0].update(duration_s=-1.0), "negative or endless"),
            (lambda result: result["samples"][0].update(duration_s=math.inf), "negative or endless"),
            (lambda result: result["samples"][0].update(scores={"sync": math.inf}), "an endless score"),
            (lambda result: result["samples"][0].pop("scores"), "other fields than key, offset"),
            (lambda result: result["samples"][0].update(colour="red"), "other fields than key, offset"),
            (lambda result: result["samples"].append("sample"), "other fields than key, offset"),
            (lambda result: result.update(objects=[], rejections=[REJECTION]), "0 objects and 3 samples"),
            (lambda result: result.update(stage="analyse"), "a receipt of stage analyse"),
            (lambda result: result.pop("unit_id"), "not a whole record"),
            (lambda result: result.update(objects=[{"path": "x"}]), "not a whole record"),
        ],
    )
    def test_a_receipt_that_cannot_be_is_named(
        self, ledger: Ledger, edit: Callable[[dict[str, Any]], object], problem: str
    ) -> None:
        rewrite(ledger, lambda record: edit(record["result"]))
        with pytest.raises(ObjectDamaged, match=rf"commits/unit-1\.json.*{problem}"):
            harvest(ledger, PLAN)


REJECTION = {"code": "no_face", "detail": "", "value": None, "threshold": None}


def rewrite(ledger: Ledger, edit: Callable[[dict[str, Any]], object]) -> None:
    """Changes unit-1's decision, and seals it as if it had been written so."""
    path = commit_path("unit-1")
    record = json.loads(ledger.store.read(path))
    del record["checksum"]
    edit(record)
    rest = json.dumps(record).encode()[1:]
    ledger.store.write(path, b'{"checksum":"' + sealed._checksum(rest) + b'",' + rest)
