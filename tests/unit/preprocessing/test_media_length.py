"""Frames give way to the speech, or do not, as the row says."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from preprocessing.media.length import DurationPolicy, output_times, picture_length_s
from shards.errors import RequestError
from shards.schema import FrameTimes


def times(pts: list[int], base: Fraction = Fraction(1, 1000)) -> FrameTimes:
    return FrameTimes(pts=np.array(pts, dtype=np.int64), base=base)


PICTURE = times([200 + 40 * n for n in range(25)])
"""One second at 25 frames a second, on a clock that begins at 0.2 s."""


def test_the_last_frame_lasts_as_long_as_the_middle_one() -> None:
    assert picture_length_s(PICTURE) == 1
    assert picture_length_s(times([0, 40, 80, 1000])) == Fraction(104, 100)


@pytest.mark.parametrize("policy", ["keep_picture", "pad_silence"])
@pytest.mark.parametrize("end_s", [Fraction(1, 2), Fraction(1), Fraction(3, 2)])
def test_a_picture_that_keeps_its_length_is_the_sources(policy: DurationPolicy, end_s: Fraction) -> None:
    assert output_times(PICTURE, end_s, policy) is PICTURE


class TestCut:
    @pytest.mark.parametrize(("end_ms", "frames"), [(500, 13), (480, 12), (480.5, 13), (1, 1), (960, 24), (961, 25)])
    def test_the_frames_that_have_begun_before_the_speech_ends_are_shown(self, end_ms: float, frames: int) -> None:
        cut = output_times(PICTURE, Fraction(end_ms) / 1000, "cut")
        assert cut.pts.tolist() == PICTURE.pts[:frames].tolist()

    def test_longer_speech_cuts_nothing(self) -> None:
        assert output_times(PICTURE, Fraction(2), "cut") is PICTURE


class TestFreeze:
    def test_the_last_frame_is_held_at_the_cadence_until_the_speech_is_over(self) -> None:
        held = output_times(PICTURE, Fraction(1090, 1000), "freeze")
        assert held.pts[:25].tolist() == PICTURE.pts.tolist()
        assert held.pts[25:].tolist() == [1200, 1240, 1280]
        assert picture_length_s(held) >= Fraction(1090, 1000)

    def test_a_rate_the_clock_cannot_hold_does_not_drift(self) -> None:
        film = times([round(n * 1001 / 24) for n in range(240)])
        held = output_times(film, Fraction(3600), "freeze")
        assert abs(int(held.pts[-1]) - (len(held) - 1) * 1001 / 24) < len(held) * 0.002
        assert set(np.diff(held.pts).tolist()) == {41, 42}

    def test_an_uneven_rate_goes_on_at_its_middle_step(self) -> None:
        uneven = times([0, 40, 80, 120, 500, 540])
        assert output_times(uneven, Fraction(3, 5), "freeze") is uneven
        assert output_times(uneven, Fraction(7, 10), "freeze").pts.tolist()[-3:] == [580, 620, 660]

    def test_a_packets_overhang_is_no_longer_speech(self) -> None:
        assert output_times(PICTURE, Fraction(1046, 1000), "freeze") is PICTURE

    def test_a_single_picture_is_held_too(self) -> None:
        held = output_times(times([7]), Fraction(1, 5), "freeze")
        assert held.pts.tolist() == [7, 47, 87, 127, 167, 207]


@pytest.mark.parametrize("end_s", [Fraction(85, 100), Fraction(115, 100)])
def test_fail_refuses_a_difference_of_more_than_a_tenth_of_a_second(end_s: Fraction) -> None:
    with pytest.raises(RequestError, match=r"0\.150 s (before|after) the picture.*Valid: keep_picture, cut"):
        output_times(PICTURE, end_s, "fail")
    assert output_times(PICTURE, Fraction(109, 100), "fail") is PICTURE


def test_speech_that_is_over_before_the_first_frame_is_refused() -> None:
    with pytest.raises(RequestError, match="audio_offset_ms"):
        output_times(PICTURE, Fraction(-1, 10), "keep_picture")
