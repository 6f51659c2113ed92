"""Which frame stands at which tick of an even clock."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.errors import Unusable
from preprocessing.media.resample import even_times
from shards.schema import FrameTimes


def times(pts: list[int], base: Fraction) -> FrameTimes:
    return FrameTimes(pts=np.array(pts, dtype=np.int64), base=base)


def test_a_source_at_the_same_rate_gives_every_frame_once() -> None:
    even, shown = even_times(times([7 * 512 + 512 * n for n in range(50)], Fraction(1, 12800)), Fraction(25))
    assert shown.tolist() == list(range(50))
    assert even.at(0).seconds == Fraction(7, 25)
    assert even.at(49).seconds - even.at(0).seconds == Fraction(49, 25)


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)])
def test_rounding_to_milliseconds_drops_and_repeats_nothing(fps: Fraction) -> None:
    source = times([round(Fraction(n * 1000) / fps) for n in range(200)], Fraction(1, 1000))
    assert even_times(source, fps)[1].tolist() == list(range(200))


def test_twice_the_rate_leaves_out_every_other_frame() -> None:
    shown = even_times(times(list(range(100)), Fraction(1, 50)), Fraction(25))[1]
    assert shown.tolist() == list(range(0, 100, 2))


def test_a_long_still_stays_until_its_end() -> None:
    shown = even_times(times([0, 1, 2, 52, 53], Fraction(1, 25)), Fraction(25))[1]
    assert shown.tolist() == [0, 1, *[2] * 50, 3, 4]


def test_a_clock_that_jumps_by_a_day_is_refused_before_it_is_filled() -> None:
    with pytest.raises(Unusable, match="jumps by 86400 s after frame 1") as refused:
        even_times(FrameTimes(pts=np.array([0, 1, 86_401, 86_402], dtype=np.int64), base=Fraction(1)), Fraction(25))
    assert refused.value.rejection.code == "bad_timestamps"


def test_a_single_frame_is_one_tick() -> None:
    even, shown = even_times(times([1234], Fraction(1, 90000)), Fraction(25))
    assert (len(even), shown.tolist()) == (1, [0])


@given(
    steps=st.lists(st.integers(1, 9000), min_size=1, max_size=60),
    start=st.integers(-5000, 90000),
    den=st.sampled_from([1000, 12800, 15360, 90000, 30000]),
    fps=st.sampled_from([Fraction(25), Fraction(30), Fraction(24000, 1001)]),
)
def test_the_frame_shown_is_never_half_a_tick_early_nor_a_frame_late(
    steps: list[int], start: int, den: int, fps: Fraction
) -> None:
    source = times([start, *(start + s for s in np.cumsum(steps).tolist())], Fraction(1, den))
    even, shown = even_times(source, fps)
    half = 1 / fps / 2
    for tick in range(len(even)):
        now, index = even.at(tick).seconds, int(shown[tick])
        assert now == source.at(0).seconds + Fraction(tick) / fps
        assert index == 0 or source.at(index).seconds < now + half
        if index + 1 < len(source):
            assert source.at(index + 1).seconds >= now + half - even.base
