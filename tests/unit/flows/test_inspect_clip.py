"""A clip's facts, and the picture and video beside them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from flows.explain.clip import clip_facts, write_whole
from flows.explain.clip_video import CURVES_PX, FACE_PX, frame_rate, write_clip_video
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from shards.errors import RequestError
from tests.support.clips import make_clip


def test_the_facts_name_where_the_clip_is_from_and_what_was_made(tmp_path: Path) -> None:
    facts = clip_facts(make_clip(7, frames=10), tmp_path / "clip.png", None)
    assert (facts["frames"], facts["seconds"], facts["source"]) == (10, 0.4, "source-7.mp4")
    assert facts["span"] == "3.000 to 3.400 s of the source"
    assert facts["picture"] == str(tmp_path / "clip.png")
    assert "video" not in facts
    assert [path.name for path in tmp_path.iterdir()] == ["clip.png"]


def test_the_video_has_every_frame_and_the_sound_of_just_these_frames(tmp_path: Path) -> None:
    clip = make_clip(7, frames=20)
    write_clip_video(tmp_path / "clip.mp4", clip)
    info = probe(tmp_path / "clip.mp4")
    assert info.video is not None
    assert (info.video.codec, info.video.pix_fmt, info.video.num_frames) == ("h264", "yuv420p", 20)
    assert (info.video.width, info.video.height) == (FACE_PX, FACE_PX + CURVES_PX)
    assert [track.codec for track in info.audio] == ["aac"]
    assert float(info.duration_s) == pytest.approx(0.8, abs=0.05)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_sound_of_the_video_starts_with_the_first_frame(tmp_path: Path) -> None:
    clip = make_clip(7, frames=25)
    clip.speech.samples[:] = 0
    # The clip's sound begins 0.1 s before its first frame: this is a click at 0.5 s of the clip.
    click = round(0.6 * clip.speech.rate_hz)
    clip.speech.samples[click : click + 160] = 20_000
    write_clip_video(tmp_path / "clip.mp4", clip)
    heard = read_speech(tmp_path / "clip.mp4", rate_hz=16_000)
    at = float(np.argmax(np.abs(heard.samples.astype(int)))) / heard.rate_hz + float(heard.origin_s)
    assert at == pytest.approx(0.505, abs=0.02)


def test_the_cursor_runs_along_the_curves(tmp_path: Path) -> None:
    write_clip_video(tmp_path / "clip.mp4", make_clip(7, frames=20))
    source = FfmpegSource(tmp_path / "clip.mp4", probe(tmp_path / "clip.mp4"))
    try:
        first, last = (frame.rgb[FACE_PX + 4] for frame in source.frames(0, 20) if frame.index in (0, 19))
    finally:
        source.close()
    assert int(first.sum(axis=1).argmin()) < FACE_PX * 0.15
    assert int(last.sum(axis=1).argmin()) > FACE_PX * 0.8


def test_the_rate_is_the_clips_own() -> None:
    assert frame_rate(make_clip(1, frames=5)) == Fraction(25)
    assert frame_rate(make_clip(1, frames=1)) == Fraction(25)


def test_a_video_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Valid: \.mp4"):
        write_clip_video(tmp_path / "clip.gif", make_clip(1))
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.png", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "folder"]
