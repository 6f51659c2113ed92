"""The crop window and its mask: fixed in crop coordinates, soft by a pixel, the same at every size."""

from __future__ import annotations

import numpy as np
import pytest

from shards.crop import WINDOWS, CropWindow, crop_window
from shards.errors import RequestError

each = pytest.mark.parametrize("window", WINDOWS.values(), ids=lambda w: w.name)


@each
def test_the_centre_of_the_window_is_the_centre_of_the_crop(window: CropWindow) -> None:
    matrix = window.matrix(64)
    np.testing.assert_allclose(matrix[:, :2] @ window.centre + matrix[:, 2], [31.5, 31.5])


@each
def test_the_window_fills_the_crop(window: CropWindow) -> None:
    matrix = window.matrix(64)
    corner = np.array(window.centre) - window.side / 2
    np.testing.assert_allclose(matrix[:, :2] @ corner + matrix[:, 2], [-0.5, -0.5], atol=1e-9)


@each
def test_the_mask_is_one_inside_zero_outside_and_symmetric(window: CropWindow) -> None:
    mask = window.mask(128)
    assert mask.shape == (128, 128)
    assert mask.dtype == np.float32
    assert mask.min() == 0
    assert mask.max() == 1
    np.testing.assert_allclose(mask, mask[:, ::-1], atol=1e-5)


@each
def test_the_mask_covers_its_box_and_leaves_the_eyes_alone(window: CropWindow) -> None:
    size = 256
    mask, matrix = window.mask(size), window.matrix(size)
    left, top, right, bottom = window.mask_box

    def at(x: float, y: float) -> float:
        column, row = np.round(matrix[:, :2] @ (x, y) + matrix[:, 2]).astype(int)
        return float(mask[row, column])

    middle = ((left + right) / 2, (top + bottom) / 2)
    assert at(*middle) == 1
    assert at(middle[0], top + 0.05) == 1
    assert at(middle[0], top - 0.05) == 0
    assert at(left + 0.05, middle[1]) == 1
    assert at(left - 0.05, middle[1]) == 0
    # A rounded corner: the box's own corner is outside.
    assert at(left + 0.03, top + 0.03) == 0
    assert at(0, 0) == 0


@each
def test_the_mask_is_the_same_shape_at_every_size(window: CropWindow) -> None:
    shares = [float(window.mask(size).mean()) for size in (64, 128, 512)]
    np.testing.assert_allclose(shares, shares[-1], rtol=0.01)


def test_the_edge_is_one_pixel_soft() -> None:
    row = crop_window("face").mask(128)[70]
    soft = np.count_nonzero((row > 0) & (row < 1))
    assert soft <= 4


def test_an_unknown_window_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match="Valid: lower_face, face"):
        crop_window("mouth")
