"""Mouth motion that follows the phonemes, as a function of time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.sample.motion import FaceMotion, motion_for
from preprocessing.sample.speech import SpokenLine, TimedPhoneme
from preprocessing.sample.visemes import REST, TARGETS, targets_of
from tests.support.synthetic import spoken_line


def line_of(*symbols: str, each_s: float = 0.15) -> SpokenLine:
    said = tuple(
        TimedPhoneme(symbol=s, start_s=i * each_s, end_s=(i + 1) * each_s) for i, s in enumerate(("", *symbols, ""))
    )
    samples = np.zeros(round(said[-1].end_s * 8000), dtype=np.int16)
    return SpokenLine(samples=samples, rate_hz=8000, phonemes=said, language="en", text="".join(symbols))


def curve(motion: FaceMotion, start_s: float, end_s: float) -> np.ndarray:
    return np.array([motion.opening(t) for t in np.arange(start_s, end_s, 0.005)])


@pytest.mark.parametrize("name", ["hello.en", "hello.es", "morning.en"])
def test_lips_are_shut_in_the_middle_of_every_m_b_and_p(name: str) -> None:
    line = spoken_line(name)
    motion = motion_for(line, line.duration_s, seed=0)
    bilabials = [p for p in line.phonemes if p.symbol in ("m", "b", "p")]
    assert len(bilabials) >= 3
    for phoneme in bilabials:
        pose = motion.at((phoneme.start_s + phoneme.end_s) / 2)
        assert pose.opening < 0.02, phoneme
        assert pose.press > 0.5


@pytest.mark.parametrize("fps", [24, 25, 30, 50])
def test_at_any_common_rate_some_frame_sees_a_bilabial_shut(fps: int) -> None:
    line = line_of("a", "b", "a", each_s=0.06)
    motion = motion_for(line, line.duration_s, seed=0)
    seen = [motion.opening(k / fps) for k in range(round(line.duration_s * fps)) if 0.08 < k / fps < 0.22]
    assert min(seen) < 0.03


def test_silence_shuts_the_mouth() -> None:
    line = spoken_line("hello.en")
    motion = motion_for(line, line.duration_s + 1.0, seed=0)
    pauses = [p for p in line.phonemes if p.symbol == "" and p.end_s - p.start_s > 0.3]
    assert pauses
    for pause in pauses:
        assert motion.opening((pause.start_s + pause.end_s) / 2) < 0.02
    assert curve(motion, line.duration_s + 0.2, line.duration_s + 1.0).max() < 0.02


def test_a_face_without_a_line_keeps_its_mouth_shut_but_lives() -> None:
    motion = motion_for(None, 6.0, seed=2)
    poses = [motion.at(t) for t in np.arange(0, 6, 0.02)]
    assert max(p.opening for p in poses) == 0
    assert max(p.blink for p in poses) > 0.9
    assert np.ptp([p.head_x for p in poses]) > 0.005


def test_vowels_open_round_and_spread_the_mouth() -> None:
    middle = {}
    for vowel in "aiu":
        line = line_of("h", vowel, "h")
        middle[vowel] = motion_for(line, line.duration_s, seed=0).at(0.32)
    assert middle["a"].opening > 2 * middle["i"].opening > 2 * middle["u"].opening * 0.8
    assert middle["i"].width > 0.4 > -0.4 > middle["u"].width
    assert middle["u"].rounding > 0.5 > middle["i"].rounding


def test_f_shows_the_teeth_on_the_lip() -> None:
    line = line_of("a", "f", "a")
    assert motion_for(line, line.duration_s, seed=0).at(0.33).lift > 0.5


def test_the_seed_moves_head_and_lids_but_never_the_mouth() -> None:
    line = spoken_line("hello.en")
    one, same, other = (motion_for(line, 4.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.knots, same.knots)
    assert np.array_equal(one.knots[:, :5], other.knots[:, :5])
    assert np.abs(one.knots[:, 7:] - other.knots[:, 7:]).max() > 0.01


def test_a_longer_title_begins_with_the_same_motion() -> None:
    line = spoken_line("hello.en")
    short, long = motion_for(line, 3.0, seed=5), motion_for(line, 6.0, seed=5)
    for t in np.arange(0, 2.5, 0.07):
        assert short.at(t).blink == pytest.approx(long.at(t).blink)
        assert short.opening(t) == pytest.approx(long.opening(t), abs=1e-9)


@given(st.floats(0, 5.9), st.floats(0, 0.01))
def test_motion_has_no_jumps(time_s: float, step_s: float) -> None:
    motion = motion_for(spoken_line("hello.en"), 6.0, seed=0)
    # A jaw or a lid that crosses its whole range takes 70 ms at the least.
    for before, after in itertools.pairwise((motion.at(time_s), motion.at(time_s + step_s))):
        assert abs(after.opening - before.opening) < 0.01 + 30 * step_s
        assert abs(after.head_x - before.head_x) < 1e-6 + 0.2 * step_s


def test_symbols_are_read_letter_by_letter_without_their_marks() -> None:
    assert targets_of("aɪ") == (TARGETS["a"], TARGETS["ɪ"])  # noqa: RUF001  IPA
    assert targets_of("ˈiː") == (TARGETS["i"],)  # noqa: RUF001  IPA
    assert targets_of("ã") == (TARGETS["a"],)
    assert targets_of("") == (REST,)
    assert all(target.closure == 1 for s in "mbp" for target in targets_of(s))
