"""What is pasted is inside the mask, and what is outside is the very same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.compose.mask import paste_mask
from preprocessing.compose.paste import compose
from preprocessing.media.base import VideoStream
from preprocessing.media.colour import Coding, rgb_to_yuv, rounded, yuv_to_rgb
from preprocessing.media.native import FORMATS, NativeFrame
from shards.crop import WINDOWS, CropWindow
from shards.schema import F64
from tests.support.streams import video_stream

WINDOW = WINDOWS["lower_face"]


def scene(width: int, height: int) -> np.ndarray:
    """A soft picture with a light slope, like a face out of focus."""
    rng = np.random.default_rng(7)
    noise = cv2.GaussianBlur(rng.normal(0, 400, (height, width, 3)), (0, 0), 6)
    slope = np.linspace(-25, 25, width)[None, :, None]
    return np.clip(120 + noise + slope, 5, 250).astype(np.float32)


def stored(rgb: np.ndarray, video: VideoStream) -> NativeFrame:
    layout, coding = FORMATS[video.pix_fmt], Coding.of(video)
    planes = tuple(rounded(p, coding) for p in rgb_to_yuv(rgb.astype(np.float32), coding, layout.chroma))
    return NativeFrame(index=3, planes=(planes[0], planes[1], planes[2]), pix_fmt=video.pix_fmt)


def shown(frame: NativeFrame, video: VideoStream) -> np.ndarray:
    return yuv_to_rgb(frame.planes, Coding.of(video))


def placed(size_px: int, *, scale: float, angle: float, centre: tuple[float, float]) -> F64:
    """A similarity that puts source pixel `centre` in the middle of the crop; `scale` crop px per source px."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    middle = np.full(2, size_px / 2 - 0.5)
    return np.concatenate([linear, (middle - linear @ np.array(centre))[:, None]], axis=1)


def cut(rgb: np.ndarray, matrix: F64, size_px: int) -> np.ndarray:
    crop = cv2.warpAffine(rgb, matrix, (size_px, size_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(crop), 0, 255).astype(np.uint8)


def weights(matrix: F64, size_px: int, shape: tuple[int, int], window: CropWindow = WINDOW) -> np.ndarray:
    """(H, W) the mask over the frame, by a way of its own: each pixel looked up, none warped."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    field = paste_mask(window, size_px).weight
    return cv2.remap(field, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderValue=0)


CASES = [
    (pix_fmt, depth, size)
    for pix_fmt, depth in (("yuv420p", 8), ("yuv422p10le", 10), ("yuv444p", 8), ("yuvj420p", 8), ("yuv420p10le", 10))
    for size in ((160, 120), (161, 121))
]


@pytest.mark.parametrize(("pix_fmt", "depth", "size"), CASES)
def test_every_sample_outside_the_mask_is_the_very_same(pix_fmt: str, depth: int, size: tuple[int, int]) -> None:
    video = video_stream(width=size[0], height=size[1], pix_fmt=pix_fmt, bit_depth=depth)
    frame = stored(scene(*size), video)
    matrix = placed(64, scale=0.8, angle=0.2, centre=(70.3, 61.6))
    loud = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    out = compose(frame, loud, matrix, WINDOW, video)
    weight = weights(matrix, 64, (size[1], size[0]))
    # warpAffine rounds positions to 1/32 px, so a hair around the border is left undecided by this second way.
    far = cv2.dilate(weight, np.ones((3, 3))) == 0
    columns, rows = FORMATS[pix_fmt].chroma
    for before, after, step in zip(frame.planes, out.planes, ((1, 1), (columns, rows), (columns, rows)), strict=True):
        pad = np.pad(far, ((0, -size[1] % step[1]), (0, -size[0] % step[0])), mode="edge")
        blocks = pad.reshape(pad.shape[0] // step[1], step[1], pad.shape[1] // step[0], step[0]).all(axis=(1, 3))
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert (before[blocks] == after[blocks]).all()
        assert (before[~blocks] != after[~blocks]).mean() > 0.3
    assert (out.index, out.pix_fmt) == (3, pix_fmt)


@pytest.mark.parametrize(("pix_fmt", "depth"), [("yuv420p", 8), ("yuv422p10le", 10), ("yuv444p", 8)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(200, 150), (201, 151)])
def test_pasting_the_sources_own_crop_changes_less_than_a_grey_level(
    pix_fmt: str, depth: int, rotation: int, size: tuple[int, int]
) -> None:
    upright = size if rotation % 180 == 0 else size[::-1]
    video = video_stream(width=upright[0], height=upright[1], pix_fmt=pix_fmt, bit_depth=depth, rotation=rotation)
    frame = stored(scene(*size), video)
    # As displayed, which is what crops are cut from.
    displayed = np.ascontiguousarray(np.rot90(shown(frame, video), -rotation // 90))
    matrix = placed(192, scale=2.0, angle=-0.15, centre=(upright[0] / 2 + 3.3, upright[1] / 2 - 2.1))
    out = compose(frame, cut(displayed, matrix, 192), matrix, WINDOW, video)
    weight = np.rot90(weights(matrix, 192, upright[::-1]), rotation // 90)
    change = np.abs(shown(out, video) - shown(frame, video))[weight > 0]
    assert len(change) > 2000
    assert change.mean() < 1
    assert np.quantile(change, 0.99) < 3


def test_what_was_generated_is_what_is_seen_in_the_middle() -> None:
    video = video_stream(width=200, height=150)
    rgb = scene(200, 150)
    frame = stored(rgb, video)
    matrix = placed(96, scale=1.0, angle=0.0, centre=(100, 75))
    crop = cut(rgb, matrix, 96)
    mouth = paste_mask(WINDOW, 96).weight >= 1
    crop[mouth] = (180, 90, 90)
    out = shown(compose(frame, crop, matrix, WINDOW, video), video)
    full = cv2.erode((weights(matrix, 96, (150, 200)) >= 1).astype(np.uint8), np.ones((5, 5))) > 0
    # The ring is the source's own, so nothing is matched away.
    assert np.abs(out[full] - (180, 90, 90)).mean() < 1.5


def test_a_crop_in_another_light_leaves_no_seam() -> None:
    video = video_stream(width=200, height=150, pix_fmt="yuv444p")
    rgb = scene(200, 150)
    frame = stored(rgb, video)
    matrix = placed(192, scale=2.0, angle=0.0, centre=(100, 75))
    tinted = np.clip(cut(rgb, matrix, 192) * np.array([0.9, 1.0, 1.08]) + np.array([18, -12, 6]), 0, 255)
    out = shown(compose(frame, tinted.astype(np.uint8), matrix, WINDOW, video), video)
    weight = weights(matrix, 192, (150, 200))
    assert np.abs(out - rgb)[weight > 0].mean() < 2.0
    steps = np.abs(np.diff(out - rgb, axis=1)).mean(axis=2)
    assert steps.max() < 3.0


def test_the_edge_is_soft() -> None:
    video = video_stream(width=200, height=150, pix_fmt="yuv444p")
    grey = np.full((150, 200, 3), 100, np.float32)
    matrix = placed(96, scale=0.6, angle=0.0, centre=(100, 75))
    # A crop that is the source around the mask and 40 levels brighter inside: as bad as a seam can be.
    crop = np.where(paste_mask(WINDOW, 96).weight[..., None] > 0, 140, 100).astype(np.uint8).repeat(3, axis=2)
    out = shown(compose(stored(grey, video), crop, matrix, WINDOW, video), video)
    assert out[75:110, 90:110].mean() > 135
    assert np.abs(np.diff(out[..., 1], axis=0)).max() < 12
    assert np.abs(np.diff(out[..., 1], axis=1)).max() < 12


def test_ten_bits_stay_ten_bits() -> None:
    video = video_stream(width=160, height=120, pix_fmt="yuv420p10le", bit_depth=10)
    ramp = np.repeat(np.linspace(100, 110, 160)[None, :, None], 120, axis=0).repeat(3, axis=2)
    frame = stored(ramp, video)
    matrix = placed(64, scale=0.8, angle=0.0, centre=(80, 60))
    out = compose(frame, cut(ramp, matrix, 64), matrix, WINDOW, video)
    assert out.planes[0].dtype == np.uint16
    touched = (out.planes[0] != frame.planes[0]) | (weights(matrix, 64, (120, 160)) > 0.99)
    # An 8-bit path would leave luma in steps of four.
    assert len(np.unique(out.planes[0][touched] % 4)) == 4


def test_no_opacity_is_no_change_and_half_is_half() -> None:
    video = video_stream(width=160, height=120, pix_fmt="yuv444p")
    frame = stored(np.full((120, 160, 3), 100, np.float32), video)
    matrix = placed(64, scale=0.8, angle=0.0, centre=(80, 60))
    crop = np.where(paste_mask(WINDOW, 64).weight[..., None] > 0, 140, 100).astype(np.uint8).repeat(3, axis=2)
    assert compose(frame, crop, matrix, WINDOW, video, opacity=0.0) is frame
    changes = [
        (shown(compose(frame, crop, matrix, WINDOW, video, opacity=o), video) - 100)[
            weights(matrix, 64, (120, 160)) > 0.99
        ]
        for o in (1.0, 0.5)
    ]
    assert abs(changes[1].mean() / changes[0].mean() - 0.5) < 0.03


@pytest.mark.parametrize("centre", [(0.0, 0.0), (159.0, 60.0), (-500.0, -500.0), (80.0, 130.0)])
def test_a_face_at_or_beyond_the_frames_edge_is_pasted_as_far_as_it_goes(centre: tuple[float, float]) -> None:
    video = video_stream(width=160, height=120)
    frame = stored(scene(160, 120), video)
    matrix = placed(64, scale=0.8, angle=0.4, centre=centre)
    out = compose(frame, np.full((64, 64, 3), 128, np.uint8), matrix, WINDOW, video)
    far = cv2.dilate(weights(matrix, 64, (120, 160)), np.ones((3, 3))) == 0
    assert (out.planes[0][far] == frame.planes[0][far]).all()


def test_a_crop_much_finer_than_the_frame_does_not_alias() -> None:
    video = video_stream(width=160, height=120, pix_fmt="yuv444p")
    frame = stored(np.full((120, 160, 3), 128, np.float32), video)
    matrix = placed(512, scale=6.0, angle=0.0, centre=(80.0, 60.0))
    y, x = np.mgrid[0:512, 0:512]
    fine = np.where((x // 2 + y // 2) % 2, 88, 168).astype(np.uint8)[..., None].repeat(3, axis=2)
    out = shown(compose(frame, fine, matrix, WINDOW, video), video)
    assert np.abs(out - 128)[weights(matrix, 512, (120, 160)) > 0.99].max() < 12


def test_the_source_frame_is_not_written_on() -> None:
    video = video_stream(width=160, height=120)
    frame = stored(scene(160, 120), video)
    before = [p.copy() for p in frame.planes]
    compose(frame, np.zeros((64, 64, 3), np.uint8), placed(64, scale=0.8, angle=0.0, centre=(80, 60)), WINDOW, video)
    assert all((a == b).all() for a, b in zip(before, frame.planes, strict=True))


@pytest.mark.parametrize(("crop", "opacity"), [((64, 63, 3), 1.0), ((64, 64), 1.0), ((64, 64, 3), 1.5)])
def test_a_crop_that_is_none_is_refused(crop: tuple[int, ...], opacity: float) -> None:
    video = video_stream(width=160, height=120)
    frame = stored(scene(160, 120), video)
    with pytest.raises(ValueError, match=r"crop|opacity"):
        compose(
            frame,
            np.zeros(crop, np.uint8),
            placed(64, scale=1, angle=0, centre=(80, 60)),
            WINDOW,
            video,
            opacity=opacity,
        )
