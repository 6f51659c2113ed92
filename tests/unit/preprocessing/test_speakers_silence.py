"""Silence: which frames stay the source's, and that a mouth that is to close really closes."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from preprocessing.quality.mouth import eye_distance, mouth_opening
from preprocessing.speakers.silence import MARGIN_S, PRESSED, Mask, closed, closing_weight, silent_at, stays_closed
from shards.schema import F32, F64, Landmarks, Speech
from tests.support.fakes import DrawnFace, face_points

FPS = 25
REFERENCES = np.array([0.01, 0.08, 0.15, 0.2, 0.3])


def faces(openings: F64 | list[float], *, turned_px: float = 0.0) -> Landmarks:
    points = np.stack([face_points(DrawnFace(x=64 + turned_px, y=40, eye_px=40, opening=float(o))) for o in openings])
    return Landmarks(
        points=points,
        confidence=np.ones(len(points), np.float32),
        topology_name="mediapipe131",
        space="crop",
    )


def at_s(count: int) -> F64:
    return np.arange(count) / FPS


def said(*lines: tuple[float, float], seconds: float = 6.0, origin_s: Fraction = Fraction(0)) -> Speech:
    samples = np.zeros(round(seconds * 16_000), dtype=np.int16)
    for start, stop in lines:
        a, b = round(start * 16_000), round(stop * 16_000)
        wave = np.random.default_rng(0).normal(0, 4000, b - a) * (1 + np.sin(np.arange(b - a) / 500)) / 2
        samples[a:b] = wave.astype(np.int16)
    return Speech(samples=samples, rate_hz=16_000, origin_s=origin_s)


def mask(text: str) -> Mask:
    return np.array([letter == "1" for letter in text])


# -- silence -----------------------------------------------------------------------------------------------------------


def test_it_is_silent_where_no_line_is_near() -> None:
    silent = silent_at(said((2.0, 3.0)), at_s(150))
    spoken = np.flatnonzero(~silent) / FPS
    assert spoken[0] == pytest.approx(2.0 - MARGIN_S, abs=0.05)
    assert spoken[-1] == pytest.approx(3.0 + MARGIN_S, abs=0.05)


def test_the_speech_is_on_its_own_clock_and_beyond_it_there_is_silence() -> None:
    silent = silent_at(said((0.0, 1.0), seconds=1.0, origin_s=Fraction(2)), at_s(150))
    assert silent[:45].all()
    assert silent[80:].all()
    assert not silent[52:73].any()


@pytest.mark.parametrize("seconds", [0.15, 0.3])
def test_a_single_word_in_a_long_silence_is_heard(seconds: float) -> None:
    silent = silent_at(said((7.0, 7.0 + seconds), seconds=14.0), at_s(350))
    spoken = np.flatnonzero(~silent) / FPS
    assert spoken[0] == pytest.approx(7.0 - MARGIN_S, abs=0.05)
    assert spoken[-1] == pytest.approx(7.0 + seconds + MARGIN_S, abs=0.05)


def test_what_echoes_far_below_the_words_is_silence() -> None:
    speech = said((1.0, 2.0))
    # It rises and falls as speech does, forty decibels and more below it.
    room = 90 * np.random.default_rng(1).normal(0, 1, len(speech.samples))
    room *= 0.2 + np.sin(np.arange(len(room)) / 3000) ** 2
    loud = np.clip(4 * speech.samples.astype(np.float64) + room, -32768, 32767)
    silent = silent_at(dataclasses.replace(speech, samples=loud.astype(np.int16)), at_s(150))
    assert silent[60:].all()
    assert not silent[30:45].any()
    alone = silent_at(dataclasses.replace(speech, samples=room.astype(np.int16)), at_s(150))
    assert not alone.all()


def test_nothing_said_at_all_is_silence() -> None:
    assert silent_at(said(), at_s(50)).all()


# -- what stays --------------------------------------------------------------------------------------------------------


def kept(openings: F64, silent: Mask) -> Mask:
    return stays_closed(faces(openings), faces(REFERENCES), silent, at_s(len(openings)))


def test_a_closed_mouth_stays_where_nothing_is_said() -> None:
    openings = np.full(100, 0.02)
    assert kept(openings, np.ones(100, bool)).all()
    assert not kept(openings, np.zeros(100, bool)).any()


def test_an_open_mouth_does_not_stay() -> None:
    openings = np.full(100, 0.2)
    assert not kept(openings, np.ones(100, bool)).any()


def test_a_mouth_that_trembles_at_the_border_stays_as_it_began() -> None:
    openings = 0.02 + 0.015 * (np.arange(100) % 2) + 0.02 * (np.arange(100) > 4)
    assert kept(openings, np.ones(100, bool)).all()


def test_no_short_stretch_is_made_between_kept_ones() -> None:
    openings = np.full(100, 0.02)
    openings[50:54] = 0.2
    assert kept(openings, np.ones(100, bool)).all()


def test_a_stretch_in_which_something_is_said_is_made_however_short() -> None:
    silent = np.ones(100, bool)
    silent[50:54] = False
    assert np.flatnonzero(~kept(np.full(100, 0.02), silent)).tolist() == [50, 51, 52, 53]


@pytest.mark.parametrize(("frames", "stays"), [(8, False), (11, False), (13, True)])
def test_no_short_stretch_is_kept_between_made_ones(frames: int, stays: bool) -> None:
    openings = np.full(100, 0.2)
    openings[40 : 40 + frames] = 0.01
    assert kept(openings, np.ones(100, bool)).any() == stays


# -- what closes -------------------------------------------------------------------------------------------------------


def test_a_longer_silence_closes_the_mouth_over_a_tenth_of_a_second_and_opens_it_in_time() -> None:
    weight = closing_weight(mask("0" * 10 + "1" * 20 + "0" * 10), at_s(40))
    assert weight[:11].max() == 0
    assert weight[30:].max() == 0
    assert (weight[13:27] == 1).all()
    assert np.abs(np.diff(weight)).max() == pytest.approx(0.4)


def test_a_short_silence_closes_nothing() -> None:
    assert closing_weight(mask("0" * 10 + "1" * 7 + "0" * 10), at_s(27)).max() == 0


def test_a_silence_that_goes_on_beyond_the_frames_is_closed_to_their_ends() -> None:
    assert closing_weight(np.ones(20, bool), at_s(20)).min() == 1


def gap(points: F32) -> F64:
    """Of the inner lips, eye units; below 0 they are pressed."""
    upper, lower = faces([0.0]).topology.inner_lip_mid
    return np.asarray((points[:, lower, 1] - points[:, upper, 1]) / eye_distance(faces([0.0])), dtype=np.float64)


@pytest.mark.parametrize("opening", [0.0, 0.05, 0.12, 0.4])
def test_the_mouth_really_closes(opening: float) -> None:
    made = faces([opening] * 5)
    left = gap(closed(made, faces(REFERENCES), np.array([0, 0.25, 0.5, 1, 1])))
    assert left[0] == pytest.approx(gap(made.points)[0])
    assert left[3:] == pytest.approx(-PRESSED * mouth_opening(faces(REFERENCES)).mean(), abs=2e-3)
    assert (np.diff(left[:4]) < 0).all()


def test_only_lips_and_jaw_move_and_they_move_as_this_mouth_does() -> None:
    made, shape = faces([0.2]), faces([0.2]).topology
    moved = closed(made, faces(REFERENCES), np.ones(1)) - made.points
    still = sorted(set(range(shape.num_points)) - set(shape.content))
    assert np.abs(moved[:, still]).max() == 0
    # The drawn face's chin goes half as far as its lower lip.
    assert moved[0, shape.chin, 1] == pytest.approx(0.5 * moved[0, shape.inner_lip_mid[1], 1], rel=0.02)


def test_without_a_mouth_seen_open_and_closed_nothing_is_moved() -> None:
    made = faces([0.2])
    np.testing.assert_array_equal(closed(made, faces([0.1, 0.1]), np.ones(1)), made.points)
    np.testing.assert_array_equal(closed(made, faces([0.1]), np.ones(1)), made.points)


def test_a_frame_in_which_the_face_is_not_seen_stays_unseen() -> None:
    made = faces([0.2, 0.2])
    made.points[1] = np.nan
    after = closed(made, faces(REFERENCES), np.ones(2))
    assert np.isfinite(after[0]).all()
    assert np.isnan(after[1]).all()
