"""Where a crop lies among the stored samples of a frame, and the way there and back.

Owns the geometry: everything is a float64 matrix from stored samples to crop pixels, the exact inverse of what is
needed to fill a stored sample, so nothing is ever inverted numerically. Luma and chroma each have their own grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.faces.crop import blur_sigma
from preprocessing.media.native import Plane
from shards.schema import F32, F64

_MARGIN_PX = 4
"""Stored pixels around what is touched, for the interpolation; blur asks for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Pixels [left, right) x [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        return self.left >= self.right or self.top >= self.bottom

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.right - self.left, self.bottom - self.top

    def of(self, picture: NDArray[Any]) -> NDArray[Any]:
        return picture[self.top : self.bottom, self.left : self.right]

    @classmethod
    def around(cls, flags: NDArray[np.bool_]) -> Box:
        """The least box with all that holds; empty where nothing does."""
        columns, rows = np.flatnonzero(flags.any(axis=0)), np.flatnonzero(flags.any(axis=1))
        if len(columns) == 0:
            return cls(left=0, top=0, right=0, bottom=0)
        return cls(left=int(columns[0]), top=int(rows[0]), right=int(columns[-1]) + 1, bottom=int(rows[-1]) + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A stretch of one stored plane and its way into (part of) the crop."""

    box: Box
    """In the plane's own samples."""
    matrix: F64
    """(2, 3) sample of the box -> px of the part of the crop."""

    def coarser(self, step: int) -> Grid:
        """The way to the same part of the crop, averaged down by `step`."""
        matrix = self.matrix / step
        matrix[:, 2] += (1 / step - 1) / 2
        return Grid(box=self.box, matrix=matrix)

    def blocks(self, picture: F32, side: int) -> F32:
        """(H // side, W // side, ...) what the crop's part shows in the middles of whole blocks of samples."""
        middles = np.array([[side, 0, (side - 1) / 2], [0, side, (side - 1) / 2], [0, 0, 1]])
        size = (max(1, self.box.size[0] // side), max(1, self.box.size[1] // side))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(picture, self.matrix @ middles, size, flags=flags), dtype=np.float32)

    def cropped(self, samples: F32, size: tuple[int, int]) -> F32:
        """The plane's part as the crop shows it, before rounding: blurred by as much, then interpolated."""
        sigma = blur_sigma(_scale(self.matrix))
        if sigma > 0.1:
            samples = np.asarray(cv2.GaussianBlur(samples, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
        out = cv2.warpAffine(samples, self.matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, dtype=np.float32)

    def spread(self, picture: F32) -> F32:
        """The crop's part over the samples of the box; zero beyond the part's edge.

        What is finer than the samples is averaged down first: skipped pixels would shimmer.
        """
        matrix, scale = self.matrix, _scale(self.matrix)
        if scale > 1.0:
            height, width = picture.shape[:2]
            size = (max(1, round(width / scale)), max(1, round(height / scale)))
            factor = np.array([size[0] / width, size[1] / height])
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
            matrix = matrix * factor[:, None]
            matrix[:, 2] += (factor - 1) / 2
        # WARP_INVERSE_MAP: the matrix leads from the samples to the crop already.
        out = cv2.warpAffine(
            picture, matrix, self.box.size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderValue=(0, 0, 0, 0)
        )
        return np.asarray(out, dtype=np.float32)


def _scale(matrix: F64) -> float:
    """Crop px per sample."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))


def stored_matrix(matrix: F64, rotation: int, size: tuple[int, int]) -> F64:
    """(2, 3): px of the stored picture (width, height) -> crop px, for a player that turns it clockwise."""
    w, h = size[0] - 1, size[1] - 1
    turns = {
        0: [[1, 0, 0], [0, 1, 0]],
        90: [[0, -1, h], [1, 0, 0]],
        180: [[-1, 0, w], [0, -1, h]],
        270: [[0, 1, 0], [-1, 0, w]],
    }
    out: F64 = matrix @ np.array([*turns[rotation], [0, 0, 1]], dtype=np.float64)
    return out


def touched_box(stored: F64, crop: Box, plane: Plane, chroma: tuple[int, int]) -> Box:
    """The stored pixels that `crop` (a box in the crop) reaches, in whole chroma blocks but at the frame's end."""
    edges = np.array(
        [[crop.left, crop.top], [crop.right, crop.top], [crop.left, crop.bottom], [crop.right, crop.bottom]]
    )
    where = (edges - 0.5 - stored[:, 2]) @ np.linalg.inv(stored[:, :2]).T
    margin = _MARGIN_PX + math.ceil(3 * blur_sigma(_scale(stored)))
    low, high = np.floor(where.min(axis=0)) - margin, np.ceil(where.max(axis=0)) + margin + 1
    columns, rows = chroma
    height, width = plane.shape
    return Box(
        left=max(0, int(low[0]) // columns * columns),
        top=max(0, int(low[1]) // rows * rows),
        right=min(width, -(-int(high[0]) // columns) * columns),
        bottom=min(height, -(-int(high[1]) // rows) * rows),
    )


def grid(stored: F64, luma: Box, crop: Box, chroma: tuple[int, int]) -> Grid:
    """The way from a plane with so many pixels a sample, within `luma`, to the part `crop` of the crop."""
    columns, rows = chroma
    # A sample stands for the middle of its block.
    block = np.array([[columns, 0, (columns - 1) / 2 + luma.left], [0, rows, (rows - 1) / 2 + luma.top], [0, 0, 1]])
    matrix = stored @ block
    matrix[:, 2] -= (crop.left, crop.top)
    box = Box(
        left=luma.left // columns, top=luma.top // rows, right=-(-luma.right // columns), bottom=-(-luma.bottom // rows)
    )
    return Grid(box=box, matrix=matrix)
