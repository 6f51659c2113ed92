"""RGB and YUV are each other's inverse, by every matrix, range and depth."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from preprocessing.media.colour import Coding, rgb_delta_to_yuv, rgb_to_yuv, rounded, yuv_to_rgb
from tests.support.streams import video_stream

CODINGS = [
    Coding(matrix=matrix, is_full=full, bit_depth=depth)
    for matrix in ("bt601", "bt709", "bt2020")
    for full in (False, True)
    for depth in (8, 10)
]


def picture(height: int = 34, width: int = 50) -> np.ndarray:
    noise = np.random.default_rng(5).uniform(20, 235, (height, width, 3)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 4)


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_there_and_back_changes_less_than_half_a_level(coding: Coding) -> None:
    rgb = picture()
    planes = tuple(rounded(p, coding) for p in rgb_to_yuv(rgb, coding, (1, 1)))
    back = yuv_to_rgb((planes[0], planes[1], planes[2]), coding)
    assert np.abs(back - rgb).max() < (1.8 if coding.bit_depth == 8 else 0.5)
    assert np.abs(back - rgb).mean() < 0.5


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_white_black_and_grey_are_where_the_standard_puts_them(coding: Coding) -> None:
    one = 1 << (coding.bit_depth - 8)
    low, high = (0, 256 * one - 1) if coding.is_full else (16 * one, 235 * one)
    for level, luma in ((0.0, low), (255.0, high)):
        planes = rgb_to_yuv(np.full((2, 2, 3), level, np.float32), coding, (1, 1))
        assert [int(rounded(p, coding)[0, 0]) for p in planes] == [luma, 128 * one, 128 * one]


@pytest.mark.parametrize("chroma", [(2, 2), (2, 1)])
@pytest.mark.parametrize("size", [(34, 50), (33, 49)])
def test_shared_chroma_costs_little_on_a_soft_picture_of_any_size(
    chroma: tuple[int, int], size: tuple[int, int]
) -> None:
    coding, rgb = CODINGS[0], picture(*size)
    planes = rgb_to_yuv(rgb, coding, chroma)
    assert planes[1].shape == (-(-size[0] // chroma[1]), -(-size[1] // chroma[0]))
    assert np.abs(yuv_to_rgb(planes, coding) - rgb).mean() < 1


def test_no_change_is_exactly_none() -> None:
    for plane in rgb_delta_to_yuv(np.zeros((8, 8, 3), np.float32), CODINGS[0], (2, 2)):
        assert not plane.any()


def test_a_change_is_the_difference_of_two_pictures() -> None:
    coding, a, b = CODINGS[3], picture(), picture()[::-1]
    change = rgb_delta_to_yuv(b - a, coding, (2, 2))
    for moved, before, after in zip(change, rgb_to_yuv(a, coding, (2, 2)), rgb_to_yuv(b, coding, (2, 2)), strict=True):
        np.testing.assert_allclose(moved, after - before, atol=1e-2)


@pytest.mark.parametrize(
    ("size", "tag", "matrix"),
    [((1920, 1080), None, "bt709"), ((720, 576), None, "bt601"), ((720, 1280), None, "bt709"),
     ((720, 576), "bt709", "bt709"), ((3840, 2160), "bt2020nc", "bt2020"), ((1920, 1080), "smpte170m", "bt601")],
)  # fmt: skip
def test_a_tag_is_believed_and_without_one_the_size_decides(
    size: tuple[int, int], tag: str | None, matrix: str
) -> None:
    assert Coding.of(video_stream(width=size[0], height=size[1], color_space=tag)).matrix == matrix


def test_full_range_is_told_by_the_tag_or_by_the_old_format_names() -> None:
    plain = video_stream()
    assert not Coding.of(plain).is_full
    assert Coding.of(replace(plain, color_range="pc")).is_full
    assert Coding.of(replace(plain, pix_fmt="yuvj420p")).is_full
