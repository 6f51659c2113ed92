"""The account says of each shot what was done, why not more, how well, and whether somebody should look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from flows.dubbing.account import account, status_of, with_file_flags
from flows.dubbing.flags import FlagConfig
from preprocessing.faces.base import Analysis
from preprocessing.faces.stretches import span_of
from shards.commit import Quarantine, Receipt, Unit
from shards.schema import Rejection
from tests.support.accounts import (
    GOOD,
    analysed_receipt,
    render_unit,
    rendered,
    told_analysis,
    told_cast,
    told_title,
)

SHOTS = [(0, 40), (40, 100)]
FACES = [(0, 0, 40, "person-0"), (1, 50, 100, "person-0"), (1, 40, 100, "person-1")]
ANALYSIS = told_analysis(SHOTS, FACES)
Renders = Sequence[tuple[Unit, Receipt | Quarantine | None]]


def left(code: str, start: int, stop: int, detail: str = "why", analysis: Analysis = ANALYSIS) -> Rejection:
    return Rejection(code=code, detail=detail, span=span_of(analysis.times, start, stop))


def told(
    renders: Renders = (),
    *,
    rows: Sequence[tuple[int, int, int]] = ((0, 0, 40), (1, 0, 50)),
    reasons: Sequence[Rejection] = (),
    rejections: Sequence[Rejection] = (),
    problems: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    config: FlagConfig | None = None,
    **columns: Any,
) -> dict[str, Any]:
    found = account(
        told_title(start_timecode="01:00:00:00", **columns),
        ANALYSIS,
        analysed_receipt(*rejections),
        told_cast(ANALYSIS, rows, reasons, problems),
        renders,
        details or {},
        config,
    )
    json.dumps(found, allow_nan=False)
    return found


def scored(**scores: float) -> dict[str, Any]:
    """The first shot of a title whose two clips have these scores."""
    renders = [rendered(render_unit(n, [(0, rows)]), GOOD | scores) for n, rows in ((0, 40), (1, 50))]
    return told(renders)


def codes(found: Mapping[str, Any], severity: str) -> list[str]:
    return [flag["code"] for flag in found["flags"] if flag["severity"] == severity]


# -- what was done -----------------------------------------------------------------------------------------------------


def test_a_shot_is_dubbed_in_part_or_left_and_says_from_where_to_where() -> None:
    first, second = told([rendered(render_unit(1, [(0, 50)]), GOOD)], rows=[(1, 0, 50)])["shots"]
    assert (first["decision"], first["dubbed_frames"]) == ("left", 0)
    assert (second["decision"], second["dubbed_frames"], second["faces"]) == ("partly", 50, 2)
    assert (second["tc_in"], second["tc_out"]) == ("01:00:01:15", "01:00:04:00")
    assert told([rendered(render_unit(0, [(0, 40)]), GOOD)])["shots"][0]["decision"] == "dubbed"


def test_rows_count_from_the_clip_and_not_from_the_track() -> None:
    found = told([rendered(render_unit(1, [(2, 5)], first=30), GOOD, silent=[(5, 7)])])
    assert found["shots"][1]["dubbed_frames"] == 3
    (kept,) = found["left_alone"]
    assert (kept["start"], kept["stop"]) == (85, 87)


def test_a_shot_whose_packets_are_the_sources_is_copied() -> None:
    chunks = [{"start": 0, "stop": 40, "object": None}, {"start": 40, "stop": 100, "object": "objects/a.mov"}]
    found = told([rendered(render_unit(1, [(0, 50)]))], details={"chunks": chunks})
    assert [shot["decision"] for shot in found["shots"]] == ["copied", "partly"]


def test_reasons_are_counted_in_frames_and_every_detail_is_told_once() -> None:
    reasons = [left("other_speaker", 45, 60, "a"), left("other_speaker", 70, 80, "a"), left("not_seen", 30, 50, "b")]
    first, second = told(reasons=reasons)["shots"]
    assert first["reasons"] == [{"code": "not_seen", "detail": "b", "frames": 10, "start": 30, "stop": 40}]
    assert second["reasons"] == [
        {"code": "other_speaker", "detail": "a", "frames": 25, "start": 45, "stop": 80},
        {"code": "not_seen", "detail": "b", "frames": 10, "start": 40, "stop": 50},
    ]


def test_what_was_left_alone_is_listed_with_timecodes() -> None:
    (reason,) = told(rejections=[left("no_face", 10, 20)])["left_alone"]
    assert reason == {
        "code": "no_face",
        "detail": "why",
        "start": 10,
        "stop": 20,
        "tc_in": "01:00:00:10",
        "tc_out": "01:00:00:20",
    }


def test_coverage_is_the_share_of_speaking_frames_that_were_dubbed_and_silence_is_not_asked_for() -> None:
    unit = render_unit(0, [(0, 40)])
    assert told([rendered(unit)], rows=[(0, 0, 40)])["coverage"] == 1
    assert told([rendered(unit, rows=[(0, 30)], silent=[(30, 40)])], rows=[(0, 0, 40)])["coverage"] == 1
    assert told([rendered(unit)])["coverage"] == pytest.approx(40 / 90, abs=1e-4)
    assert told(rows=[])["coverage"] is None


# -- how well ----------------------------------------------------------------------------------------------------------


def test_scores_are_means_by_frames_and_the_offset_is_the_surest() -> None:
    one = rendered(render_unit(1, [(0, 10)]), GOOD | {"identity": 0.9, "made_av_confidence": 0.1})
    other = rendered(render_unit(2, [(0, 30)]), GOOD | {"identity": 0.7, "made_av_offset_s": 0.06})
    shot = told([one, other])["shots"][1]
    assert shot["identity"] == 0.75
    assert shot["sync_offset_s"] == 0.06
    assert shot["sharpness"] == 0.9


def test_what_was_not_measured_is_none_and_no_flag() -> None:
    found = told([rendered(render_unit(0, [(0, 40)])), rendered(render_unit(1, [(0, 50)]))])
    assert found["shots"][0]["sync"] is None
    assert found["shots"][0]["seam"] is None
    assert found["flags"] == []


def test_the_seam_of_a_shot_is_its_worst() -> None:
    seams = [{"start": 0, "stop": 40, "contrast": 7.5}, {"start": 40, "stop": 60, "contrast": 1.2}]
    found = told(details={"seams": [*seams, {"start": 60, "stop": 100, "contrast": 1.1}]})
    assert [shot["seam"] for shot in found["shots"]] == [7.5, 1.2]
    assert [flag["shot"] for flag in found["flags"] if flag["code"] == "seam_visible"] == [0]


# -- what to look at ---------------------------------------------------------------------------------------------------


def test_a_good_title_has_no_flags() -> None:
    assert scored()["flags"] == []
    assert status_of(scored()["flags"]) == ("succeeded", None)


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        ({"made_av_corr": 0.15}, "sync_low"),
        ({"made_av_offset_s": 0.1}, "sync_offset"),
        ({"made_av_offset_s": -0.1}, "sync_offset"),
        ({"identity": 0.8}, "identity_low"),
        ({"flicker_inside": 1.7}, "flicker_high"),
        ({"flicker_outside": 1.7}, "flicker_high"),
    ],
)
def test_a_score_beyond_its_threshold_is_an_issue_of_its_shot(scores: dict[str, float], code: str) -> None:
    found = scored(**scores)
    assert codes(found, "Issue") == [code, code]
    assert found["shots"][0]["flags"] == [code]
    assert (found["flags"][1]["shot"], found["flags"][1]["tc_in"]) == (1, "01:00:01:15")
    assert status_of(found["flags"])[0] == "succeeded_with_flags"


def test_a_softer_mouth_is_only_told() -> None:
    found = scored(sharpness_ratio=0.3)
    assert codes(found, "FYI") == ["soft", "soft"]
    assert status_of(found["flags"])[0] == "succeeded"


def test_a_measure_of_sync_that_is_not_sure_is_no_flag() -> None:
    assert scored(made_av_offset_s=0.4, made_av_confidence=0.1)["flags"] == []
    assert scored(made_av_corr=0.1, source_av_confidence=0.1)["flags"] == []


def test_a_threshold_moves_without_rendering_again() -> None:
    renders = [rendered(render_unit(0, [(0, 40)]), GOOD | {"identity": 0.8})]
    assert codes(told(renders, config=FlagConfig(least_identity=0.7)), "Issue") == []


@pytest.mark.parametrize(
    "result",
    [
        Quarantine(
            unit_id="u", error_class="Boom", message="bad", stderr_tail="", reproduce="dubwright dub", attempts=3
        ),
        Receipt(unit_id="u", stage="render", rejections=(Rejection(code="Boom", detail="bad"),)),
        None,
    ],
)
def test_a_clip_that_could_not_be_rendered_is_a_blocker(result: Quarantine | Receipt | None) -> None:
    found = told([rendered(render_unit(0, [(0, 40)]), GOOD), (render_unit(1, [(10, 30)]), result)])
    (flag,) = [flag for flag in found["flags"] if flag["severity"] == "Blocker"]
    assert (flag["code"], flag["shot"], flag["start"], flag["stop"]) == ("not_rendered", 1, 60, 80)
    assert (flag["tc_in"], flag["tc_out"]) == ("01:00:02:10", "01:00:03:05")
    assert ("Boom: bad" in flag["detail"]) == (result is not None)
    assert found["shots"][1]["reasons"][0]["frames"] == 20
    assert found["shots"][1]["decision"] == "left"
    status, why = status_of(found["flags"])
    assert status == "needs_review"
    assert why is not None
    assert "20 frames" in why


def test_a_picture_that_breaks_off_is_a_blocker() -> None:
    found = told([rendered(render_unit(0, [(0, 40)]), GOOD)], rejections=[left("truncated", 80, 100)])
    assert codes(found, "Blocker") == ["picture_broke_off"]


def test_no_frame_changed_is_an_issue_unless_it_was_asked_for() -> None:
    assert codes(told(rows=[]), "Issue") == ["nothing_changed"]
    assert codes(told(rows=[], speaker_mode="off"), "FYI") == ["nothing_changed"]


def test_a_speaker_who_is_not_in_the_title_is_an_issue() -> None:
    renders = [rendered(render_unit(0, [(0, 40)]), GOOD)]
    assert codes(told(renders, problems=["nobody looks like Ann"]), "Issue") == ["speaker_unknown"]


def test_what_the_footage_does_not_allow_is_told_and_what_was_asked_for_is_not() -> None:
    renders = [rendered(render_unit(0, [(0, 40)], first=0), GOOD, silent=[(0, 5)])]
    reasons = [left("other_speaker", 40, 50), left("excluded", 50, 60), left("unmapped_speaker", 60, 70)]
    found = told(renders, reasons=reasons, rejections=[left("face_too_small", 0, 9)])
    assert codes(found, "FYI") == ["face_too_small", "silent_closed", "unmapped_speaker"]
    assert codes(found, "Issue") == []


def test_what_the_finished_file_says_comes_to_the_flags_once() -> None:
    before = told([rendered(render_unit(0, [(0, 40)]), GOOD)])
    details = {"speech_cut_s": 0.7, "notes": ["the speech was encoded once, as aac"]}
    after = with_file_flags(before, told_title(), details)
    assert [flag["code"] for flag in after["flags"]] == ["speech_cut", "note"]
    assert with_file_flags(after, told_title(), details) == after
    assert with_file_flags(before, told_title(), {"speech_cut_s": 0.0})["flags"] == []


def test_the_gravest_flags_come_first_and_name_the_status() -> None:
    problems = ["nobody looks like Ann", "nobody looks like Bob"]
    found = told([(render_unit(0, [(0, 40)]), None)], problems=problems, rejections=[left("no_face", 0, 1)])
    assert [flag["severity"] for flag in found["flags"]] == ["Blocker", "Issue", "Issue", "Issue", "FYI"]
    assert status_of(found["flags"][1:])[1] == "01:00:00:00: no frame was changed, and 2 more of this severity"


def test_an_original_sound_that_cannot_be_read_is_told_of_the_whole_title() -> None:
    found = told([rendered(render_unit(0, [(0, 40)]), GOOD)], rejections=[Rejection(code="own_sound", detail="odd")])
    (flag,) = found["flags"]
    assert (flag["code"], flag["severity"], flag["start"], flag["stop"], flag["shot"]) == (
        "own_sound",
        "FYI",
        0,
        100,
        None,
    )


def test_a_title_without_pictures_of_anybody_has_its_shots_all_the_same() -> None:
    empty = told_analysis([(0, 10)], [])
    found = account(told_title(10), empty, analysed_receipt(), told_cast(empty), [], {})
    assert [shot["decision"] for shot in found["shots"]] == ["left"]
