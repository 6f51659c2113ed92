"""Where the bars of a histogram stand."""

from __future__ import annotations

import numpy as np
import pytest

from flows.report.histogram import histogram, number

NONE = np.empty(0)


def test_every_value_is_in_a_bar_of_its_kind_also_far_ones() -> None:
    kept = np.concatenate([np.linspace(0, 1, 1000), [1e6]])
    plot = histogram("x", kept, np.array([0.5, -3.0]), {})
    assert sum(bar["count"] for bar in plot["bars"] if bar["kind"] == "kept") == 1001
    assert sum(bar["count"] for bar in plot["bars"] if bar["kind"] == "rejected") == 2


def test_a_far_value_does_not_press_the_others_into_one_bar() -> None:
    kept = np.concatenate([np.linspace(0, 1, 1000), [1e6]])
    assert len(histogram("x", kept, NONE, {})["bars"]) > 20


def test_kept_bars_stand_on_the_line_and_rejected_ones_hang_below_it() -> None:
    plot = histogram("x", np.array([1.0, 2.0]), np.array([0.0]), {})
    for bar in plot["bars"]:
        if bar["kind"] == "kept":
            assert bar["y"] + bar["height"] == pytest.approx(plot["base"], abs=0.2)
        else:
            assert bar["y"] > plot["base"]
        assert bar["y"] >= 0
        assert bar["y"] + bar["height"] <= plot["height"]


def test_a_threshold_stands_where_its_value_is_also_beyond_all_values() -> None:
    plot = histogram("x", np.array([0.0, 10.0]), NONE, {"min_x": 5.0})
    assert plot["limits"][0]["x"] == pytest.approx((plot["left"] + plot["right"]) / 2)
    far = histogram("x", np.array([0.0, 10.0]), NONE, {"max_x": 40.0})
    assert far["limits"][0]["x"] == plot["right"]
    assert far["limits"][0]["text"] == "max_x 40"


def test_a_knob_that_holds_for_both_sides_is_named_once() -> None:
    plot = histogram("x", np.array([-1.0, 1.0]), NONE, {"max_x": 0.5, "-max_x": -0.5})
    assert [limit["text"] for limit in plot["limits"]] == ["max_x 0.5", ""]
    assert plot["limits"][0]["x"] > plot["limits"][1]["x"]


@pytest.mark.parametrize("far", [0.12, 0.2, 0.3, 0.6, 5.0])
def test_a_thresholds_text_stays_in_the_plot_and_leaves_the_line_beyond_zero_alone(far: float) -> None:
    plot = histogram("av_offset_s", np.array([-far, far]), NONE, {"max_av_offset_s": 0.1, "-max_av_offset_s": -0.1})
    above, below = plot["limits"]
    width = 5 * len(above["text"])
    start = above["text_x"] - (width if above["anchor"] == "end" else 0)
    assert plot["left"] <= start
    assert start + width <= plot["right"]
    assert not start <= below["x"] <= start + width


def test_a_score_that_is_always_the_same_is_drawn() -> None:
    assert [bar["count"] for bar in histogram("x", np.full(7, 1.0), NONE, {})["bars"]] == [7]


def test_a_score_that_only_rejected_clips_have_is_drawn() -> None:
    assert [bar["kind"] for bar in histogram("x", NONE, np.array([1.0]), {})["bars"]] == ["rejected"]


def test_numbers_have_three_digits_that_count() -> None:
    assert [number(v) for v in (0.12345, 12.345, 1234.5, -0.0)] == ["0.123", "12.3", "1234", "0"]
