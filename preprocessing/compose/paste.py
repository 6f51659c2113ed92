"""Puts a generated crop back into the frame it was cut from, and touches nothing else.

Owns the inverse of the crop and the blend. Where and how softly is `mask.py`, the light is `colour.py`, samples and
matrices are `media/colour.py`. What is added to a frame is a *difference*: a generated picture equal to the source adds
zero, and a sample whose weight is zero is copied bit for bit, luma and chroma alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.compose.colour import match_colours
from preprocessing.compose.mask import PasteMask, paste_mask
from preprocessing.media.base import VideoStream
from preprocessing.media.colour import Coding, rgb_delta_to_yuv, rounded, shrunk, yuv_to_rgb
from preprocessing.media.native import NativeFrame, Plane
from shards.crop import CropWindow
from shards.schema import F32, F64, U8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """Pixels [left, right) x [top, bottom) of the stored picture, in whole chroma blocks (but at the frame's end)."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, plane: Plane, chroma: tuple[int, int]) -> Plane:
        columns, rows = chroma
        return plane[self.top // rows : -(-self.bottom // rows), self.left // columns : -(-self.right // columns)]

    @property
    def is_empty(self) -> bool:
        return self.left >= self.right or self.top >= self.bottom


def compose(
    frame: NativeFrame,
    crop_rgb: U8,
    matrix: F64,
    window: CropWindow,
    video: VideoStream,
    *,
    opacity: float = 1.0,
) -> NativeFrame:
    """The frame with the crop's generated part in it.

    `crop_rgb` is (S, S, 3) uint8; `matrix` (2, 3) float64 is this frame's row of the `CropTransform`, source px as
    displayed -> crop px; `video` describes the frames (`native_video`) with the player's rotation; `opacity` in [0, 1]
    fades the whole paste.
    """
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity is in [0, 1], not {opacity}")
    if crop_rgb.dtype != np.uint8 or crop_rgb.shape != (crop_rgb.shape[0], crop_rgb.shape[0], 3):
        raise ValueError(f"a crop is (S, S, 3) uint8, not {crop_rgb.shape} {crop_rgb.dtype}")
    mask, layout = paste_mask(window, crop_rgb.shape[0]), frame.format
    height, width = frame.planes[0].shape
    stored = matrix @ _turn(video.rotation, width, height)
    region = _region(mask, stored, (width, height), layout.chroma)
    if opacity == 0.0 or region.is_empty:
        return frame

    coding = Coding.of(video)
    parts = tuple(region.of(p, c) for p, c in zip(frame.planes, ((1, 1), layout.chroma, layout.chroma), strict=True))
    source = yuv_to_rgb((parts[0], parts[1], parts[2]), coding)
    generated = _warped(crop_rgb, stored, region)
    weight = _warped_map(mask.weight, stored, region) * np.float32(opacity)
    ring = _warped_map(mask.ring, stored, region)
    generated = match_colours(generated, source, ring).apply(generated)

    delta = rgb_delta_to_yuv((generated - source) * weight[..., None], coding, layout.chroma)
    soft = shrunk(weight, layout.chroma)
    planes = tuple(
        _added(plane, region.of(plane, chroma), region, chroma, change, touched, coding)
        for plane, chroma, change, touched in zip(
            frame.planes, ((1, 1), layout.chroma, layout.chroma), delta, (weight, soft, soft), strict=True
        )
    )
    return NativeFrame(index=frame.index, planes=(planes[0], planes[1], planes[2]), pix_fmt=frame.pix_fmt)


def _turn(rotation: int, width: int, height: int) -> F64:
    """(3, 3): px of the stored picture (of that size) -> px as displayed, the player's clockwise turn."""
    w, h = width - 1, height - 1
    turns = {
        0: [[1, 0, 0], [0, 1, 0]],
        90: [[0, -1, h], [1, 0, 0]],
        180: [[-1, 0, w], [0, -1, h]],
        270: [[0, 1, 0], [-1, 0, w]],
    }
    return np.array([*turns[rotation], [0, 0, 1]], dtype=np.float64)


def _region(mask: PasteMask, stored: F64, size: tuple[int, int], chroma: tuple[int, int]) -> _Region:
    """The stored pixels that the mask or its ring can reach."""
    left, top, right, bottom = mask.box
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]], dtype=np.float64)
    where = (corners - stored[:, 2]) @ np.linalg.inv(stored[:, :2]).T
    low, high = np.floor(where.min(axis=0)).astype(int) - 2, np.ceil(where.max(axis=0)).astype(int) + 3
    columns, rows = chroma
    return _Region(
        left=max(0, low[0] // columns * columns),
        top=max(0, low[1] // rows * rows),
        right=min(size[0], -(-int(high[0]) // columns) * columns),
        bottom=min(size[1], -(-int(high[1]) // rows) * rows),
    )


def _warped(crop_rgb: U8, stored: F64, region: _Region) -> F32:
    """The crop over the region's pixels. A finer crop is averaged down first: skipped pixels would shimmer."""
    scale = float(np.sqrt(abs(np.linalg.det(stored[:, :2]))))
    crop: NDArray[Any] = crop_rgb.astype(np.float32)
    if scale > 1.0:
        smaller = max(1, round(len(crop) / scale))
        k = smaller / len(crop)
        crop = cv2.resize(crop, (smaller, smaller), interpolation=cv2.INTER_AREA)
        stored = stored * k
        stored[:, 2] += (k - 1) / 2
    return _sampled(crop, stored, region, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)


def _warped_map(values: F32, stored: F64, region: _Region) -> F32:
    """A mask over the region's pixels; linear, so that it never overshoots, and zero beyond the crop."""
    return _sampled(values, stored, region, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)


def _sampled(picture: NDArray[Any], stored: F64, region: _Region, how: int, border: int) -> F32:
    here = stored.copy()
    here[:, 2] += stored[:, :2] @ np.array([region.left, region.top], dtype=np.float64)
    size = (region.right - region.left, region.bottom - region.top)
    # WARP_INVERSE_MAP: the matrix leads from the frame to the crop already, so nothing is inverted numerically.
    out: F32 = np.asarray(cv2.warpAffine(picture, here, size, flags=how | cv2.WARP_INVERSE_MAP, borderMode=border))
    return out


def _added(
    plane: Plane, part: Plane, region: _Region, chroma: tuple[int, int], change: F32, touched: F32, coding: Coding
) -> Plane:
    """The plane with the change where it is touched; every other sample is the very same."""
    out = plane.copy()
    region.of(out, chroma)[...] = np.where(touched > 0, rounded(part.astype(np.float32) + change, coding), part)
    return out
