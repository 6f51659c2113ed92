"""Gates: a clip is kept, or the row says what was measured and what was asked."""

from __future__ import annotations

import pytest

from preprocessing.config import QualityConfig
from preprocessing.quality.gates import GATES, Gate, judge

GOOD = {
    "face_px": 120.0, "sharpness": 4.0, "seen": 1.0, "confidence": 1.0, "yaw": 8.0, "pitch": 9.0, "mouth_visible": 0.8,
    "mouth_inside": 1.0, "uncovered": 0.9, "lip_edges": 3.0, "faces": 1.0, "silence": 0.2, "loudness_lufs": -20.0,
    "speaking": 0.9, "av_offset_s": 0.02, "av_confidence": 0.5, "av_corr": 0.4, "av_shift_s": 0.0, "mouth_motion": 0.07,
}  # fmt: skip
gates = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.code)


def limit(gate: Gate, config: QualityConfig) -> float:
    return float(getattr(config, gate.threshold))


def beyond(gate: Gate, config: QualityConfig) -> float:
    return limit(gate, config) + (0.01 if gate.side == "at most" else -0.01)


def test_a_good_clip_is_kept() -> None:
    assert judge(GOOD, QualityConfig()) is None


@gates
def test_a_bad_score_rejects_with_value_and_threshold(gate: Gate) -> None:
    config = QualityConfig()
    value = beyond(gate, config)
    rejection = judge(GOOD | {gate.score: value}, config)
    assert rejection is not None
    assert (rejection.code, rejection.value, rejection.threshold) == (gate.code, value, limit(gate, config))
    assert "{" not in rejection.detail


@gates
def test_exactly_the_threshold_is_kept(gate: Gate) -> None:
    config = QualityConfig()
    assert judge(GOOD | {gate.score: limit(gate, config)}, config) is None


@gates
def test_moving_a_threshold_changes_the_verdict_on_the_same_scores(gate: Gate) -> None:
    bad = GOOD | {gate.score: beyond(gate, QualityConfig())}
    assert judge(bad, QualityConfig.model_validate({gate.threshold: bad[gate.score]})) is None


@pytest.mark.parametrize(
    ("offset", "confidence", "is_kept"), [(0.14, 0.5, False), (-0.14, 0.5, False), (0.14, 0.2, True), (0.1, 0.5, True)]
)
def test_an_offset_rejects_only_where_it_is_sure(offset: float, confidence: float, is_kept: bool) -> None:
    rejection = judge(GOOD | {"av_offset_s": offset, "av_confidence": confidence}, QualityConfig())
    assert (rejection is None) is is_kept
    if rejection is not None:
        assert (rejection.code, rejection.value, rejection.threshold) == ("out_of_sync", abs(offset), 0.1)


@pytest.mark.parametrize(
    ("offset", "confidence", "is_kept"), [(0.2, 0.5, False), (-0.2, 0.5, False), (0.2, 0.05, True), (0.08, 0.5, True)]
)
def test_an_offset_that_the_sync_expert_found_rejects_only_where_it_is_sure(
    offset: float, confidence: float, is_kept: bool
) -> None:
    scores = GOOD | {"sync_offset_s": offset, "sync_confidence": confidence, "sync_distance": 0.9}
    rejection = judge(scores, QualityConfig())
    assert (rejection is None) is is_kept
    assert judge(scores, QualityConfig(max_sync_offset_s=0.2)) is None
    if rejection is not None:
        assert (rejection.code, rejection.value, rejection.threshold) == ("out_of_sync", abs(offset), 0.1)
        assert "200 ms apart by the sync expert" in rejection.detail


def test_what_was_not_measured_is_not_judged() -> None:
    for name in GOOD:
        assert judge({k: v for k, v in GOOD.items() if k != name}, QualityConfig()) is None
    assert judge({}, QualityConfig()) is None


def test_codes_are_told_apart() -> None:
    assert len({gate.code for gate in GATES} | {"out_of_sync", "duplicate"}) == len(GATES) + 2
