"""Decoding times are valid whatever order an encoder puts frames in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.media.restamp import decode_times


@given(st.permutations(range(7)), st.lists(st.integers(1, 900), min_size=7, max_size=7), st.integers(-500, 500))
def test_decoding_times_rise_and_never_pass_their_frame(order: list[int], steps: list[int], start: int) -> None:
    ticks = start + np.cumsum(np.array(steps, dtype=np.int64))
    places = np.array(order, dtype=np.int64)
    dts = decode_times(places, ticks)
    assert (np.diff(dts) > 0).all()
    assert (dts <= ticks[places]).all()


def test_frames_in_order_are_decoded_when_they_are_shown() -> None:
    ticks = np.array([0, 4, 15], dtype=np.int64)
    assert decode_times(np.arange(3), ticks).tolist() == [0, 4, 15]


def test_a_picture_that_begins_late_is_decoded_one_frame_ahead() -> None:
    ticks = np.array([5, 9, 20], dtype=np.int64)
    assert decode_times(np.arange(3), ticks).tolist() == [1, 5, 9]


def test_one_frame_moved_forward_delays_decoding_by_one() -> None:
    ticks = np.array([0, 10, 30, 40], dtype=np.int64)
    assert decode_times(np.array([0, 2, 1, 3]), ticks).tolist() == [-10, 0, 10, 30]
