"""Who speaks the new sound; and that every other frame of every face has exactly one reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.casting import CAST, REASONS, Cast, cast_of, runs
from flows.hearing import Speeches
from preprocessing.faces.base import Analysis
from preprocessing.faces.identify import Look
from tests.support.cast import ANN, ANN_ID, BOB, BOB_ID, listened, pictures, receipt_of, sound, title_of

ALONE = ((ANN,), 100)
BOTH = ((ANN, BOB), 100)


def cast(folder: Path, analysis: Analysis, **columns: object) -> Cast:
    looks = columns.pop("looks", None)
    title = title_of(folder, analysis, **columns)
    more = {"looks": looks} if looks else {}
    found = cast_of(title, analysis, receipt_of(analysis), Speeches(), **more)  # type: ignore[arg-type]
    told_once(found, analysis)
    return found


def told_once(found: Cast, analysis: Analysis) -> None:
    """Every row of every track is cast, or has one reason."""
    told = {n: np.zeros(len(t.track.landmarks), dtype=int) for n, t in enumerate(analysis.tracks)}
    for part in found.parts:
        for start, stop in part.rows:
            told[part.piece.number][part.piece.rows()][start:stop] += 1
    for left in found.left:
        assert left.code in REASONS
        assert left.span is not None
        name = left.detail.partition(":")[0]
        for number, aligned in enumerate(analysis.tracks):
            pts = analysis.times.pts[aligned.track.start : aligned.track.stop]
            if aligned.identity == name:
                told[number] += (pts >= left.span.start.pts) & (pts < left.span.end.pts)
    assert all((count == 1).all() for count in told.values())


def dubbed(found: Cast) -> dict[str, list[tuple[int, int]]]:
    """Identity -> source frames that are dubbed."""
    out: dict[str, list[tuple[int, int]]] = {}
    for part in found.parts:
        ranges = [(part.piece.start + a, part.piece.start + b) for a, b in part.rows]
        out.setdefault(part.piece.aligned.identity, []).extend(ranges)
    return out


def codes(found: Cast) -> set[str]:
    return {left.code for left in found.left}


# -- by the source's own sound -----------------------------------------------------------------------------------------


def test_one_face_that_speaks_anywhere_in_its_shot_is_dubbed_throughout(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(ALONE), {0: [(60, 90)]}))
    assert dubbed(found) == {ANN_ID: [(0, 100)]}
    assert found.left == []


def test_one_face_that_listens_to_a_voice_off_screen_is_left_alone(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(ALONE), {}))
    assert dubbed(found) == {}
    assert codes(found) == {"not_speaking"}


def test_two_faces_are_dubbed_in_their_turns(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(BOTH), {0: [(0, 40)], 1: [(40, 100)]}))
    assert dubbed(found) == {ANN_ID: [(0, 40)], BOB_ID: [(40, 100)]}
    assert [(left.code, left.detail.partition(":")[0]) for left in found.left] == [
        ("other_speaker", BOB_ID),
        ("other_speaker", ANN_ID),
    ]


def test_a_face_beside_the_speaker_is_left_alone(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(BOTH), {1: [(0, 100)]}))
    assert dubbed(found) == {BOB_ID: [(0, 100)]}
    assert codes(found) == {"other_speaker"}


def test_two_faces_that_listen_are_left_alone(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(BOTH), {}))
    assert dubbed(found) == {}
    assert codes(found) == {"not_speaking"}


def test_the_new_line_may_reach_into_a_shot_in_which_the_speaker_paused(tmp_path: Path) -> None:
    voice = np.concatenate([np.ones(100), np.zeros(50)]).astype(np.float32)
    found = cast(tmp_path, listened(pictures(ALONE, ((ANN,), 50)), {0: [(0, 100)]}, voice))
    assert dubbed(found) == {ANN_ID: [(0, 100), (100, 150)]}


def test_who_never_speaks_in_the_title_does_not_speak_in_a_pause_of_it_either(tmp_path: Path) -> None:
    voice = np.concatenate([np.ones(100), np.zeros(50)]).astype(np.float32)
    spoken = listened(pictures(ALONE, ((BOB,), 50)), {0: [(0, 100)]}, voice)
    found = cast(tmp_path, spoken)
    assert dubbed(found) == {ANN_ID: [(0, 100)]}
    assert codes(found) == {"not_speaking"}


@pytest.mark.parametrize("deaf", ["no sound", "a sound without a voice"])
def test_without_an_original_voice_the_largest_face_speaks(tmp_path: Path, deaf: str) -> None:
    analysis = pictures(BOTH)
    if deaf != "no sound":
        analysis = listened(analysis, {}, np.zeros(100, dtype=np.float32))
    found = cast(tmp_path, analysis)
    assert dubbed(found) == {ANN_ID: [(0, 100)]}
    assert codes(found) == {"not_largest"}


# -- as the row says ---------------------------------------------------------------------------------------------------


def test_the_largest_face_speaks_where_that_is_asked_for(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(BOTH), {1: [(0, 100)]}), speaker_mode="largest")
    assert dubbed(found) == {ANN_ID: [(0, 100)]}


def test_nobody_speaks_where_that_is_asked_for(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(ALONE), {0: [(0, 100)]}), speaker_mode="off")
    assert (dubbed(found), codes(found)) == ({}, {"off"})


def test_only_the_asked_part_is_dubbed_and_not_what_is_excluded(tmp_path: Path) -> None:
    spoken = listened(pictures(ALONE), {0: [(0, 100)]})
    found = cast(tmp_path, spoken, start="00:00:00:10", end=3.0, excluded=[("1.0", "00:00:01.400")])
    assert dubbed(found) == {ANN_ID: [(10, 25), (35, 75)]}
    assert [left.code for left in found.left] == ["outside_range", "excluded", "outside_range"]


def test_a_map_names_the_only_people_who_may_speak(tmp_path: Path) -> None:
    spoken = listened(pictures(BOTH), {0: [(0, 40)], 1: [(40, 100)]})
    found = cast(tmp_path, spoken, speaker_map={"Bob": f"track:{BOB_ID}"})
    assert dubbed(found) == {BOB_ID: [(40, 100)]}
    assert codes(found) == {"unmapped_speaker", "other_speaker"}


def test_a_map_that_names_nobody_says_who_is_there(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(ALONE), {0: [(0, 100)]}), speaker_map={"Eve": "track:person-7"})
    assert (dubbed(found), codes(found)) == ({}, {"unmapped_speaker"})
    assert found.problems == (
        "speaker_map: 'Eve' is 'track:person-7', who is not seen in this title; it shows person-0",
    )


def test_a_speaker_is_known_by_a_picture_of_them(tmp_path: Path) -> None:
    spoken = listened(pictures(BOTH), {0: [(0, 50)], 1: [(50, 100)]})
    (bob,) = [t.look for t in spoken.tracks if t.identity == BOB_ID]
    assert bob is not None
    found = cast(
        tmp_path, spoken, speaker_map={"Bob": str(tmp_path / "bob.png")}, looks=lambda path, backend: Look(edges=bob)
    )
    assert dubbed(found) == {BOB_ID: [(50, 100)]}


def test_a_picture_of_somebody_else_is_nobodys(tmp_path: Path) -> None:
    spoken = listened(pictures(BOTH), {0: [(0, 100)]})
    stranger = Look(edges=np.zeros(512, dtype=np.float32))
    found = cast(tmp_path, spoken, speaker_map={"Eve": str(tmp_path / "eve.png")}, looks=lambda *_: stranger)
    assert dubbed(found) == {}
    assert len(found.problems) == 1


def test_a_picture_that_cannot_be_read_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "eve.png").write_bytes(b"not a picture")
    people = {"Eve": str(tmp_path / "eve.png"), "Ann": f"track:{ANN_ID}"}
    found = cast(tmp_path, listened(pictures(BOTH), {0: [(0, 100)]}), speaker_map=people)
    assert dubbed(found) == {ANN_ID: [(0, 100)]}
    (problem,) = found.problems
    assert "eve.png is not a picture" in problem


# -- segments ----------------------------------------------------------------------------------------------------------


def segments(folder: Path) -> list[dict[str, object]]:
    """Both at once for a while, each with a stem."""
    stems = {name: sound(folder / f"{name}.wav", 4.0, [(0.0, 4.0, seed)]) for name, seed in (("ann", 1), ("bob", 2))}
    return [
        {"start": 0.0, "end": 2.0, "speaker": "Ann", "audio": stems["ann"]},
        {"start": 1.0, "end": 3.0, "speaker": "Bob", "audio": stems["bob"]},
    ]


def test_two_speakers_in_one_shot_each_hear_their_own_sound(tmp_path: Path) -> None:
    people = {"Ann": f"track:{ANN_ID}", "Bob": f"track:{BOB_ID}"}
    found = cast(tmp_path, listened(pictures(BOTH), {}), segments=segments(tmp_path), speaker_map=people)
    assert dubbed(found) == {ANN_ID: [(0, 50)], BOB_ID: [(25, 75)]}
    ann, bob = ([Path(s.audio).name for s in part.sounds] for part in found.parts)
    assert (ann, bob) == (["ann.wav"], ["bob.wav"])


def test_a_face_that_speaks_in_the_source_outside_its_segments_is_dubbed_there_too(tmp_path: Path) -> None:
    people = {"Ann": f"track:{ANN_ID}", "Bob": f"track:{BOB_ID}"}
    spoken = listened(pictures(BOTH), {0: [(80, 100)]})
    found = cast(tmp_path, spoken, segments=segments(tmp_path), speaker_map=people)
    assert dubbed(found)[ANN_ID] == [(0, 50), (80, 100)]


def test_a_segment_without_a_stem_hears_the_rows_sound_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    rows = [{"start": 1.0, "end": 2.0, "speaker": "Ann"}]
    found = cast(
        tmp_path,
        listened(pictures(ALONE), {}),
        segments=rows,
        speaker_map={"Ann": f"track:{ANN_ID}"},
        audio_offset_ms=40,
    )
    (part,) = found.parts
    (heard,) = part.sounds
    assert (Path(heard.audio).name, heard.offset_ms) == ("speech.wav", 40)
    assert (float(heard.start_s or 0), float(heard.end_s or 0)) == (1.0, 2.0)


def test_speakers_that_are_not_mapped_are_found_by_ear(tmp_path: Path) -> None:
    spoken = listened(pictures(BOTH), {0: [(0, 40)], 1: [(40, 100)]})
    rows = [{"start": 0.0, "end": 1.6, "speaker": "A"}, {"start": 1.6, "end": 4.0, "speaker": "B"}]
    found = cast(tmp_path, spoken, segments=rows)
    assert dubbed(found) == {ANN_ID: [(0, 40)], BOB_ID: [(40, 100)]}
    assert found.problems == ()


def test_in_mode_map_nobody_is_found_by_ear(tmp_path: Path) -> None:
    spoken = listened(pictures(ALONE), {0: [(0, 100)]})
    found = cast(tmp_path, spoken, segments=[{"start": 0.0, "end": 4.0, "speaker": "A"}], speaker_mode="map")
    assert (dubbed(found), codes(found)) == ({}, {"unmapped_speaker"})
    assert found.problems == ("segments: nobody on screen is known to be 'A'",)


def test_a_short_gap_between_two_segments_is_dubbed_as_well(tmp_path: Path) -> None:
    rows = [{"start": 0.0, "end": 1.0, "speaker": "A"}, {"start": 1.12, "end": 2.0, "speaker": "A"}]
    people = {"A": f"track:{ANN_ID}"}
    found = cast(tmp_path, listened(pictures(ALONE), {}), segments=rows, speaker_map=people)
    assert dubbed(found) == {ANN_ID: [(0, 50)]}


# -- clips -------------------------------------------------------------------------------------------------------------


def test_a_long_track_is_cast_clip_by_clip(tmp_path: Path) -> None:
    found = cast(tmp_path, listened(pictures(((ANN,), 520)), {0: [(0, 520)]}))
    assert [(p.piece.start, p.piece.stop, p.rows) for p in found.parts] == [
        (0, 173, ((0, 173),)),
        (173, 346, ((0, 173),)),
        (346, 520, ((0, 174),)),
    ]
    assert len({p.entry.key for p in found.parts}) == 3


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", []), ("000", []), ("111", [(0, 3)]), ("0110", [(1, 3)]), ("1011", [(0, 1), (2, 4)])],
)
def test_runs_are_the_stretches_in_which_a_flag_holds(flags: str, expected: list[tuple[int, int]]) -> None:
    assert runs(np.array([flag == "1" for flag in flags], dtype=bool)) == expected
    assert CAST not in REASONS
