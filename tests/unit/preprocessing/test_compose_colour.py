"""Colours are matched where both pictures show the same, and only as far as that proves something."""

from __future__ import annotations

import cv2
import numpy as np

from preprocessing.compose.colour import match_colours


def pair() -> tuple[np.ndarray, np.ndarray]:
    """A soft picture, and a ring in it."""
    rng = np.random.default_rng(3)
    rgb = 120 + cv2.GaussianBlur(rng.normal(0, 300, (80, 80, 3)), (0, 0), 5).astype(np.float32)
    y, x = np.mgrid[0:80, 0:80]
    radius = np.hypot(x - 40, y - 40)
    return rgb, ((radius > 25) & (radius < 33)).astype(np.float32)


def test_a_gain_and_an_offset_are_found() -> None:
    rgb, ring = pair()
    gain, offset = np.array([0.9, 1.0, 1.1], np.float32), np.array([12, -7, 0], np.float32)
    match = match_colours((rgb - offset) / gain, rgb, ring)
    # Within a tenth of the gain: a ring with little contrast is not believed wholly.
    np.testing.assert_allclose(match.gain, gain, atol=0.06)
    low = match.apply((rgb - offset) / gain)[ring > 0]
    assert np.abs(low - rgb[ring > 0]).mean() < 1


def test_equal_pictures_are_left_alone() -> None:
    rgb, ring = pair()
    match = match_colours(rgb, rgb, ring)
    np.testing.assert_allclose(match.gain, 1, atol=1e-4)
    np.testing.assert_allclose(match.offset, 0, atol=1e-2)


def test_what_lies_inside_the_ring_has_no_say() -> None:
    rgb, ring = pair()
    other = rgb.copy()
    other[20:60, 20:60][ring[20:60, 20:60] == 0] = 255
    match = match_colours(other, rgb, ring)
    np.testing.assert_allclose(match.apply(rgb)[ring > 0], rgb[ring > 0], atol=0.5)


def test_grain_does_not_lower_the_gain() -> None:
    rgb, ring = pair()
    grain = np.random.default_rng(9).normal(0, 12, rgb.shape).astype(np.float32)
    assert match_colours(rgb + grain, rgb, ring).gain.min() > 0.85


def test_a_ring_that_is_hardly_there_proves_nothing() -> None:
    rgb, ring = pair()
    few = np.zeros_like(ring)
    few[:7, :9] = 1
    match = match_colours(rgb + 50, rgb, few)
    assert (match.gain == 1).all()
    assert (match.offset == 0).all()


def test_a_flat_ring_moves_the_offset_only() -> None:
    flat, ring = np.full((80, 80, 3), 90, np.float32), pair()[1]
    match = match_colours(flat, flat + 15, ring)
    np.testing.assert_allclose(match.gain, 1, atol=1e-3)
    np.testing.assert_allclose(match.offset, 15, atol=0.1)


def test_the_gain_stays_within_reason() -> None:
    rgb, ring = pair()
    assert match_colours((rgb - 120) / 5 + 120, rgb, ring).gain.max() <= 1.25
