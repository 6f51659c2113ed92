"""What only the files themselves tell, told by column before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flows import plan_checks
from flows.plan_checks import Probes, unfit
from flows.rows import TitleRow
from preprocessing.media import encode
from preprocessing.media.probe import read_header
from tests.support import lavfi


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 and at 29.97 frames a second, from an hour on; a tone as long, one shorter, and a picture."""
    folder = tmp_path_factory.mktemp("media")
    lavfi.video(folder / "pal.mov", seconds=2, more=("-timecode", "01:00:00:00"))
    lavfi.video(folder / "ntsc.mov", seconds=2, fps="30000/1001", more=("-timecode", "01:00:00;00"))
    lavfi.video(folder / "plain.mp4", seconds=2, sound=True)
    lavfi.video(folder / "odd.mov", seconds=0.2, fps="24000/1001")
    lavfi.sine(folder / "tone.wav", seconds=2)
    lavfi.sine(folder / "short.wav", seconds=1.85)
    cv2.imwrite(str(folder / "ann.png"), np.zeros((8, 8, 3), dtype=np.uint8))
    (folder / "text.png").write_text("no picture")
    return folder


def row(media: Path, **columns: Any) -> TitleRow:
    given = {"video": media / "pal.mov", "audio": media / "tone.wav", "output": "one.mp4"} | columns
    return TitleRow.model_validate({"title_id": "one", "language": "es", **given})


def found(media: Path, **columns: Any) -> list[str]:
    return list(unfit(row(media, **columns), Probes()))


def turn(start: str, end: str, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "speaker": "Ann", **more}


def test_a_row_whose_files_fit_has_no_problem(media: Path) -> None:
    turns = [turn("01:00:00:00", "01:00:01:24", audio=media / "tone.wav")]
    given = {"segments": turns, "speaker_map": {"Ann": str(media / "ann.png")}, "speaker_mode": "map"}
    assert found(media, **given, start_tc="0", end_tc="2", duration_policy="fail", audio_stream=0) == []


# -- speech ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("audio", "offset_ms"), [("short.wav", 0), ("tone.wav", 120), ("short.wav", -10)])
def test_speech_of_another_length_is_refused_where_the_row_asks_to_fail(
    media: Path, audio: str, offset_ms: int
) -> None:
    (problem,) = found(media, audio=media / audio, audio_offset_ms=offset_ms, duration_policy="fail")
    assert problem.startswith("`duration_policy`: the speech ends 0.1")


@pytest.mark.parametrize(("audio", "offset_ms"), [("tone.wav", 90), ("short.wav", 60)])
def test_a_tenth_of_a_second_is_no_other_length(media: Path, audio: str, offset_ms: int) -> None:
    assert found(media, audio=media / audio, audio_offset_ms=offset_ms, duration_policy="fail") == []


@pytest.mark.parametrize(("offset_ms", "said"), [(2000, "would begin after the picture's end"), (-2000, "is over")])
def test_speech_that_would_not_be_heard_is_refused(media: Path, offset_ms: int, said: str) -> None:
    (problem,) = found(media, audio_offset_ms=offset_ms)
    assert problem.startswith("`audio_offset_ms`: the speech ")
    assert said in problem


def test_a_stream_that_is_no_sound_track_is_answered_with_those_that_are(media: Path) -> None:
    (problem,) = found(media, audio=media / "plain.mp4", audio_stream=0)
    assert problem == "`audio_stream`: no sound track of plain.mp4; valid: 1 (got 0)"
    assert found(media, audio=media / "plain.mp4", audio_stream=1) == []


def test_a_stem_without_sound_is_refused(media: Path) -> None:
    (problem,) = found(media, segments=[turn("0", "1", audio=media / "pal.mov")])
    assert problem.startswith("`segments`: no_audio: the file has no sound track (got ")


# -- moments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"start_tc": "2"}, "`start_tc`: beyond the title's end, at 2.000 s (got '2')"),
        ({"end_tc": "01:00:03:01"}, "`end_tc`: beyond the title's end, at 2.000 s (got '01:00:03:01')"),
        (
            {"segments": [turn("1", "2"), turn("4", "5")]},
            "`segments`: beyond the title's end, at 2.000 s (got '4' and 1 more)",
        ),
        ({"start_tc": "00:00:01:00"}, "`start_tc`: before the source's first frame, whose timecode is 01:00:00:00"),
        ({"end_tc": "01:00:00:25"}, "`end_tc`: there is no frame 25 in a second of 25 frames (got '01:00:00:25')"),
        ({"start_tc": "01:00:01:00", "end_tc": "0.5"}, "`end_tc`: 0.5 is not after `start_tc`, 1"),
        ({"segments": [turn("01:00:00:00", "1"), turn("1", "2")]}, ""),
        ({"segments": [turn("0", "1.5"), turn("01:00:01:00", "2")]}, "`segments`: turns 1 and 2 of Ann overlap"),
        ({"end_tc": "3"}, ""),
        ({"end_tc": "9", "duration_policy": "freeze"}, ""),
    ],
)
def test_moments_that_the_title_does_not_have_are_named(media: Path, columns: dict[str, Any], said: str) -> None:
    problems = found(media, **columns)
    assert [text[: len(said)] for text in problems] == ([said] if said else [])


def test_every_moment_that_is_wrong_is_named_at_once(media: Path) -> None:
    problems = found(media, start_tc="01:00:00:30", exclude_ranges=[["01:00:00;00", "01:00:00:40"]])
    assert [text.partition(":")[0] for text in problems] == ["`start_tc`", "`exclude_ranges`", "`exclude_ranges`"]


def test_drop_frame_labels_are_those_of_the_source(media: Path) -> None:
    ntsc = {"video": media / "ntsc.mov", "output": "one.mov"}
    assert found(media, **ntsc, start_tc="01:00:00;15", end_tc="01:00:01:29") == []
    (problem,) = found(media, **ntsc, end_tc="01:01:00;00")
    assert problem == "`end_tc`: drop-frame counting leaves this label out (got '01:01:00;00')"


def test_a_file_is_looked_at_once_for_all_its_rows(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Path] = []

    def noting(path: Path, *, deadline_s: float) -> dict[str, Any]:
        looked_at.append(path)
        return read_header(path, deadline_s=deadline_s)

    monkeypatch.setattr(plan_checks, "read_header", noting)
    probes = Probes()
    for language in ("es", "fr"):
        assert list(unfit(row(media, language=language, start_tc="01:00:00:12"), probes)) == []
    assert looked_at == [media / "pal.mov", media / "tone.wav"]
    assert probes.start_timecode(media / "pal.mov") == "01:00:00:00"


# -- picture -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"codec_policy": "mezzanine:prores_422hq"}, "`output`: mp4 carries no prores picture; valid endings: .mov, "),
        ({"codec_policy": "mezzanine:dnxhr_hqx", "output": "one.mkv"}, "`output`: matroska carries no dnxhd picture"),
        ({"video": "odd.mov", "output": "one.mkv"}, "`output`: matroska counts in whole milliseconds"),
        ({"video": "tone.wav"}, "`video`: no_video: the file has no moving picture"),
    ],
)
def test_a_picture_that_cannot_be_finished_so_is_refused(media: Path, columns: dict[str, Any], said: str) -> None:
    if "video" in columns:
        columns = columns | {"video": media / columns["video"]}
    if columns.get("codec_policy") == "mezzanine:dnxhr_hqx":
        lavfi.video(media / "large.mov", seconds=0.2, size="256x144")
        columns = columns | {"video": media / "large.mov"}
    (problem,) = found(media, **columns)
    assert problem.startswith(said)


@pytest.mark.parametrize("policy", ["match", "mezzanine:prores_422hq", "review:h264"])
def test_an_encoder_that_is_missing_is_told_before_any_work(
    media: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "encoders", frozenset)
    (problem,) = found(media, codec_policy=policy, output="one.mov")
    assert problem.startswith("`codec_policy`: this ffmpeg was built without ")
    assert problem.endswith(f"(got '{policy}')")


def test_a_reference_that_is_no_picture_is_refused(media: Path) -> None:
    places = {"Ann": str(media / "text.png"), "Bob": "track:1", "Cyd": str(media / "ann.png")}
    assert found(media, speaker_map=places) == [
        f"`speaker_map`: the reference of Ann cannot be opened as a picture (got {media / 'text.png'})"
    ]


def test_all_that_is_wrong_with_a_row_is_told_at_once(media: Path) -> None:
    problems = found(
        media,
        codec_policy="mezzanine:prores_422hq",
        end_tc="9",
        audio_stream=7,
        speaker_map={"Ann": str(media / "text.png")},
    )
    assert [text.partition(":")[0] for text in problems] == [
        "`output`",
        "`end_tc`",
        "`audio_stream`",
        "`speaker_map`",
    ]
