"""How visible the border of a paste is: a number for the report.

Owns the measure only. The border is the feather of the very mask that was used; what is compared is how steeply
brightness changes *across* it, in the composed frame and in the source. Grain and pores are smoothed away first.
"""

from __future__ import annotations

import cv2
import numpy as np

from preprocessing.compose.paste import Mouth, Plan, level_of, planned
from preprocessing.compose.region import Grid, grid, stored_matrix, touched_box
from preprocessing.media.base import VideoStream
from preprocessing.media.colour import Coding
from preprocessing.media.native import NativeFrame
from shards.schema import F32, F64

_SMOOTH = 0.04
"""Sigma, eye units, before slopes are taken."""
_UNSEEN = 12.0
"""8-bit levels an eye unit that nobody sees; without it, flat skin would make a seam of nothing."""
_SECTORS = 12
"""Stretches of the border that are judged one by one: a seam at the cheek does not hide behind a good chin."""


def seam_contrast(before: NativeFrame, after: NativeFrame, mouth: Mouth, video: VideoStream) -> float:
    """Slope across the paste's border in `after` against `before`, in its worst stretch; 1.0 is no visible edge."""
    chroma, size = before.format.chroma, before.planes[0].shape[::-1]
    stored = stored_matrix(mouth.matrix, video.rotation, size)
    plan = planned(mouth, stored, chroma)
    luma = touched_box(stored, plan.crop, before.planes[0], chroma)
    if plan.coarse.is_empty or luma.is_empty:
        return 1.0
    place = grid(stored, luma, plan.crop, (1, 1))
    unit = len(mouth.crop_rgb) / plan.step / mouth.window.side
    own, composed = (_slopes(frame, place, plan, unit) for frame in (before, after))
    across = _gradient(plan.mask.wide)
    unseen = _UNSEEN / unit * level_of(Coding.of(video))
    weight: F32 = np.hypot(*across)
    totals = [
        _sums(np.abs(sum(a * b for a, b in zip(across, s, strict=True))) + unseen * weight, plan)
        for s in (own, composed)
    ]
    there = _sums(weight, plan) > 0.01 * weight.sum()
    return float((totals[1] / np.maximum(totals[0], 1e-6))[there].max(initial=1.0))


def _slopes(frame: NativeFrame, place: Grid, plan: Plan, unit: float) -> tuple[F32, F32]:
    samples = np.asarray(place.box.of(frame.planes[0]), dtype=np.float32)
    small = place.coarser(plan.step).cropped(samples, plan.coarse.size)
    return _gradient(np.asarray(cv2.GaussianBlur(small, (0, 0), _SMOOTH * unit), dtype=np.float32))


def _gradient(picture: F32) -> tuple[F32, F32]:
    """(down, right) change a pixel."""
    down, right = (np.asarray(slope, dtype=np.float32) for slope in np.gradient(picture))
    return down, right


def _sums(values: F32, plan: Plan) -> F64:
    """(SECTORS,) totals, by direction from the mask's middle."""
    rows, columns = np.indices(values.shape, dtype=np.float64)
    wide = plan.mask.wide
    middle = [(axis * wide).sum() / max(float(wide.sum()), 1e-6) for axis in (rows, columns)]
    turn = np.arctan2(rows - middle[0], columns - middle[1]) / (2 * np.pi) % 1.0
    sector = np.minimum((turn * _SECTORS).astype(np.intp), _SECTORS - 1)
    totals: F64 = np.bincount(sector.ravel(), weights=values.ravel(), minlength=_SECTORS).astype(np.float64)
    return totals
