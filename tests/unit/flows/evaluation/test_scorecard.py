from __future__ import annotations

import json
import math

import pytest

from flows.evaluation.measures import Figures
from flows.evaluation.scorecard import ClipRow, scorecard, summed


def row(key: str, identity: str = "anna", language: str | None = "en", **figures: float) -> ClipRow:
    told: Figures = {name.replace("__", "."): value for name, value in figures.items()}
    return ClipRow(key=key, identity=identity, language=language, split="val", frames=50, figures=told)


def test_means_and_medians_are_of_the_clips_that_have_the_figure() -> None:
    rows = [row("a", made__lips=0.1), row("b", made__lips=0.3), row("c", made__lips=0.8), row("d", made__lips=math.nan)]
    assert summed(rows)["made.lips"] == pytest.approx({"mean": 0.4, "median": 0.3, "largest": 0.8, "clips": 3})


def test_goals_are_met_missed_or_not_measured() -> None:
    good = row("a", made__lips=0.05, undubbed__lips=0.1, neutral__lips=0.04, made__correlation=0.5, silent__closed=0.95)
    goals = {goal["name"]: goal for goal in scorecard([good])["goals"]}
    distance = goals["lip distance, of the undubbed source's"]
    assert (distance["value"], distance["wanted"], distance["reached"]) == (0.5, "at most 0.6", "yes")
    assert goals["lip distance, of a still neutral mouth's"]["reached"] == "no"
    assert goals["correlation of the mouth's opening"]["reached"] == "the least (0.45)"
    assert goals["mouth closed under silence, share"]["reached"] == "yes"
    assert goals["reconstructed mouth, PSNR in dB"]["reached"] == "not measured"


def test_one_changed_pixel_in_one_clip_misses_the_goal_outside_the_mask() -> None:
    rows = [row("a", made__outside_change=0.0), row("b", made__outside_change=1.0)]
    (goal,) = [g for g in scorecard(rows)["goals"] if "outside" in g["name"]]
    assert (goal["value"], goal["reached"]) == (1.0, "no")


def test_speed_is_a_ratio_of_means_that_still_clips_do_not_rule() -> None:
    rows = [row("a", made__speed=0.01, real__speed=0.01), row("b", made__speed=0.001, real__speed=0.00001)]
    (goal,) = [g for g in scorecard(rows)["goals"] if "speed" in g["name"]]
    assert goal["value"] == pytest.approx(1.1, abs=0.01)


def test_identities_and_languages_have_their_own_means() -> None:
    rows = [row("a", made__lips=0.1), row("b", made__lips=0.3), row("c", "bert", None, made__lips=0.5)]
    card = scorecard(rows)
    assert [(g["name"], g["clips"], g["figures"]["made.lips"]) for g in card["by_identity"]] == [
        ("anna", 2, 0.2),
        ("bert", 1, 0.5),
    ]
    assert [g["name"] for g in card["by_language"]] == ["en", "unknown"]


def test_the_card_is_plain_json() -> None:
    told = json.dumps(scorecard([row("a", made__lips=math.nan, made__speed=0.123456)]), allow_nan=False)
    assert json.loads(told)["rows"][0]["figures"] == {"made.lips": None, "made.speed": 0.1235}
