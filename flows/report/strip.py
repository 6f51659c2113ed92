"""The strip of pictures in a report: the source above, the result below, at the same moments; and how alike they are
where they must be alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.media.base import FrameSource
from shards.schema import F64, U8

STRIP_FRAMES = 6
STRIP_HEIGHT_PX = 220
_JPEG_QUALITY = 85
_ROOM = 1.3
"""How much more than the face's crop is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """What was looked at."""

    jpeg: bytes
    psnr_outside_db: float
    """Of the shown frames, over the blocks that did not change most: the encode's own loss."""


def picture_strip(source: FrameSource, result: FrameSource, opacity: F64, boxes: F64) -> Strip:
    """Shows the rendered faces, at moments spread over the rendered frames (whole frames, when none was).

    `boxes` is (T, 4): left, top, right, bottom of the face in each frame, px; NaN where none was rendered.
    """
    chosen = moments(opacity)
    try:
        pairs = [(_frame(source, i), _frame(result, i)) for i in chosen]
    finally:
        source.close()
        result.close()
    shown = list(zip(pairs, boxes[chosen], strict=True))
    size = _ROOM * float(np.max(boxes[chosen][:, 2:] - boxes[chosen][:, :2]))
    rows = [np.concatenate([_small(_around(pair[k], box, size)) for pair, box in shown], axis=1) for k in (0, 1)]
    sheet = cv2.cvtColor(np.concatenate(rows, axis=0), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError("the strip could not be encoded as JPEG")
    return Strip(jpeg=data.tobytes(), psnr_outside_db=float(np.median([psnr_outside(a, b) for a, b in pairs])))


def moments(opacity: F64) -> list[int]:
    """Frame numbers, spread evenly; where the new mouth is whole, if it is anywhere."""
    # The fade never reaches 1 in a stretch that is shorter than it takes to come and go.
    rendered = np.flatnonzero(opacity >= min(1.0, opacity.max(initial=0.0)))
    pool = rendered if opacity.any() else np.arange(len(opacity))
    picks = np.linspace(0, len(pool) - 1, min(STRIP_FRAMES, len(pool))).round().astype(int)
    return [int(pool[i]) for i in np.unique(picks)]


def psnr_outside(source: U8, result: U8) -> float:
    """dB over the half of the picture's 16 px blocks that differ least; a block of the mouth is never among them."""
    error = np.square(source.astype(np.float32) - result.astype(np.float32)).mean(axis=2)
    block = min(16, *error.shape)
    height, width = (side - side % block for side in error.shape)
    blocks = error[:height, :width].reshape(height // block, block, width // block, block).mean(axis=(1, 3))
    calm = np.sort(blocks.ravel())[: max(1, blocks.size // 2)]
    return float(10 * np.log10(255.0**2 / max(float(calm.mean()), 1e-6)))


def _frame(source: FrameSource, index: int) -> U8:
    (frame,) = source.frames(index, index + 1)
    return frame.rgb


def _around(rgb: U8, box: F64, size: float) -> U8:
    """A square of that size around the face, inside the picture; the whole picture where there is no box."""
    if not np.isfinite(box).all():
        return rgb
    height, width = rgb.shape[:2]
    side = min(round(size), height, width)
    left = int(np.clip((box[0] + box[2] - side) / 2, 0, width - side))
    top = int(np.clip((box[1] + box[3] - side) / 2, 0, height - side))
    return rgb[top : top + side, left : left + side]


def _small(rgb: U8) -> U8:
    height = min(STRIP_HEIGHT_PX, rgb.shape[0])
    width = round(rgb.shape[1] * height / rgb.shape[0])
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
