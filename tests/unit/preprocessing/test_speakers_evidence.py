"""Who is heard: mouths that move with the sound, against it, or not at all."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from preprocessing.faces.base import Heard, Shot, Track
from preprocessing.speakers.evidence import listen
from shards.schema import F64, FrameTimes, Landmarks, Speech
from tests.support.fakes import DrawnFace, face_points

SECONDS = 6.0
RATE_HZ = 16_000


def syllables(seed: int) -> F64:
    """(600,) in [0, 1], a value a hundredth of a second: about five openings a second, with pauses between words."""
    rng, out = np.random.default_rng(seed), np.zeros(round(SECONDS * 100))
    at = 10
    while at < len(out) - 30:
        length = int(rng.integers(14, 26))
        out[at : at + length] = rng.uniform(0.6, 1.0) * np.sin(np.linspace(0, np.pi, length)) ** 2
        at += length + int(rng.choice([0, 2, 8]))
    return out


def voice(envelope: F64, origin_s: Fraction = Fraction(0)) -> Speech:
    """Noise that is as loud as the envelope is high."""
    loud = np.interp(np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ, np.arange(len(envelope)) / 100, envelope)
    noise = np.random.default_rng(0).normal(0, 0.2, len(loud))
    samples = np.clip(noise * loud * 32767, -32768, 32767).astype(np.int16)
    return Speech(samples=samples, rate_hz=RATE_HZ, origin_s=origin_s)


def face(opening: F64, *, fps: int = 25, unseen: slice = slice(0, 0)) -> Track:
    """A mouth that is open as wide as the envelope is high, a fifth of the eyes' distance at most."""
    at = np.arange(round(SECONDS * fps)) / fps
    wide = 0.2 * np.interp(at, np.arange(len(opening)) / 100, opening)
    points = np.stack([face_points(DrawnFace(x=100, y=100, eye_px=60, opening=float(w))) for w in wide])
    points[unseen] = np.nan
    landmarks = Landmarks(
        points=points.astype(np.float32),
        confidence=np.ones(len(at), np.float32),
        topology_name="mediapipe131",
        space="source",
    )
    return Track(shot=Shot(index=0, start=0, stop=len(at)), start=0, landmarks=landmarks)


def heard(tracks: list[Track], speech: Speech, fps: int = 25) -> Heard:
    times = FrameTimes(pts=np.arange(len(tracks[0].landmarks), dtype=np.int64) + 90, base=Fraction(1, fps))
    return listen(tracks, times, speech)


def speaks(found: Heard, number: int) -> float:
    return float(np.nanmean(found.speaking[number]))


@pytest.mark.parametrize("fps", [24, 25, 50])
def test_the_mouth_that_moves_with_the_sound_speaks_and_the_still_one_does_not(fps: int) -> None:
    found = heard([face(syllables(1), fps=fps), face(np.zeros(600), fps=fps)], voice(syllables(1)), fps)
    assert speaks(found, 0) > 0.8
    assert speaks(found, 1) < 0.1
    assert all(len(values) == round(SECONDS * fps) for values in (found.voice, *found.speaking))


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_of_two_mouths_that_move_the_one_in_time_speaks(seed: int) -> None:
    found = heard([face(syllables(seed)), face(syllables(1))], voice(syllables(1)))
    assert speaks(found, 1) > speaks(found, 0) + 0.1


def test_sound_that_is_late_in_all_of_the_source_is_still_its_speakers() -> None:
    late = voice(syllables(1), origin_s=Fraction(1, 5))
    found = heard([face(syllables(2)), face(syllables(1))], late)
    assert speaks(found, 1) > speaks(found, 0) + 0.1


def test_where_nobody_is_heard_nobody_speaks() -> None:
    envelope = syllables(1)
    envelope[300:] = 0
    found = heard([face(syllables(1))], voice(envelope))
    assert found.voice[100:].max() == 0
    assert found.speaking[0][110:].max() == 0
    assert found.speaking[0][:60].mean() > 0.8


def test_digital_silence_and_no_sound_at_all_are_silence() -> None:
    for samples in (np.zeros(0, np.int16), np.zeros(96_000, np.int16)):
        found = heard([face(syllables(1))], dataclasses.replace(voice(syllables(1)), samples=samples))
        assert found.voice.max() == 0
        assert found.speaking[0].max() == 0


def test_of_a_face_that_is_not_seen_nothing_is_known() -> None:
    found = heard([face(syllables(1), unseen=slice(40, 50))], voice(syllables(1)))
    assert np.flatnonzero(np.isnan(found.speaking[0])).tolist() == list(range(40, 50))


def test_a_track_of_one_frame_has_its_evidence() -> None:
    whole = face(syllables(1))
    short = dataclasses.replace(whole, start=70, landmarks=whole.landmarks.slice(70, 71))
    found = heard([whole, short], voice(syllables(1)))
    assert found.speaking[1].shape == (1,)
    assert np.isfinite(found.speaking[1]).all()


def test_a_source_without_faces_still_has_a_voice() -> None:
    times = FrameTimes(pts=np.arange(150, dtype=np.int64), base=Fraction(1, 25))
    found = listen([], times, voice(syllables(1)))
    assert found.voice.mean() > 0.5
    assert found.speaking == ()


def test_a_long_sound_is_searched_for_voices_block_by_block_and_none_is_lost_between() -> None:
    once = voice(syllables(1))
    long = dataclasses.replace(once, samples=np.tile(once.samples, 22))
    times = FrameTimes(pts=np.arange(round(22 * SECONDS * 25), dtype=np.int64), base=Fraction(1, 25))
    found = listen([], times, long).voice.reshape(22, -1)
    whole = heard([face(syllables(1))], once).voice
    assert found.shape[1] == len(whole)
    # Where one copy ends and the next begins there is another pause than at the ends of a single one.
    assert (np.abs(found - whole)[:, 15:-15].mean(axis=1) < 0.05).all()
