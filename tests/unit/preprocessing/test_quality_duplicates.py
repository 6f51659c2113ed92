"""Copies are told from clips that only look alike, and the order of the clips plays no part."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from preprocessing.quality.duplicates import HASH_SCORES, look_scores, twins
from shards.schema import U8


def film(seed: int, frames: int = 50, side: int = 64) -> U8:
    """One face that moves by chance: a few smooth blobs; `seed` is the motion, the face is always the same."""
    y, x = np.mgrid[0:side, 0:side] / side
    path = np.cumsum(np.random.default_rng(seed).normal(0, 0.02, (frames, 3, 2)), axis=0)
    places = np.array([[0.3, 0.3], [0.7, 0.4], [0.5, 0.8]]) + path
    grey = [
        sum(90 * np.exp(-40 * ((x - px) ** 2 + (y - py) ** 2)) for px, py in frame) + 60 * y + 20 for frame in places
    ]
    return np.clip(np.stack(grey)[..., None].repeat(3, axis=3), 0, 255).astype(np.uint8)


def copied(frames: U8, side: int) -> U8:
    """Another size and brightness, through a poor JPEG."""
    out = []
    for frame in frames:
        small = np.clip(1.1 * cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) + 8, 0, 255)
        out.append(cv2.imdecode(cv2.imencode(".jpg", small.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1))
    return np.stack(out)


def scores(frames: U8, face_px: float = 100.0) -> dict[str, float]:
    return look_scores(frames) | {"face_px": face_px}


def test_a_hash_is_four_whole_numbers_a_float_keeps() -> None:
    found = look_scores(film(0))
    assert tuple(found) == HASH_SCORES
    assert all(value == int(value) and 0 <= value < 2**48 for value in found.values())
    assert look_scores(film(0)) == found


@pytest.mark.parametrize("side", [48, 96])
def test_another_size_and_encoding_is_a_copy_and_another_moment_of_the_same_face_is_not(side: int) -> None:
    keys, of = ["a", "b", "c"], [scores(film(0)), scores(copied(film(0), side), 60.0), scores(film(1))]
    (left_out,) = twins(keys, of, 24).items()
    assert left_out[0] == "b"
    assert (left_out[1].code, left_out[1].threshold) == ("duplicate", 24)
    assert left_out[1].value is not None
    assert left_out[1].value <= 24
    assert "clip a" in left_out[1].detail


def test_the_same_mean_picture_with_another_motion_is_no_copy() -> None:
    assert not twins(["a", "b"], [scores(film(0)), scores(film(0)[::-1])], 24)


def test_a_clip_of_another_length_is_no_copy_of_its_beginning() -> None:
    assert not twins(["a", "b"], [scores(film(0)), scores(film(0)[:25])], 24)


def test_who_stays_does_not_depend_on_the_order() -> None:
    of = {"a": scores(film(0), 60), "b": scores(copied(film(0), 48), 120), "c": scores(copied(film(0), 96), 60)}
    of |= {"d": scores(film(3)), "e": scores(film(4))}
    found = [twins(order, [of[key] for key in order], 24) for order in itertools.permutations(of)]
    assert all(set(f) == {"a", "c"} for f in found)
    assert all(f == found[0] for f in found)


def word_scores(bits: int) -> dict[str, float]:
    """A hash of which the first `bits` bits are set."""
    return {name: float((1 << min(max(bits - 48 * k, 0), 48)) - 1) for k, name in enumerate(HASH_SCORES)}


def test_nobody_is_left_out_for_one_who_does_not_stay() -> None:
    # b is near a, c is near b but not near a: c stays.
    found = twins(["a", "b", "c"], [word_scores(0), word_scores(10), word_scores(20)], 12)
    assert set(found) == {"b"}


@pytest.mark.parametrize(("differing", "is_copy"), [(12, True), (13, False)])
def test_the_threshold_itself_is_a_copy(differing: int, is_copy: bool) -> None:
    assert bool(twins(["a", "b"], [word_scores(0), word_scores(differing)], 12)) is is_copy


def test_no_threshold_keeps_even_equal_clips() -> None:
    assert twins(["a", "b"], [word_scores(5), word_scores(5)], -1) == {}


def test_a_clip_without_a_hash_is_nobody_s_twin() -> None:
    assert twins(["a", "b"], [{"face_px": 9.0}, {"face_px": 9.0}], 24) == {}
    assert twins([], [], 24) == {}
