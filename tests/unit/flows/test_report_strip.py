"""The picture strip: which moments it shows, and the figure below it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from flows.report.strip import STRIP_FRAMES, STRIP_HEIGHT_PX, moments, picture_strip, psnr_outside
from tests.support.fakes import MemorySource


def pictures(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def test_moments_are_spread_over_what_was_rendered() -> None:
    opacity = np.zeros(100)
    opacity[40:61] = 1.0
    assert moments(opacity) == [40, 44, 48, 52, 56, 60]


def test_frames_where_the_mouth_is_still_coming_are_left_out() -> None:
    assert moments(np.array([0, 0.5, 1.0, 1.0, 0.5, 0])) == [2, 3]


def test_a_stretch_too_short_for_the_whole_fade_is_shown_at_its_height() -> None:
    assert moments(np.array([0, 0.2, 0.4, 0.2, 0])) == [2]


def test_a_title_that_was_left_alone_is_shown_all_over() -> None:
    assert moments(np.zeros(11)) == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("count", [1, 2, STRIP_FRAMES, 1000])
def test_no_moment_is_shown_twice(count: int) -> None:
    found = moments(np.ones(count))
    assert found == sorted(set(found))
    assert len(found) == min(count, STRIP_FRAMES)


def test_equal_pictures_have_the_highest_figure() -> None:
    (picture,) = pictures(1)
    assert psnr_outside(picture, picture) > 100


def test_a_changed_mouth_does_not_lower_the_figure_and_a_changed_picture_does() -> None:
    (picture,) = pictures(1, 64, 64)
    mouth, noisy = picture.copy(), picture.astype(np.int16)
    mouth[32:48, 16:48] = 0
    noisy += 10
    assert psnr_outside(picture, mouth) > 100
    assert psnr_outside(picture, np.clip(noisy, 0, 255).astype(np.uint8)) == pytest.approx(28.1, abs=0.3)


@pytest.mark.parametrize("size", [(50, 70), (17, 33), (9, 12)])
def test_sides_that_are_no_multiple_of_a_block_are_measured(size: tuple[int, int]) -> None:
    (picture,) = pictures(1, *size)
    assert np.isfinite(psnr_outside(picture, picture))


def test_the_strip_has_the_source_above_the_result_and_closes_both() -> None:
    above, below = MemorySource(pictures(8)), MemorySource([np.zeros((48, 64, 3), np.uint8)] * 8)
    strip = picture_strip(above, below, np.ones(8), np.full((8, 4), np.nan))
    sheet = cv2.imdecode(np.frombuffer(strip.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape == (96, 6 * 64, 3)
    assert sheet[:48].mean() > 90
    assert sheet[48:].mean() < 10
    assert above.is_closed
    assert below.is_closed


def test_large_pictures_are_made_small() -> None:
    source, result = (MemorySource(pictures(1, 440, 600)) for _ in range(2))
    sheet = cv2.imdecode(
        np.frombuffer(picture_strip(source, result, np.ones(1), np.full((1, 4), np.nan)).jpeg, np.uint8),
        cv2.IMREAD_COLOR,
    )
    assert sheet is not None
    assert sheet.shape == (2 * STRIP_HEIGHT_PX, 300, 3)


def test_a_source_that_breaks_off_closes_both() -> None:
    source, result = MemorySource(pictures(8), breaks_at=3), MemorySource(pictures(8))
    with pytest.raises(Exception, match="ends before frame 3"):
        picture_strip(source, result, np.ones(8), np.full((8, 4), np.nan))
    assert source.is_closed
    assert result.is_closed


def test_the_strip_shows_the_face_and_not_the_room() -> None:
    picture = np.zeros((120, 200, 3), np.uint8)
    picture[40:80, 130:170] = 255
    source, result = MemorySource([picture]), MemorySource([picture])
    strip = picture_strip(source, result, np.ones(1), np.array([[130.0, 40.0, 170.0, 80.0]]))
    sheet = cv2.imdecode(np.frombuffer(strip.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (sheet > 128).mean() > 0.5
