"""The crop's pixels: exact in both directions, without moire, and the same from a kept part of the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.config import CropConfig
from preprocessing.faces.align import MOST_LAG, crop_matrices
from preprocessing.faces.crop import PicturePart, crop_frame, crop_part, kept_part
from shards.schema import F64, U8


def similarity(scale: float, degrees: float, x: float, y: float) -> F64:
    turn = scale * np.exp(1j * np.radians(degrees))
    return np.array([[turn.real, -turn.imag, x], [turn.imag, turn.real, y]])


def noise(width: int = 400, height: int = 300) -> U8:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("scale", [0.3, 0.9, 2.2])
def test_a_crop_pasted_back_gives_the_picture(scale: float) -> None:
    y, x = np.mgrid[0:240, 0:320].astype(np.float64)
    waves = [110 + 80 * np.sin(x / (9 + c) + c) * np.cos(y / (11 - c)) for c in range(3)]
    picture = np.stack(waves, axis=2).round().astype(np.uint8)
    size = 96 if scale > 0.5 else 64
    m = similarity(scale, 12.0, 0, 0)
    m[:, 2] = (size - 1) / 2 - m[:, :2] @ (160, 120)
    crop = crop_frame(picture, m, size)
    back = cv2.warpAffine(crop, m, (320, 240), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    reach = int(0.25 * size / scale)
    inside = np.s_[max(120 - reach, 0) : 120 + reach, max(160 - reach, 0) : 160 + reach]
    error = np.abs(back[inside].astype(float) - picture[inside])
    # Shrunk to a third the waves themselves fade; a shift of half a pixel would cost 5 and more at any scale.
    assert error.mean() < (2.0 if scale > 0.5 else 8.0)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_a_shrunk_crop_has_no_moire_and_does_not_move(shift: float) -> None:
    picture = np.zeros((300, 300, 3), dtype=np.uint8)
    picture[:, ::2] = 255
    m = np.array([[0.25, 0, shift], [0, 0.25, 0]])
    crop = crop_frame(picture, m, 64)[8:-8, 8:-8]
    assert crop.std() < 4
    assert crop.mean() == pytest.approx(127.5, abs=3)


def test_past_the_edge_of_the_picture_its_border_continues() -> None:
    picture = np.full((20, 20, 3), 90, dtype=np.uint8)
    assert (crop_frame(picture, np.array([[1.0, 0, 500], [0, 1.0, 500]]), 16) == 90).all()
    assert (crop_frame(picture, np.array([[1.0, 0, -500], [0, 1.0, -5]]), 16) == 90).all()


def test_a_crop_of_scale_one_on_whole_pixels_copies_them() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crop = crop_frame(picture, np.array([[1.0, 0, -10], [0, 1.0, -7]]), 24)
    np.testing.assert_array_equal(crop, picture[7:31, 10:34])


# The face in the middle, at each edge, larger than the picture, tiny, turned, and wholly outside.
RAW = [(3.9, 0.0, 200, 150), (3.9, 0.4, 15, 20), (3.9, -2.8, 390, 290), (5.5, 0.1, 200, 150), (2.0, 0.0, 77.3, 91.8)]
RAW += [(3.9, 0.2, -300, 900)]


@pytest.mark.parametrize("raw", RAW)
def test_the_kept_part_of_a_picture_gives_the_same_crop_wherever_smoothing_may_put_it(
    raw: tuple[float, float, float, float],
) -> None:
    picture, config = noise(), CropConfig(size_px=64)
    kept = kept_part(picture, np.array(raw), config)
    side = 2.4 * np.exp(raw[0])
    for corner in np.array(np.meshgrid(*[(-1, 0, 1)] * 4)).reshape(4, -1).T:
        moved = np.array(raw) + corner * MOST_LAG * (1, 1, side, side)
        (matrix,) = crop_matrices(moved[None], config, sigma_frames=0)
        np.testing.assert_array_equal(crop_part(kept, matrix, 64), crop_frame(picture, matrix, 64))


def test_the_kept_part_is_a_small_copy() -> None:
    picture = noise(1280, 720)
    kept = kept_part(picture, np.array([3.9, 0.0, 640, 360]), CropConfig())
    assert kept.pixels.base is None
    assert kept.pixels.nbytes < picture.nbytes / 8


def test_a_crop_that_reaches_out_of_what_was_kept_is_an_error_and_never_a_smeared_border() -> None:
    picture = noise()
    part = PicturePart(pixels=picture[50:150, 50:150], left=50, top=50, width=400, height=300)
    with pytest.raises(ValueError, match="reaches out"):
        crop_part(part, np.array([[1.0, 0, -120], [0, 1.0, -60]]), 64)
