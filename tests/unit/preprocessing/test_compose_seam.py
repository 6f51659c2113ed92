"""The measure of the seam rises with what an eye would see, and is 1 where there is nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.compose.paste import compose
from preprocessing.compose.seam import seam_contrast
from preprocessing.media.base import VideoStream
from preprocessing.media.native import NativeFrame
from tests.support.pasting import cut, flat, mouth, placed, scene, shown, stored
from tests.support.streams import video_stream

VIDEO = video_stream(width=400, height=300, pix_fmt="yuv420p")
MATRIX = placed(96, scale=0.4, centre=(200, 150))


def contrast(crop_change: float, video: VideoStream = VIDEO) -> float:
    rgb = flat(400, 300, 110.0)
    frame = stored(rgb, video)
    item = mouth(cut(rgb + crop_change, MATRIX, 96), MATRIX)
    return seam_contrast(frame, compose(frame, [item], video), item, video)


def test_a_frame_against_itself_has_no_seam() -> None:
    frame = stored(scene(400, 300), VIDEO)
    item = mouth(np.zeros((96, 96, 3), np.uint8), MATRIX)
    assert seam_contrast(frame, frame, item, VIDEO) == 1.0


def test_the_brighter_the_paste_the_higher_the_contrast() -> None:
    found = [contrast(change) for change in (0, 5, 15, 40)]
    assert found[0] < 1.05
    assert found == sorted(found)
    assert found[3] > 5
    assert contrast(-40) == pytest.approx(found[3], rel=0.1)


def test_ten_bits_are_judged_as_eight_are() -> None:
    ten = video_stream(width=400, height=300, pix_fmt="yuv420p10le", bit_depth=10)
    assert contrast(20, ten) == pytest.approx(contrast(20), rel=0.05)


def test_a_seam_on_one_cheek_does_not_hide_behind_the_rest() -> None:
    frame = stored(flat(400, 300, 110.0), VIDEO)
    item = mouth(np.zeros((96, 96, 3), np.uint8), MATRIX)
    edge = frame.planes[0].copy()
    edge[:, : 400 // 2 - 75] += 20
    marked = NativeFrame(index=0, planes=(edge, *frame.planes[1:]), pix_fmt=frame.pix_fmt)
    assert seam_contrast(frame, marked, item, VIDEO) > 3


def test_grain_is_no_seam() -> None:
    rng = np.random.default_rng(2)
    plain, grainy = (stored(flat(400, 300) + rng.normal(0, s, (300, 400, 1)), VIDEO) for s in (0.0, 3.0))
    item = mouth(np.zeros((96, 96, 3), np.uint8), MATRIX)
    assert seam_contrast(plain, grainy, item, VIDEO) < 1.6


def test_a_face_outside_the_picture_has_none() -> None:
    frame = stored(scene(400, 300), VIDEO)
    item = mouth(np.zeros((96, 96, 3), np.uint8), placed(96, scale=0.4, centre=(-900, -900)))
    assert seam_contrast(frame, frame, item, VIDEO) == 1.0


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_picture_has_the_same_seam(rotation: int) -> None:
    turned = video_stream(width=400, height=300, pix_fmt="yuv444p", rotation=rotation)
    straight = video_stream(width=400, height=300, pix_fmt="yuv444p")
    rgb = scene(400, 300)
    item = mouth(np.clip(cut(cv2.GaussianBlur(rgb, (0, 0), 2), MATRIX, 96) + 25.0, 0, 255).astype(np.uint8), MATRIX)
    found = []
    for video, times in ((straight, 0), (turned, rotation // 90)):
        frame = stored(np.rot90(rgb, times), video)
        assert shown(frame, video).shape[:2] == np.rot90(rgb, times).shape[:2]
        found.append(seam_contrast(frame, compose(frame, [item], video), item, video))
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert found[0] > 1.2
