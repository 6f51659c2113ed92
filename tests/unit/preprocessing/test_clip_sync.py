"""Sound that is off in all of a source is moved before its clips are cut, and the clips say by how much."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from shards.schema import U8, ClipSample, Speech
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw
from tests.support.lips import articulated, babble

NAMES = {"source_sha256": "ab" * 32, "source_name": "memory.mkv", "code_version": "1"}


def config(*, frames: int = 150, **sync: Any) -> PreprocessConfig:
    clip = {"min_frames": 5, "max_frames": frames}
    crop, audio = {"size_px": 64, "smooth_s": 0.0}, {"features": ["mel"]}
    return PreprocessConfig.model_validate({"clip": clip, "crop": crop, "audio": audio, "sync": sync})


def clips_of(pictures: list[U8], sound: Speech, settings: PreprocessConfig) -> list[ClipSample]:
    source = MemorySource(pictures)
    found = analyse(source, DotBackend(), settings)
    parts = cut_clips(found, source, sound, ClipTools(settings), settings, **NAMES)
    return [part for part in parts if isinstance(part, ClipSample)]


@pytest.fixture(scope="module")
def pictures() -> list[U8]:
    openings = articulated(150)
    return [draw([DrawnFace(x=120, y=90, eye_px=30, opening=float(opening))]) for opening in openings]


@pytest.fixture(scope="module")
def right() -> Speech:
    return babble(articulated(150), margin_s=1.0)


def shifted(speech: Speech, frames: int) -> Speech:
    return dataclasses.replace(speech, origin_s=speech.origin_s + Fraction(frames, 25))


@pytest.mark.parametrize("frames_late", [7, -5])
def test_sound_that_is_late_in_all_of_a_source_comes_back_in_its_place(
    frames_late: int, pictures: list[U8], right: Speech
) -> None:
    clips = clips_of(pictures, shifted(right, frames_late), config(frames=75))
    whole = clips_of(pictures, right, config(frames=75))[0]
    assert whole.scores["av_shift_s"] == 0
    assert len(clips) == 2
    for clip in clips:
        assert clip.scores["av_shift_s"] == pytest.approx(frames_late / 25, abs=0.0201)
        assert abs(clip.scores["av_offset_s"]) <= 0.04
    heard, meant = clips[0].speech.samples.astype(float), whole.speech.samples.astype(float)
    lag = int(np.correlate(heard, meant, mode="same").argmax()) - len(meant) // 2
    assert abs(lag) / 16_000 <= 0.04


def test_sound_in_its_place_stays_to_the_sample(pictures: list[U8], right: Speech) -> None:
    on, off = (clips_of(pictures, right, config(correct=correct))[0] for correct in (True, False))
    np.testing.assert_array_equal(on.speech.samples, off.speech.samples)
    assert on.scores["av_shift_s"] == 0


@pytest.mark.parametrize("sync", [{"correct": False}, {"min_confidence": 9.0}, {"min_offset_s": 0.4}])
def test_an_offset_is_only_measured_where_it_is_not_to_be_corrected_or_not_sure(
    sync: dict[str, Any], pictures: list[U8], right: Speech
) -> None:
    (clip,) = clips_of(pictures, shifted(right, 7), config(**sync))
    assert clip.scores["av_shift_s"] == 0
    assert clip.scores["av_offset_s"] == pytest.approx(0.28, abs=0.0201)


@pytest.mark.footage
def test_a_real_clip_with_its_sound_seven_frames_late_comes_back_within_one_frame() -> None:
    path = Path(__file__).parents[4] / "shared/grid/clips/s1__bgbbzn.mkv"
    if not path.is_file():
        pytest.skip("the real clips beside the project are not here")
    settings = PreprocessConfig.model_validate({"crop": {"size_px": 64}})
    source = FfmpegSource.normalised(path, probe(path), fps=25, max_side_px=640)
    right = read_speech(path, zero_s=source.times.at(0).seconds)
    with ClipTools(settings) as tools:
        found = analyse(source, tools.backend, settings)
        (clip,) = cut_clips(found, source, shifted(right, 7), tools, settings, **NAMES)
    source.close()
    assert isinstance(clip, ClipSample)
    assert abs(clip.scores["av_shift_s"] - 0.28) <= 0.0401
    assert abs(clip.scores["av_offset_s"]) <= 0.04
