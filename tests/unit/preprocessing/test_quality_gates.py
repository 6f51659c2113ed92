"""Gates: a clip is kept, or the row says what was measured and what was asked."""

from __future__ import annotations

import pytest

from preprocessing.config import QualityConfig
from preprocessing.quality.gates import judge

GOOD = {"face_px": 120.0, "sharpness": 60.0, "seen": 1.0, "silence": 0.2}


def test_a_good_clip_is_kept() -> None:
    assert judge(GOOD, QualityConfig()) is None


@pytest.mark.parametrize(
    ("name", "value", "code", "threshold"),
    [
        ("face_px", 39.9, "face_too_small", 40.0),
        ("sharpness", 4.9, "blurred", 5.0),
        ("seen", 0.89, "face_lost", 0.9),
        ("silence", 0.91, "silent", 0.9),
    ],
)
def test_a_bad_score_rejects_with_value_and_threshold(name: str, value: float, code: str, threshold: float) -> None:
    rejection = judge(GOOD | {name: value}, QualityConfig())
    assert rejection is not None
    assert (rejection.code, rejection.value, rejection.threshold) == (code, value, threshold)
    assert rejection.detail


@pytest.mark.parametrize(("name", "limit"), [("face_px", 40.0), ("sharpness", 5.0), ("seen", 0.9), ("silence", 0.9)])
def test_exactly_the_threshold_is_kept(name: str, limit: float) -> None:
    assert judge(GOOD | {name: limit}, QualityConfig()) is None


def test_moving_a_threshold_changes_the_verdict_on_the_same_scores() -> None:
    assert judge(GOOD, QualityConfig(min_sharpness=100)) is not None
    assert judge(GOOD | {"silence": 1.0}, QualityConfig(max_silence=1.0)) is None


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge({k: v for k, v in GOOD.items() if k != "silence"}, QualityConfig()) is None
    assert judge({}, QualityConfig()) is None
