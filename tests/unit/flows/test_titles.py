"""Unit ids: they change with what a result depends on, and with nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from flows.hearing import Speeches
from flows.moments import Moment
from flows.title import Title, Voice
from flows.titles import MAX_REFERENCE_CLIPS, analysis_config, analysis_unit, render_units, spread
from preprocessing.faces.base import Analysis
from preprocessing.landmarks.mediapipe_mesh import MediapipeMesh
from shards.commit import Unit
from shards.errors import RequestError
from tests.support.cast import ANN, BOB, listened, pictures, receipt_of, sound, title_of
from tests.support.titles import VOICE

SHOTS = (((ANN,), 250), ((ANN, BOB), 250), ((ANN,), 300))
"""Ten seconds of Ann, ten of both, twelve of Ann, which are two clips."""
LINES = [(0.5, 3.0, 1), (13.0, 16.0, 2), (23.0, 31.0, 3)]
"""One in each shot, and further than the context from the others."""
SPEAKS = {0: [(0, 250)], 1: [(250, 500)], 3: [(500, 800)]}

Rows = Callable[..., Title]


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return listened(pictures(*SHOTS), SPEAKS)


@pytest.fixture
def rows(tmp_path: Path, analysis: Analysis) -> Rows:
    """Makes titles of one picture; `lines` are what is said in it."""

    def made(lines: list[tuple[float, float, int]] = LINES, **columns: Any) -> Title:
        name = "-".join(str(seed) for _, _, seed in lines)
        return title_of(tmp_path, analysis, audio=sound(tmp_path / f"{name}.wav", 32.0, lines), **columns)

    return made


def voice(**other: Any) -> Voice:
    return dataclasses.replace(VOICE, **other)


def renders(title: Title, analysis: Analysis, which: Voice = VOICE, **more: Any) -> list[Unit]:
    return render_units(title, which, analysis, receipt_of(analysis), Speeches(), **more)


def ids(units: list[Unit]) -> list[str]:
    return [unit.unit_id for unit in units]


# -- analysis ----------------------------------------------------------------------------------------------------------


def test_a_second_language_reuses_the_analysis(rows: Rows) -> None:
    config = analysis_config(VOICE)
    other = rows([(0.0, 9.0, 9)], language="fr", output="one.fr.mp4")
    assert analysis_unit(rows(), config) == analysis_unit(other, config)


def test_the_same_picture_under_another_name_is_the_same_analysis(rows: Rows, tmp_path: Path) -> None:
    config, title = analysis_config(VOICE), rows()
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(b"film")
    moved = dataclasses.replace(title, row=title.row.model_copy(update={"title_id": "copy", "video": copy}))
    assert analysis_unit(title, config).unit_id == analysis_unit(moved, config).unit_id


@pytest.mark.parametrize("other", [voice(crop_px=128), voice(window="whole_face"), voice(topology="ibug68")])
def test_a_voice_that_sees_faces_otherwise_needs_its_own_analysis(rows: Rows, other: Voice) -> None:
    here, there = (analysis_unit(rows(), analysis_config(v)).unit_id for v in (VOICE, other))
    assert here != there


def test_a_voice_with_other_weights_reuses_the_analysis(rows: Rows) -> None:
    config = analysis_config(voice(digest="e" * 64, checkpoint="/other"))
    assert analysis_unit(rows(), config) == analysis_unit(rows(), analysis_config(VOICE))


def test_another_version_of_the_landmark_backend_needs_another_analysis(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = analysis_unit(rows(), analysis_config(VOICE)).unit_id
    monkeypatch.setattr(MediapipeMesh, "version", "another")
    assert analysis_unit(rows(), analysis_config(VOICE)).unit_id != before


def test_landmarks_are_found_by_the_backend_that_the_checkpoint_was_trained_on() -> None:
    assert analysis_config(VOICE).faces.backend == "mediapipe"
    assert analysis_config(voice(topology="ibug68")).faces.backend == "face-alignment"


# -- clips -------------------------------------------------------------------------------------------------------------


def test_there_is_a_unit_for_each_clip_in_which_a_face_speaks(rows: Rows, analysis: Analysis) -> None:
    units = renders(rows(), analysis)
    assert [(u.payload["track"], u.payload["first"], u.payload["rows"]) for u in units] == [
        (0, 0, [[0, 250]]),
        (1, 0, [[0, 250]]),
        (3, 0, [[0, 150]]),
        (3, 150, [[0, 150]]),
    ]
    known = {entry.key for entry in receipt_of(analysis).samples}
    assert {unit.payload["clip"]["key"] for unit in units} < known


def test_a_changed_line_renders_only_its_shots(rows: Rows, analysis: Analysis) -> None:
    before = ids(renders(rows(), analysis))
    after = ids(renders(rows([LINES[0], (13.0, 16.0, 7), LINES[2]]), analysis))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def test_a_line_that_is_longer_than_a_clip_renders_all_that_hear_it(rows: Rows, analysis: Analysis) -> None:
    before = ids(renders(rows(), analysis))
    after = ids(renders(rows([*LINES[:2], (23.0, 31.0, 7)]), analysis))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, False]


def test_another_language_over_the_same_sound_renders_nothing(rows: Rows, analysis: Analysis) -> None:
    other = rows(language="fr", output="one.fr.mp4", meta={"client": "A"}, title_id="renamed")
    assert ids(renders(rows(), analysis)) == ids(renders(other, analysis))


@pytest.mark.parametrize("columns", [{"seed": 100}, {"quality": "draft"}, {"audio_offset_ms": 80}])
def test_another_seed_quality_or_offset_is_rendered_anew(
    rows: Rows, analysis: Analysis, columns: dict[str, Any]
) -> None:
    assert not set(ids(renders(rows(), analysis))) & set(ids(renders(rows(**columns), analysis)))


def test_another_voice_and_an_adapted_one_are_rendered_anew(rows: Rows, analysis: Analysis) -> None:
    before = set(ids(renders(rows(), analysis)))
    assert not before & set(ids(renders(rows(), analysis, voice(digest="e" * 64))))
    assert not before & set(ids(renders(rows(), analysis, adapted="objects/taught")))


def test_what_is_left_alone_is_not_rendered_and_what_stays_keeps_its_name(rows: Rows, analysis: Analysis) -> None:
    before = ids(renders(rows(), analysis))
    after = ids(renders(rows(excluded=[("00:00:10.000", "00:00:20.000")]), analysis))
    assert after == [before[0], *before[2:]]


def test_all_clips_of_a_shot_have_one_seed_and_shots_have_their_own(rows: Rows, analysis: Analysis) -> None:
    seeds = [unit.payload["seed"] for unit in renders(rows(seed=2**63 - 2), analysis)]
    assert seeds == [2**63 - 2, 2**63 - 1, 0, 0]


def test_only_a_persons_own_clips_are_looked_through_for_references(rows: Rows, analysis: Analysis) -> None:
    receipt = receipt_of(analysis)
    of_person = {entry.key: entry.identity for entry in receipt.samples}
    for unit in renders(rows(), analysis):
        people = {of_person[clip["key"]] for clip in unit.payload["reference_clips"]}
        assert people == {of_person[unit.payload["clip"]["key"]]}


@pytest.mark.parametrize("count", [0, 1, MAX_REFERENCE_CLIPS, MAX_REFERENCE_CLIPS + 1, 700])
def test_references_are_few_distinct_and_reach_over_the_whole_title(count: int) -> None:
    clips = [{"number": n} for n in range(count)]
    found = [clip["number"] for clip in spread(clips)]
    assert len(found) == min(count, MAX_REFERENCE_CLIPS)
    assert found == sorted(set(found))
    if count:
        assert (found[0], found[-1]) == (0, count - 1)


def test_a_picture_without_a_face_has_nothing_to_render(tmp_path: Path) -> None:
    analysis = pictures(((), 20))
    assert renders(title_of(tmp_path, analysis), analysis) == []


def test_payloads_are_plain_and_lead_to_the_files_from_any_folder(rows: Rows, analysis: Analysis) -> None:
    for unit in [analysis_unit(rows(), analysis_config(VOICE)), *renders(rows(), analysis)]:
        assert json.loads(json.dumps(unit.payload)) == unit.payload
        paths = [unit.payload[c] for c in ("video",) if c in unit.payload]
        paths += [sound["audio"] for sound in unit.payload.get("voices", ())]
        assert paths
        assert all(Path(path).is_absolute() for path in paths)


# -- titles ------------------------------------------------------------------------------------------------------------


def test_moments_are_counted_at_the_pictures_rate_from_its_first_timecode(rows: Rows) -> None:
    title = dataclasses.replace(rows(), start_timecode="10:00:00:00")
    assert title.seconds(Moment.parse("10:00:01:05")) == Fraction(6, 5)
    assert title.seconds(Moment.parse("00:00:01.500")) == Fraction(3, 2)
    with pytest.raises(RequestError, match="first frame"):
        title.seconds(Moment.parse("09:59:59:00"))
