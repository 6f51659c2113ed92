"""Between YUV as a file stores it and RGB as people and models see it.

Owns the matrices, the ranges and what an untagged file is taken for: BT.709 when it is HD (a side of 1280 px, or two of
720), BT.601 below. Float32 throughout. Transfer curves are left alone: what comes out is the file's own R'G'B'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.media.base import VideoStream
from shards.schema import F32, F64

Matrix = Literal["bt601", "bt709", "bt2020"]

# Kr and Kb of ITU-R BT.601, BT.709 and BT.2020 (non-constant luminance).
_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
_TAGS: dict[str, Matrix] = {
    "bt709": "bt709", "smpte170m": "bt601", "bt470bg": "bt601", "fcc": "bt601", "smpte240m": "bt709",
    "bt2020nc": "bt2020", "bt2020c": "bt2020", "bt2020ncl": "bt2020", "bt2020_ncl": "bt2020",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """How a picture's numbers are to be read."""

    matrix: Matrix
    is_full: bool
    """Samples use the whole scale (`pc`), not 16-235 (`tv`)."""
    bit_depth: int

    @classmethod
    def of(cls, video: VideoStream) -> Coding:
        """As the file is tagged; as players guess where it is not."""
        is_hd = max(video.width, video.height) >= 1280 or min(video.width, video.height) >= 720
        return cls(
            matrix=_TAGS.get(video.color_space or "", "bt709" if is_hd else "bt601"),
            is_full=video.color_range == "pc" or video.pix_fmt.startswith("yuvj"),
            bit_depth=video.bit_depth,
        )

    @property
    def ffmpeg_matrix(self) -> str:
        """The name ffmpeg's scale filter knows it by."""
        return self.matrix

    def to_rgb_matrix(self) -> F64:
        """(3, 3): (Y, Cb, Cr), Y in [0, 1] and chroma in [-0.5, 0.5], to R'G'B' in [0, 1]."""
        kr, kb = _WEIGHTS[self.matrix]
        kg = 1 - kr - kb
        return np.array(
            [[1, 0, 2 * (1 - kr)], [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg], [1, 2 * (1 - kb), 0]]
        )

    def scale_and_zero(self) -> tuple[F32, F32]:
        """What a unit of (Y, Cb, Cr) is worth in stored steps, and where its zero lies."""
        one = 1 << (self.bit_depth - 8)
        top = (1 << self.bit_depth) - 1
        if self.is_full:
            return np.array([top, top, top], np.float32), np.array([0, 128 * one, 128 * one], np.float32)
        return np.array([219 * one, 224 * one, 224 * one], np.float32), np.array([16, 128, 128], np.float32) * one


def yuv_to_rgb(planes: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], coding: Coding) -> F32:
    """(H, W, 3) float32 RGB in 0..255, not clipped: what lies outside comes back unharmed on the way back."""
    luma = planes[0].astype(np.float32)
    size = (luma.shape[1], luma.shape[0])
    yuv = np.stack([luma, *(_grown(p.astype(np.float32), size) for p in planes[1:])], axis=-1)
    scale, zero = coding.scale_and_zero()
    matrix = coding.to_rgb_matrix().astype(np.float32)
    rgb: F32 = (((yuv - zero) / scale) @ matrix.T * np.float32(255)).astype(np.float32)
    return rgb


def rgb_to_yuv(rgb: F32, coding: Coding, chroma: tuple[int, int]) -> tuple[F32, F32, F32]:
    """Planes in stored steps, float32, not yet rounded; `chroma` is how many (columns, rows) share a chroma sample."""
    scale, zero = coding.scale_and_zero()
    inverse = np.linalg.inv(coding.to_rgb_matrix()).astype(np.float32)
    yuv: F32 = ((rgb / np.float32(255)) @ inverse.T * scale + zero).astype(np.float32)
    return yuv[..., 0], shrunk(yuv[..., 1], chroma), shrunk(yuv[..., 2], chroma)


def rgb_delta_to_yuv(delta: F32, coding: Coding, chroma: tuple[int, int]) -> tuple[F32, F32, F32]:
    """A *change* of RGB as the change of the stored planes: no zero points, so no change stays exactly none."""
    scale, _ = coding.scale_and_zero()
    inverse = np.linalg.inv(coding.to_rgb_matrix()).astype(np.float32)
    yuv: F32 = ((delta / np.float32(255)) @ inverse.T * scale).astype(np.float32)
    return yuv[..., 0], shrunk(yuv[..., 1], chroma), shrunk(yuv[..., 2], chroma)


def rounded(plane: F32, coding: Coding) -> NDArray[Any]:
    """Stored samples: the nearest step inside the scale."""
    kind = np.uint8 if coding.bit_depth == 8 else np.uint16
    return np.clip(np.rint(plane), 0, (1 << coding.bit_depth) - 1).astype(kind)


def _grown(plane: F32, size: tuple[int, int]) -> F32:
    """Chroma at every pixel: straight lines between the middles of the blocks it stands for."""
    height, width = plane.shape
    columns, rows = -(-size[0] // width), -(-size[1] // height)
    if columns == rows == 1:
        return plane
    # Whole blocks first, then cut: stretching to an odd size would move every sample a little.
    grown = cv2.resize(plane, (width * columns, height * rows), interpolation=cv2.INTER_LINEAR)
    cut: F32 = np.asarray(grown[: size[1], : size[0]], dtype=np.float32)
    return cut


def shrunk(plane: F32, chroma: tuple[int, int]) -> F32:
    """The mean of each block; an odd edge is repeated first, as encoders do."""
    columns, rows = chroma
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % rows), (0, -width % columns)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    mean: F32 = blocks.mean(axis=(1, 3), dtype=np.float32)
    return mean
