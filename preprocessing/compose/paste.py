"""Puts generated crops back into the frame they were cut from, and touches nothing else.

Owns the blend. Where and how softly is `mask.py`, the way between crop and samples `region.py`, the light `light.py`
(before a clip is kept), grain `grain.py`. What is added to a frame is a *difference* to the crop that this very frame
gives: a generated picture equal to the source adds zero, and a sample that nothing is added to stays bit for bit.

Low frequencies come in over the wide feather. Detail comes in over the narrow one and only where the two pictures show
different things; elsewhere the source's own skin stays, finer than any crop could hold it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.compose.grain import BLOCK, grain
from preprocessing.compose.mask import REACH_PX, PasteMask, mouth_mask
from preprocessing.compose.region import Box, grid, stored_matrix, touched_box
from preprocessing.media.base import VideoStream
from preprocessing.media.colour import Coding, rounded
from preprocessing.media.native import NativeFrame, Plane
from shards.crop import CropWindow
from shards.schema import F32, F64, U8
from shards.topology import Topology

_LOW = 0.08
"""Sigma, eye units, between light and shape on one side and detail on the other."""
_SHAPE = (0.04, 0.13)
"""Sigmas, eye units, of the band in which the two pictures are compared: coarser than pores, finer than light."""
_NEAR = 0.06
"""Sigma, eye units, over which that difference is gathered."""
_DIFFERENT = (3.0, 9.0)
"""8-bit levels of difference up to which two pictures show the same, and from which on they do not."""
_COARSE_PX = 128
"""Masks and low frequencies are worked out on no more than so many pixels a side of the crop."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mouth:
    """One generated face of one frame."""

    crop_rgb: U8
    """(S, S, 3)."""
    matrix: F64
    """(2, 3) this frame's row of the `CropTransform`: source px as displayed -> crop px."""
    window: CropWindow
    seen: F32 | F64 | None
    """(P, 2) the source's own points, crop px, `mask.steady` over the clip; None replaces the window's whole mask."""
    made: F32 | F64 | None
    """(P, 2) the points that were drawn, likewise."""
    topology: Topology
    opacity: float = 1.0
    """In [0, 1]: fades the whole paste."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.opacity <= 1.0:
            raise ValueError(f"opacity is in [0, 1], not {self.opacity}")
        if self.crop_rgb.dtype != np.uint8 or self.crop_rgb.shape != (*self.crop_rgb.shape[:1] * 2, 3):
            raise ValueError(f"a crop is (S, S, 3) uint8, not {self.crop_rgb.shape} {self.crop_rgb.dtype}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A mouth's maps, and the part of its crop that they do not leave alone."""

    mask: PasteMask
    """Within `coarse`."""
    coarse: Box
    """In the crop averaged down by `step`."""
    step: int
    """Crop px a pixel of the maps: light, shape and masks need no finer ones."""

    @property
    def crop(self) -> Box:
        """The same part, in crop px."""
        edges = (self.coarse.left, self.coarse.top, self.coarse.right, self.coarse.bottom)
        left, top, right, bottom = (edge * self.step for edge in edges)
        return Box(left=left, top=top, right=right, bottom=bottom)


def compose(frame: NativeFrame, mouths: Sequence[Mouth], video: VideoStream) -> NativeFrame:
    """The frame with these mouths in it, one after the other.

    `video` describes the frames (`native_video`) with the player's rotation.
    """
    planes = None
    for mouth in mouths:
        if mouth.opacity > 0.0:
            planes = planes or (frame.planes[0].copy(), frame.planes[1].copy(), frame.planes[2].copy())
            _paste(planes, mouth, frame, video)
    return frame if planes is None else NativeFrame(index=frame.index, planes=planes, pix_fmt=frame.pix_fmt)


def _paste(planes: tuple[Plane, Plane, Plane], mouth: Mouth, frame: NativeFrame, video: VideoStream) -> None:
    coding, chroma = Coding.of(video), frame.format.chroma
    stored = stored_matrix(mouth.matrix, video.rotation, planes[0].shape[::-1])
    plan = planned(mouth, stored, chroma)
    luma = touched_box(stored, plan.crop, planes[0], chroma)
    if plan.coarse.is_empty or luma.is_empty:
        return
    grids = [grid(stored, luma, plan.crop, samples) for samples in ((1, 1), chroma, chroma)]
    parts = [np.asarray(place.box.of(plane), dtype=np.float32) for place, plane in zip(grids, planes, strict=True)]
    own = [place.coarser(plan.step).cropped(part, plan.coarse.size) for place, part in zip(grids, parts, strict=True)]
    generated = _yuv(plan.crop.of(mouth.crop_rgb), coding)
    shift, replaced = _blended(_resized(generated, plan.coarse.size) - np.dstack(own), plan, mouth, level_of(coding))
    # The source gives way to `replaced` of the generated picture; the rest of it is only shifted.
    share = _resized(replaced, plan.crop.size)
    taken = _resized(shift, plan.crop.size) + generated * share[..., None]
    coarse = np.dstack([replaced, plan.mask.skin])
    for number, (place, part, plane) in enumerate(zip(grids, parts, planes, strict=True)):
        layers = place.spread(np.dstack([taken[..., number], share]))
        blocks = place.coarser(plan.step).blocks(coarse, BLOCK)
        made = _made(part, layers, blocks, seed=(frame.index, number), level=level_of(coding))
        place.box.of(plane)[...] = rounded(made, coding)


def _made(part: F32, layers: F32, blocks: F32, *, seed: tuple[int, int], level: float) -> F32:
    """A plane's samples, `layers` being what comes in and the share that gives way; where both are zero, the same."""
    incoming, gone = layers[..., 0], layers[..., 1]
    made = part + incoming - gone * part
    return made + grain(part, made, gone, blocks, seed=seed, level=level)


def planned(mouth: Mouth, stored: F64, chroma: tuple[int, int]) -> Plan:
    """What `compose` does to the mouth's crop; `stored` leads from luma samples to crop px."""
    size_px = len(mouth.crop_rgb)
    step = next((n for n in range(1, size_px) if size_px % n == 0 and size_px <= n * _COARSE_PX <= 2 * size_px), 1)
    # What is finer than the samples is averaged down when it is spread, and then reaches out by samples, not px.
    px_per_sample = math.sqrt(abs(float(np.linalg.det(stored[:, :2])))) * max(chroma) / step
    points = [None if p is None else (np.asarray(p, np.float64) + 0.5) / step - 0.5 for p in (mouth.seen, mouth.made)]
    reach_px = REACH_PX * max(1.0, px_per_sample)
    mask = mouth_mask(mouth.window, size_px // step, points[0], points[1], mouth.topology, reach_px=reach_px)
    coarse = Box.around(np.maximum(mask.wide, mask.skin) > 0)
    return Plan(mask=mask.within(coarse), coarse=coarse, step=step)


def _blended(difference: F32, plan: Plan, mouth: Mouth, level: float) -> tuple[F32, F32]:
    """What is added to the source (H, W, 3), and how much of it gives way to the generated picture (H, W) in [0, 1].

    Together: wide * low + replaced * (generated - source - low).
    """
    unit = len(mouth.crop_rgb) / plan.step / mouth.window.side
    fine, shape = (_blurred(difference[..., 0], sigma * unit) for sigma in _SHAPE)
    different = np.sqrt(_blurred((fine - shape) ** 2, _NEAR * unit))
    none, all_of_it = (bound * level for bound in _DIFFERENT)
    share = np.clip((different - none) / (all_of_it - none), 0, 1)
    share *= share * (3 - 2 * share)
    # A mouth is the generated one as a whole, unless nothing about it differs.
    lips = plan.mask.lips
    replaced = np.maximum(plan.mask.narrow * share, lips * (share * lips).max())
    shift = _blurred(difference, _LOW * unit) * (plan.mask.wide - replaced)[..., None]
    opacity = np.float32(mouth.opacity)
    return shift * opacity, replaced * opacity


def level_of(coding: Coding) -> float:
    """One 8-bit grey level in stored steps."""
    return float(1 << (coding.bit_depth - 8))


def _yuv(rgb: U8, coding: Coding) -> F32:
    """(H, W, 3) in stored steps, not rounded, chroma at every pixel."""
    scale, zero = coding.scale_and_zero()
    matrix = np.linalg.inv(coding.to_rgb_matrix()) * scale[:, None] / 255
    return np.asarray(cv2.transform(rgb.astype(np.float32), np.column_stack([matrix, zero])), dtype=np.float32)


def _blurred(picture: F32, sigma_px: float) -> F32:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(sigma_px, 0.1)), dtype=np.float32)


def _resized(picture: F32, size: tuple[int, int]) -> F32:
    """Averaged down, or straight lines in between; the picture itself where it has that size."""
    if size == picture.shape[1::-1]:
        return picture
    how = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), dtype=np.float32)
