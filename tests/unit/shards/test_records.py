"""Records come back as they were, and say no to what cannot be."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from pydantic import TypeAdapter

from shards.errors import AccountError, ObjectDamaged, RequestError
from shards.records import (
    Account,
    Attempt,
    Decision,
    Lease,
    ObjectRef,
    Plan,
    Quarantine,
    Receipt,
    SampleEntry,
    Sweep,
    Unit,
    Void,
    from_record,
    to_record,
)
from shards.schema import MediaTime, Rejection, Span
from shards.sealed import sealed_json

REF = ObjectRef(sha256="a" * 64, size_bytes=10, path=f"objects/aa/{'a' * 64}.tar")
GIVEN_UP = Quarantine(unit_id="u", error_class="E", message="m", stderr_tail="\n", reproduce="cmd", attempts=3)
SPAN = Span(
    start=MediaTime(pts=0, base=Fraction(1001, 30_000)),
    end=MediaTime(pts=2**40, base=Fraction(1001, 30_000)),
)


def unit(name: str, stage: str = "extract", **payload: Any) -> Unit:
    return Unit(unit_id=name, stage=stage, payload=payload)


@pytest.mark.parametrize(
    "value",
    [
        Receipt(
            unit_id="u",
            stage="extract",
            objects=(REF,),
            samples=(
                SampleEntry(
                    key="0" * 32,
                    offset=0,
                    size_bytes=5,
                    identity="é",
                    language=None,
                    duration_s=0.1,
                    num_frames=3,
                    scores={"sync": 1e-17},
                ),
            ),
            rejections=(
                Rejection(code="no_face", detail="none", value=0.25, threshold=0.5, span=SPAN),
                Rejection(code="too_short", detail="x"),
            ),
            details={"lineage": ["a", {"b": None}]},
        ),
        GIVEN_UP,
        Account(planned=3, kept=1, rejected=1, quarantined=1, pending=0),
        Attempt(unit_id="u", epoch=2, number=3, run="r", is_isolated=False, started_at="2026-01-01T00:00:00+00:00"),
        Decision(unit_id="u", epoch=2, number=3, run="r", result=Receipt(unit_id="u", stage="extract", objects=(REF,))),
        Decision(unit_id="u", epoch=1, number=1, run="r", result=GIVEN_UP),
        Void(unit_id="u", epoch=2, reason="lapsed", detail="d"),
        Lease(run="r", holder="h", started_at="t", ttl_s=120.0, reads=("d",)),
        Sweep(number=7, run="r"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_a_record_comes_back_as_it_was(value: Any) -> None:
    back = from_record(TypeAdapter(type(value)), to_record(value), "here")
    assert back == value
    assert to_record(back) == to_record(value)


def test_a_record_that_lacks_a_field_is_damaged() -> None:
    with pytest.raises(ObjectDamaged, match=r"here is not a whole record(.|\n)*size_bytes"):
        from_record(TypeAdapter(ObjectRef), sealed_json({"sha256": "a", "path": "b"}), "here")


def test_a_void_for_no_known_reason_is_refused() -> None:
    whole = sealed_json({"unit_id": "u", "epoch": 1, "reason": "whim", "detail": ""})
    with pytest.raises(ObjectDamaged, match="reason"):
        from_record(TypeAdapter(Void), whole, "here")


def test_a_decision_of_a_receipt_is_not_taken_for_a_quarantine() -> None:
    """They are told apart by their fields."""
    for result in (GIVEN_UP, Receipt(unit_id="u", stage="extract", objects=(REF,))):
        decision = Decision(unit_id="u", epoch=1, number=1, run="r", result=result)
        assert type(from_record(TypeAdapter(Decision), to_record(decision), "here").result) is type(result)


class TestPlan:
    def test_the_order_of_units_does_not_make_another_plan(self) -> None:
        units = [unit("b", n=1), unit("a", n=2)]
        assert Plan.of("extract", units, {}) == Plan.of("extract", reversed(units), {})

    def test_anything_in_it_makes_another_plan(self) -> None:
        plans = [
            Plan.of("extract", [unit("a")], {}),
            Plan.of("extract", [unit("a"), unit("b")], {}),
            Plan.of("extract", [unit("a", path="x")], {}),
            Plan.of("extract", [unit("a")], {"fps": 25}),
            Plan.of("dub", [unit("a", "dub")], {}),
        ]
        assert len({plan.plan_id for plan in plans}) == len(plans)

    def test_a_unit_twice_is_refused(self) -> None:
        with pytest.raises(RequestError, match="holds a unit once"):
            Plan.of("extract", [unit("a", path="x"), unit("a", path="copy of x")], {})

    def test_a_unit_of_another_stage_is_refused(self) -> None:
        with pytest.raises(RequestError, match="another stage"):
            Plan.of("extract", [unit("a", "dub")], {})


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a.b", "-a", "a" * 201])
def test_a_unit_id_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="unit id"):
        unit(name)


class TestReceipt:
    def test_samples_without_an_object_are_refused(self) -> None:
        entry = SampleEntry(
            key="0" * 32, offset=0, size_bytes=1, identity="a", language=None, duration_s=1, num_frames=1
        )
        with pytest.raises(ValueError, match="no object that holds them"):
            Receipt(unit_id="u", stage="extract", samples=(entry,))

    def test_a_unit_cannot_come_to_nothing_without_a_reason(self) -> None:
        with pytest.raises(ValueError, match="nothing may vanish silently"):
            Receipt(unit_id="u", stage="extract")


class TestAccount:
    def test_a_closed_account_passes(self) -> None:
        Account(planned=6, kept=3, rejected=2, quarantined=1, pending=0).check()

    @pytest.mark.parametrize(
        "account",
        [
            Account(planned=6, kept=3, rejected=2, quarantined=0, pending=1),
            Account(planned=6, kept=3, rejected=2, quarantined=0, pending=0),
            Account(planned=5, kept=3, rejected=2, quarantined=1, pending=0),
            Account(planned=5, kept=3, rejected=2, quarantined=0, pending=1),
        ],
    )
    def test_an_open_account_is_refused_with_its_figures(self, account: Account) -> None:
        with pytest.raises(AccountError, match=rf"{account.planned} planned, but 3 kept \+ 2 rejected"):
            account.check()
