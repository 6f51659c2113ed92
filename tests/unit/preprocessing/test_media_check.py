"""A finished file that differs in anything from what was asked is refused, and both sides are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from preprocessing.errors import MediaToolError
from preprocessing.media.chapters import Chapter
from preprocessing.media.check import Expected, check_title, timecode_of
from preprocessing.media.delivery import prepare_speech
from preprocessing.media.hdr import StaticHdr
from preprocessing.media.lineup import Lineup, Tracks, line_up
from preprocessing.media.probe import frame_times, probe, read_header
from preprocessing.media.tracks import CONTAINERS
from shards.schema import FrameTimes
from tests.support import lavfi

LANGUAGE = ("-metadata:s:a:0", "language=por")
CONTAINER = CONTAINERS[".mp4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Picture and dub, as ffmpeg puts them together."""
    folder = tmp_path_factory.mktemp("check")
    picture, speech = lavfi.video(folder / "picture.mp4"), lavfi.sine(folder / "speech.m4a")
    chapters = folder / "chapters.txt"
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n")
    inputs = ("-i", str(picture), "-i", str(speech), "-i", str(chapters), "-map", "0", "-map", "1")
    more = ("-disposition:a", "default+dub", "-metadata:s:v", "timecode=01:00:00:00", *LANGUAGE)
    return lavfi.make(folder / "finished.mp4", *inputs, "-map_chapters", "2", "-c", "copy", *more)


@pytest.fixture(scope="module")
def expected(finished: Path) -> Expected:
    folder = finished.parent
    info = probe(folder / "picture.mp4")
    times = frame_times(folder / "picture.mp4", info)
    dub = prepare_speech(folder / "speech.m4a", folder, CONTAINER, times, deadline_s=60, stall_s=20)
    header = read_header(folder / "picture.mp4", deadline_s=20)
    return Expected(
        times=times,
        container=CONTAINER,
        lineup=line_up(header, {}, 0, CONTAINER, dub, made="h264", language="pt", wanted=Tracks(), hdr=StaticHdr()),
        rotation=0,
        sample_aspect=Fraction(1),
        made=header["streams"][0],
        chapters=(Chapter(start_s=Fraction(0), end_s=Fraction(1), title="One"),),
        timecode="01:00:00:00",
        dub_offset_s=Fraction(0),
        speech=dub.path,
        speech_track=0,
    )


def test_a_file_that_is_as_asked_passes(finished: Path, expected: Expected) -> None:
    assert check_title(finished, expected, command=["ffmpeg"]) == 0


def moved(times: FrameTimes, frame: int) -> FrameTimes:
    pts = times.pts.copy()
    pts[frame] += 1
    return FrameTimes(pts=pts, base=times.base)


def dub(lineup: Lineup, **changes: Any) -> Lineup:
    picture, speech = lineup.tracks
    return dataclasses.replace(lineup, tracks=(picture, dataclasses.replace(speech, **changes)))


def picture(lineup: Lineup, **changes: Any) -> Lineup:
    first, speech = lineup.tracks
    return dataclasses.replace(lineup, tracks=(dataclasses.replace(first, **changes), speech))


CHAPTER = Chapter(start_s=Fraction(0), end_s=Fraction(1), title="Two")
WRONG: dict[str, tuple[Callable[[Expected], dict[str, Any]], str]] = {
    "a frame less": (lambda e: {"times": e.times.slice(0, 24)}, "25 frames instead of 24"),
    "a moved frame": (lambda e: {"times": moved(e.times, 3)}, r"frame 3 is shown at 0\.120000 s instead of 0\.120078"),
    "rotation": (lambda e: {"rotation": 90}, "rotation 0 instead of 90"),
    "pixels": (lambda e: {"sample_aspect": Fraction(4, 3)}, "pixels of 1 instead of 4/3"),
    "colours": (lambda e: {"made": {**e.made, "color_space": "bt2020nc"}}, "color_space .* instead of bt2020nc"),
    "length": (lambda e: {"made": {**e.made, "duration_ts": 12_000}}, r"ends at 1\.0000 s instead of 0\.9375 s"),
    "HDR": (
        lambda e: {"lineup": picture(e.lineup, hdr=StaticHdr(light=(1000, 400)))},
        r"light=None\) instead of .*light=\(1000, 400\)",
    ),
    "a codec": (lambda e: {"lineup": dub(e.lineup, codec="ac3")}, "audio aac instead of video h264, audio ac3"),
    "flags": (lambda e: {"lineup": dub(e.lineup, flags=frozenset())}, r"1 is marked default\+dub instead of nothing"),
    "language": (lambda e: {"lineup": dub(e.lineup, language="de")}, "stream 1 is in por instead of ger"),
    "region": (lambda e: {"lineup": dub(e.lineup, language="pt-br")}, "the language tag None instead of pt-BR"),
    "chapters": (lambda e: {"chapters": (*e.chapters, CHAPTER)}, "1 chapters instead of 2"),
    "a chapter's name": (lambda e: {"chapters": (CHAPTER,)}, r"chapter 'One' at 0\.000 s instead of 'Two'"),
    "timecode": (lambda e: {"timecode": "01:00:00;00"}, "timecode 01:00:00:00 instead of 01:00:00;00"),
    "the dub's start": (lambda e: {"dub_offset_s": Fraction(1, 50)}, r"moved by 0\.0000 s instead of 0\.0200 s"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_differs_is_refused_by_both_names(finished: Path, expected: Expected, what: str) -> None:
    change, words = WRONG[what]
    with pytest.raises(MediaToolError, match=words):
        check_title(finished, dataclasses.replace(expected, **change(expected)), command=["ffmpeg"])


def test_a_dub_of_other_packets_is_refused(finished: Path, expected: Expected, tmp_path: Path) -> None:
    other = lavfi.sine(tmp_path / "other.m4a", more=("-af", "volume=0.5"))
    with pytest.raises(MediaToolError, match=r"packets are not those of other\.m4a"):
        check_title(finished, dataclasses.replace(expected, speech=other), command=["ffmpeg"])


def test_all_differences_are_named_at_once(finished: Path, expected: Expected) -> None:
    wrong = dataclasses.replace(expected, rotation=90, timecode="02:00:00:00")
    with pytest.raises(MediaToolError, match="rotation 0 instead of 90; timecode 01:00:00:00 instead of 02:00:00:00"):
        check_title(finished, wrong, command=["ffmpeg"])


def test_a_timecode_is_found_however_its_tag_is_written() -> None:
    streams = [{"tags": {"TIMECODE": "01:02:03;04"}}]
    assert timecode_of({"format": {}, "streams": streams}) == "01:02:03;04"
    assert timecode_of({"format": {"tags": {"title": "x"}}, "streams": []}) is None
