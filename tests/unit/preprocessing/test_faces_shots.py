"""Cuts are found where they are, at once, and a slow change is none."""

from __future__ import annotations

import numpy as np

from preprocessing.faces.shots import find_shots
from shards.schema import U8
from tests.support.fakes import DrawnFace, MemorySource, draw


def scene(frames: int, background: int, x: float = 160) -> list[U8]:
    return [draw([DrawnFace(x=x + t, y=90)], background=background, seed=t) for t in range(frames)]


def bounds(pictures: list[U8]) -> list[tuple[int, int]]:
    return [(s.start, s.stop) for s in find_shots(MemorySource(pictures).frames(), 27.0)]


def test_a_cut_starts_a_shot_with_its_very_frame() -> None:
    assert bounds(scene(10, 40) + scene(7, 170) + scene(12, 40)) == [(0, 10), (10, 17), (17, 29)]


def test_shots_of_two_frames_are_found() -> None:
    assert bounds(scene(2, 40) + scene(2, 170)) == [(0, 2), (2, 4)]


def test_a_fade_is_no_cut() -> None:
    assert bounds([draw([], background=40 + 4 * t) for t in range(30)]) == [(0, 30)]


def test_no_frames_have_no_shots() -> None:
    assert find_shots([], 27.0) == ()


def test_numbers_are_the_source_s_own_when_reading_starts_later() -> None:
    source = MemorySource(scene(5, 40) + scene(5, 170))
    assert [(s.start, s.stop) for s in find_shots(source.frames(3), 27.0)] == [(3, 5), (5, 10)]


def test_a_large_picture_is_cut_like_a_small_one() -> None:
    large = [np.repeat(np.repeat(p, 4, axis=0), 4, axis=1) for p in scene(3, 40) + scene(3, 170)]
    assert bounds(large) == [(0, 3), (3, 6)]
