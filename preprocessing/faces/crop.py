"""The crop's pixels: from a picture, or from the part of it that was kept.

Both give the same bytes. `kept_part` knows, from where smoothing may move a crop, which part of a picture is enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.config import CropConfig
from preprocessing.faces.align import MOST_LAG
from shards.crop import crop_window
from shards.schema import F64, U8

_MARGIN_PX = 4
"""Picture taken along around the crop, beyond what the blur reaches, for the interpolation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePart:
    """A stretch of a picture that knows where it lay."""

    pixels: U8
    left: int
    top: int
    width: int
    """Of the whole picture."""
    height: int

    @classmethod
    def whole(cls, rgb: U8) -> PicturePart:
        return cls(pixels=rgb, left=0, top=0, width=rgb.shape[1], height=rgb.shape[0])

    def cut(self, left: int, top: int, right: int, bottom: int) -> U8:
        """The pixels of that stretch of the whole picture; it must lie inside this part."""
        part = self.pixels[top - self.top : bottom - self.top, left - self.left : right - self.left]
        if min(left - self.left, top - self.top) < 0 or part.shape[:2] != (bottom - top, right - left):
            raise ValueError(f"[{left}:{right}, {top}:{bottom}] reaches out of the part of the picture that was kept")
        return part


def crop_frame(rgb: U8, matrix: F64, size_px: int) -> U8:
    """(S, S, 3): the crop that `matrix` (source px -> crop px) shows; past the picture's edge its border continues."""
    return crop_part(PicturePart.whole(rgb), matrix, size_px)


def crop_part(picture: PicturePart, matrix: F64, size_px: int) -> U8:
    """As `crop_frame`, of a picture of which a part is at hand."""
    sigma = blur_sigma(math.sqrt(abs(float(np.linalg.det(matrix[:, :2])))))
    edge = size_px - 0.5
    corners = np.array([[-0.5, -0.5], [edge, -0.5], [-0.5, edge], [edge, edge]])
    source = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    left, top, right, bottom = _inside(source.min(axis=0), source.max(axis=0), sigma, picture.width, picture.height)
    part = picture.cut(left, top, right, bottom)
    if sigma > 0.1:
        part = np.asarray(cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ (left, top)
    crop = cv2.warpAffine(part, moved, (size_px, size_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, dtype=np.uint8)


def kept_part(rgb: U8, raw: F64, config: CropConfig) -> PicturePart:
    """A copy of the part that any crop may need which smoothing makes of `raw` ((4,), see `align.raw_chunk`)."""
    log_size, tilt, x, y = (float(v) for v in raw)
    size, turn, *_ = MOST_LAG
    side = crop_window(config.window).side * math.exp(log_size)
    # A square turned by t reaches |cos t| + |sin t| of its half side: the most of that among the possible tilts.
    turned = max(abs(math.cos(t)) + abs(math.sin(t)) for t in np.linspace(tilt - turn, tilt + turn, 9))
    reach = side * (math.exp(size) * turned / 2 + MOST_LAG[2]) + 1
    sigma = blur_sigma(config.size_px / (side * math.exp(size)))
    middle = np.array([x, y])
    height, width = rgb.shape[:2]
    left, top, right, bottom = _inside(middle - reach, middle + reach, sigma, width, height)
    pixels = rgb[top:bottom, left:right].copy()
    return PicturePart(pixels=pixels, left=left, top=top, width=width, height=height)


def blur_sigma(scale: float) -> float:
    """Source px of blur before a picture shrinks by `scale`, or what the crop cannot hold would alias and shimmer.

    It grows smoothly from nothing at scale 1, so a slowly approaching face shows no switch.
    """
    return 0.5 * math.sqrt(max(scale**-2 - 1.0, 0.0))


def _inside(low: F64, high: F64, sigma: float, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) with what blur and interpolation need, in the picture; at least one pixel of it."""
    margin = _MARGIN_PX + math.ceil(3 * sigma)
    low, high = np.floor(low) - margin, np.ceil(high) + margin + 1
    left, top = int(np.clip(low[0], 0, width - 1)), int(np.clip(low[1], 0, height - 1))
    return left, top, int(np.clip(high[0], left + 1, width)), int(np.clip(high[1], top + 1, height))
