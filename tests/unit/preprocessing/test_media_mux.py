"""A finished title has the new picture and the delivered speech, and everything else as it was."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from preprocessing.errors import MediaToolError
from preprocessing.media.mux import MuxReport, Tracks, mux
from preprocessing.media.probe import probe_with_times, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from tests.support import lavfi


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mux")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """Picture, two languages of sound, subtitles, chapters, a title and a timecode; its name could be an option."""
    film = lavfi.video(folder / "film.mp4", seconds=2.0, sound=True)
    (folder / "a.srt").write_text("1\n00:00:00,100 --> 00:00:01,000\nHello\n")
    (folder / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=The Film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n"
    )
    inputs = ("-i", str(film), "-i", str(folder / "a.srt"), "-i", str(folder / "meta.txt"))
    maps = ("-map", "0:v", "-map", "0:a", "-map", "0:a", "-map", "1", "-map_metadata", "2", "-map_chapters", "2")
    tags = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fre", "-metadata:s:s:0", "language=eng")
    coding = ("-c", "copy", "-c:s", "mov_text", "-disposition:a:1", "comment", "-metadata:s:v:0", "language=eng")
    more = ("-timecode", "01:02:03:04", "-write_tmcd", "1")
    return lavfi.make(folder / "-y Übung: 影片.mp4", *inputs, *maps, *tags, *coding, *more)


@pytest.fixture(scope="module")
def speech(folder: Path) -> Path:
    return lavfi.sine(folder / "speech.m4a", seconds=1.9)


def finish(source: Path, speech: Path, out: Path, *, picture: Path | None = None, **options: Any) -> MuxReport:
    """The source's own picture as the new one, unless another is given."""
    info, times = probe_with_times(source)
    assert times is not None
    new = picture or lavfi.make(out.with_name("picture.mov"), *("-i", file_url(source), "-map", "0:v:0", *EXACT))
    return mux(new, source, speech, out, info, times=times, **options)


EXACT = ("-c", "copy", "-copyts", "-map_metadata", "-1", "-movie_timescale", "12800")


def sound(path: Path, stream: str) -> bytes:
    """The packets' own bytes."""
    return run_media(
        ffmpeg_command("-i", file_url(path), "-map", stream, "-c", "copy", "-f", "hash", "pipe:1"), deadline_s=20
    ).stdout


@pytest.fixture(scope="module")
def finished(source: Path, speech: Path, folder: Path) -> tuple[MuxReport, dict[str, Any]]:
    out = folder / "-o 50%d.mp4"
    return finish(source, speech, out, language="pt-BR"), read_header(out, deadline_s=20)


Finished = tuple[MuxReport, dict[str, Any]]


def streams(header: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [s for s in header["streams"] if s["codec_type"] == kind]


class TestAFinishedTitle:
    def test_the_speech_is_the_given_file_bit_for_bit(self, finished: Finished, speech: Path) -> None:
        assert finished[0].speech == "copied"
        assert sound(finished[0].path, "0:a:0") == sound(speech, "0:a:0")

    def test_the_other_sounds_follow_untouched(self, finished: Finished, source: Path) -> None:
        assert len(streams(finished[1], "audio")) == 3
        assert [sound(finished[0].path, f"0:a:{n}") for n in (1, 2)] == [sound(source, f"0:a:{n}") for n in (0, 1)]

    def test_the_dub_is_the_default_in_its_language(self, finished: Finished) -> None:
        dub, first, second = streams(finished[1], "audio")
        assert [a["disposition"]["default"] for a in (dub, first, second)] == [1, 0, 0]
        assert [a["tags"]["language"] for a in (dub, first, second)] == ["por", "eng", "fre"]
        assert second["disposition"]["comment"] == 1

    def test_subtitles_chapters_title_and_timecode_are_kept(self, finished: Finished) -> None:
        header = finished[1]
        assert [s["tags"]["language"] for s in streams(header, "subtitle")] == ["eng"]
        assert [c["tags"]["title"] for c in header["chapters"]] == ["One", "Two"]
        assert header["format"]["tags"]["title"] == "The Film"
        assert streams(header, "video")[0]["tags"]["timecode"] == "01:02:03:04"
        assert streams(header, "video")[0]["tags"]["language"] == "eng"

    def test_every_frame_keeps_its_time(self, finished: Finished, source: Path) -> None:
        ours, theirs = (probe_with_times(p)[1] for p in (finished[0].path, source))
        assert ours is not None
        assert theirs is not None
        assert [ours.at(i).seconds for i in range(len(ours))] == [theirs.at(i).seconds for i in range(len(theirs))]

    def test_the_report_says_what_is_in_it(self, finished: Finished) -> None:
        report = finished[0]
        assert report.streams == ("video h264", "audio aac", "audio aac", "audio aac", "subtitle mov_text")
        assert report.av_delta_s == 0
        assert report.notes == ()

    def test_nothing_is_left_beside_it(self, finished: Finished) -> None:
        assert not [p.name for p in finished[0].path.parent.iterdir() if p.name.startswith(".")]


def test_other_sounds_are_left_out_when_asked(source: Path, speech: Path, tmp_path: Path) -> None:
    report = finish(source, speech, tmp_path / "t.mp4", tracks=Tracks(keep_audio=False))
    assert report.streams == ("video h264", "audio aac", "subtitle mov_text")
    assert len(report.notes) == 2


def test_pcm_is_copied_where_it_may_be_and_shorter_speech_is_left(tmp_path: Path) -> None:
    source = lavfi.video(tmp_path / "s.mov", seconds=0.8)
    report = finish(source, lavfi.sine(tmp_path / "speech.wav", seconds=0.6), tmp_path / "t.mov")
    assert report.speech == "copied"
    assert report.streams == ("video h264", "audio pcm_s16le")
    assert report.notes == ("the speech ends 0.200 s before the picture",)


def test_pcm_is_encoded_once_where_it_may_not_be(tmp_path: Path) -> None:
    source = lavfi.video(tmp_path / "s.mp4", seconds=0.8)
    report = finish(source, lavfi.sine(tmp_path / "speech.wav", seconds=0.8, rate_hz=44_100), tmp_path / "t.mp4")
    assert report.speech == "aac 44100 Hz 2 channels"
    assert "mp4 carries no pcm_s16le" in report.notes[0]


def test_longer_speech_is_cut_at_the_pictures_end(tmp_path: Path) -> None:
    source = lavfi.video(tmp_path / "s.mov", seconds=1.0)
    report = finish(source, lavfi.sine(tmp_path / "long.wav", seconds=1.5), tmp_path / "t.mov")
    info, times = probe_with_times(report.path)
    assert times is not None
    assert len(times) == 25
    assert info.audio[0].duration_s is not None
    assert abs(info.audio[0].duration_s - 1) < Fraction(3, 100)
    assert "0.500 s longer" in report.notes[0]


@pytest.mark.parametrize("ending", ["m4a", "mp3"])
def test_speech_starts_with_the_picture_also_when_that_starts_late(tmp_path: Path, ending: str) -> None:
    source = lavfi.video(tmp_path / "s.mp4", seconds=1.0, more=("-output_ts_offset", "0.4"), sound=True)
    report = finish(source, lavfi.sine(tmp_path / f"speech.{ending}", seconds=0.9), tmp_path / "t.mp4")
    assert abs(report.av_delta_s) < Fraction(1, 1000)


def test_the_rotation_flag_is_kept(tmp_path: Path, speech: Path) -> None:
    plain = lavfi.video(tmp_path / "p.mp4", seconds=0.4)
    source = lavfi.turned(tmp_path / "s.mp4", plain, 90)
    report = finish(source, speech, tmp_path / "t.mp4", picture=plain)
    made = probe_with_times(report.path)[0].video
    assert made is not None
    assert made.rotation == 90


def test_an_uneven_rate_is_kept_tick_for_tick(tmp_path: Path, speech: Path) -> None:
    source = lavfi.uneven(tmp_path / "s.mp4")
    report = finish(source, speech, tmp_path / "t.mp4")
    ours, theirs = (probe_with_times(p)[1] for p in (report.path, source))
    assert ours is not None
    assert theirs is not None
    assert (ours.pts == theirs.pts).all()
    assert ours.base == theirs.base


def test_what_a_container_cannot_carry_is_left_out_with_a_note(source: Path, speech: Path, tmp_path: Path) -> None:
    report = finish(source, speech, tmp_path / "t.mkv")
    assert [s for s in report.streams if s.startswith("subtitle")] == []
    assert "mov_text" in report.notes[0]


def test_a_picture_with_other_times_is_refused_and_leaves_no_file(source: Path, speech: Path, tmp_path: Path) -> None:
    other = lavfi.video(tmp_path / "other.mp4", seconds=1.96)
    with pytest.raises(MediaToolError, match="49 frames instead of 50"):
        finish(source, speech, tmp_path / "t.mp4", picture=other)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.mp4"]
