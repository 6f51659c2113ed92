"""Every rejection code is explained: what it means, and the knob that would change it."""

from __future__ import annotations

import pytest

from flows.report.reasons import reason_of
from preprocessing.quality.gates import GATES, Gate
from shards.schema import Rejection


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.code)
def test_every_gate_is_explained_by_its_score_and_its_knob(gate: Gate) -> None:
    reason = reason_of(gate.code, Rejection(code=gate.code, detail="d", value=0.0, threshold=0.25))
    assert "is too" in reason.meaning
    assert f"clips.quality.{gate.threshold}" in reason.remedy
    assert reason.remedy.endswith("; the limit was 0.25")


def test_a_file_that_cannot_be_used_is_explained_without_a_limit() -> None:
    reason = reason_of("truncated", Rejection(code="truncated", detail="d"))
    assert reason.meaning == "the file ends before its contents do"
    assert "limit" not in reason.remedy


def test_a_picture_that_is_tilted_and_a_head_that_is_tipped_have_remedies_of_their_own() -> None:
    assert "re-encode" in reason_of("tilted", Rejection(code="tilted", detail="d")).remedy
    of_head = reason_of("tipped", Rejection(code="tipped", detail="d", value=1.0, threshold=2.0))
    assert "max_pitch_deg" in of_head.remedy


@pytest.mark.parametrize(("code", "knob"), [("out_of_sync", "max_av_offset_s"), ("duplicate", "max_twin_bits")])
def test_what_is_decided_beside_the_gates_is_explained_too(code: str, knob: str) -> None:
    assert knob in reason_of(code, None).remedy


def test_a_code_that_nobody_explained_is_told_by_its_example() -> None:
    found = Rejection(code="odd", detail="it is odd", value=1.0, threshold=2.0)
    assert reason_of("odd", found).meaning == "the example says what was found"
    assert reason_of("odd", found).remedy.endswith("the limit was 2")
    assert "limit" not in reason_of("odd", None).remedy
