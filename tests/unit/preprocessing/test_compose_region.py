"""The way from stored samples to the crop and back is the analysis' own, for every plane."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.compose.region import Box, grid, stored_matrix, touched_box
from preprocessing.faces.crop import crop_frame
from tests.support.pasting import placed

WHOLE = Box(left=0, top=0, right=64, bottom=64)


@pytest.mark.parametrize("scale", [0.2, 0.45, 0.9, 1.7])
def test_a_plane_is_cropped_exactly_as_the_analysis_crops_a_picture(scale: float) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (240, 320), dtype=np.uint8)
    matrix = placed(64, scale=scale, angle=0.3, centre=(150.3, 110.7))
    expected = crop_frame(picture[..., None].repeat(3, axis=2), matrix, 64)[..., 0]
    place = grid(matrix, touched_box(matrix, WHOLE, picture, (2, 2)), WHOLE, (1, 1))
    found = place.cropped(place.box.of(picture).astype(np.float32), (64, 64))
    # The analysis rounds to whole levels twice, where it blurs and where it interpolates.
    assert np.abs(np.clip(found, 0, 255) - expected).max() < 2.5
    assert np.abs(np.clip(found, 0, 255) - expected).mean() < 0.6


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("chroma", [(1, 1), (2, 1), (2, 2)])
def test_a_spot_of_the_crop_lands_where_the_matrix_says(rotation: int, chroma: tuple[int, int]) -> None:
    plane = np.zeros((241, 321), np.uint8)
    stored = stored_matrix(placed(64, scale=0.8, angle=0.2, centre=(140, 120)), rotation, (321, 241))
    place = grid(stored, touched_box(stored, WHOLE, plane, chroma), WHOLE, chroma)
    y, x = np.mgrid[0:64, 0:64]
    weights = place.spread(np.exp(-((x - 40) ** 2 + (y - 20) ** 2) / 18).astype(np.float32))
    rows, columns = np.indices(weights.shape)
    found = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
    luma = (found + np.array([place.box.left, place.box.top])) * chroma + (np.array(chroma) - 1) / 2
    np.testing.assert_allclose(stored[:, :2] @ luma + stored[:, 2], (40, 20), atol=0.1)


def test_whole_chroma_blocks_are_touched_and_nothing_beyond_the_frame() -> None:
    plane = np.zeros((101, 151), np.uint8)
    stored = placed(64, scale=0.5, centre=(140, 95))
    box = touched_box(stored, WHOLE, plane, (2, 2))
    assert (box.right, box.bottom) == (151, 101)
    assert box.left % 2 == box.top % 2 == 0
    assert grid(stored, box, WHOLE, (2, 2)).box.right == 76
    assert touched_box(placed(64, scale=0.5, centre=(-900, 0)), WHOLE, plane, (2, 2)).is_empty


def test_the_box_around_nothing_is_empty() -> None:
    assert Box.around(np.zeros((5, 7), bool)).is_empty
    flags = np.zeros((5, 7), bool)
    flags[2, 3] = flags[3, 5] = True
    assert Box.around(flags) == Box(left=3, top=2, right=6, bottom=4)
