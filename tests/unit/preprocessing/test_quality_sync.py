"""The offset of sound against lips is found where it can be, and no confidence is claimed where it cannot."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from preprocessing.faces.base import Shot, Track
from preprocessing.landmarks.mediapipe_mesh import MediapipeMesh
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from preprocessing.quality.sync import STEP_S, pooled, source_sync, sync_curve
from shards.schema import F64, Landmarks
from tests.support.lips import articulated, babble, frame_times, landmarks, silence

GRID = Path(__file__).parents[4] / "shared/grid/clips"


def clock(frames: int, fps: float = 25.0) -> F64:
    return np.arange(frames) / fps


@pytest.mark.parametrize("late_s", [-0.4, -0.12, 0.0, 0.28, 0.5])
def test_the_offset_is_found_to_half_a_frame_with_confidence(late_s: float) -> None:
    found = sync_curve(articulated(), clock(100), babble(articulated(), late_s=late_s, margin_s=0.7)).peak()
    assert found.offset_s == pytest.approx(late_s, abs=0.0201)
    assert found.corr > 0.4
    assert found.confidence > 0.3


def test_the_rate_of_the_picture_does_not_matter() -> None:
    opening = articulated()
    fast = np.interp(clock(200, 50), clock(100), opening)
    found = sync_curve(fast, clock(200, 50), babble(opening, late_s=0.2, margin_s=0.7)).peak()
    assert found.offset_s == pytest.approx(0.2, abs=0.0201)


def test_sound_of_a_low_rate_has_fewer_bands_and_still_an_offset() -> None:
    speech = babble(articulated(), late_s=-0.16, margin_s=0.7, rate_hz=8_000)
    assert sync_curve(articulated(), clock(100), speech).peak().offset_s == pytest.approx(-0.16, abs=0.0201)


def test_foreign_sound_gives_no_confidence() -> None:
    sounds = (babble(articulated(seed=seed), margin_s=0.7) for seed in range(1, 9))
    found = [sync_curve(articulated(), clock(100), sound).peak() for sound in sounds]
    own = sync_curve(articulated(), clock(100), babble(articulated(), margin_s=0.7)).peak()
    assert max(f.confidence for f in found) < 0.3 < own.confidence


@pytest.mark.parametrize("late_s", [0.6, 0.9, -0.8])
def test_an_offset_at_the_end_of_the_search_is_not_believed(late_s: float) -> None:
    found = sync_curve(articulated(), clock(100), babble(articulated(), late_s=late_s, margin_s=0.7)).peak()
    assert found.confidence < 0.3


def test_a_clip_no_longer_than_the_search_says_nothing() -> None:
    short = articulated(28)
    assert sync_curve(short, clock(28), babble(short, margin_s=0.7)).peak().confidence == 0


@pytest.mark.parametrize("frames", [0, 1, 8, 60])
def test_a_still_mouth_or_hardly_a_moment_has_no_correlation_and_no_offset(frames: int) -> None:
    found = sync_curve(np.full(frames, 0.1), clock(frames), babble(articulated(), margin_s=0.7)).peak()
    assert (found.offset_s, found.corr, found.confidence) == (0.0, 0.0, 0.0)


def test_digital_silence_has_no_offset() -> None:
    assert sync_curve(articulated(), clock(100), silence(4)).peak().confidence == 0


def test_clips_of_one_source_are_surer_together() -> None:
    opening, noisy = articulated(400), articulated(400) + articulated(400, seed=3)
    speech = babble(noisy, late_s=0.2, margin_s=0.7)
    parts = [sync_curve(opening[k : k + 100], clock(400)[k : k + 100], speech) for k in range(0, 400, 100)]
    together = pooled(parts).peak()
    assert together.offset_s == pytest.approx(0.2, abs=0.0201)
    assert together.confidence > np.mean([part.peak().confidence for part in parts])


def test_nothing_pooled_is_nothing_found() -> None:
    assert pooled([]).peak().confidence == 0


def test_a_source_is_measured_over_its_tracks_on_its_own_clock() -> None:
    opening = articulated(300)
    times = dataclasses.replace(frame_times(300), pts=frame_times(300).pts + 7_000)
    tracks = [track(landmarks(opening[a:b]), a) for a, b in ((0, 120), (150, 300))]
    found = source_sync(tracks, times, babble(opening, late_s=-0.24))
    assert found.offset_s == pytest.approx(-0.24, abs=0.0201)
    assert found.confidence > 0.3


def track(marks: Landmarks, start: int) -> Track:
    source = dataclasses.replace(marks, space="source")
    return Track(shot=Shot(index=0, start=start, stop=start + len(marks)), start=start, landmarks=source)


@pytest.mark.footage
@pytest.mark.parametrize("name", ["s1__bbaf2n", "s1__bgbbzn"])
def test_real_speech_shifted_by_seven_frames_is_found_to_one_frame(name: str) -> None:
    path = GRID / f"{name}.mkv"
    if not path.is_file():
        pytest.skip("the real clips beside the project are not here")
    source = FfmpegSource.normalised(path, probe(path), fps=25, max_side_px=640)
    backend = MediapipeMesh(1)
    backend.setup()
    seen = [backend.infer(frame.rgb[None])[0][0].points for frame in source.frames()]
    backend.close()
    ones = np.ones(len(seen), dtype=np.float32)
    marks = Landmarks(points=np.stack(seen), confidence=ones, topology_name="mediapipe131", space="source")
    speech = read_speech(path, zero_s=source.times.at(0).seconds)
    late = dataclasses.replace(speech, origin_s=speech.origin_s + Fraction(7, 25))
    source.close()
    for sound, offset_s in ((speech, 0.0), (late, 0.28)):
        found = source_sync([track(marks, 0)], source.times, sound)
        assert abs(found.offset_s - offset_s) <= 0.04 + float(STEP_S) / 100
