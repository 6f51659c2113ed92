"""Which part of a crop is replaced, how softly, and where both pictures show the same skin.

Owns these maps, in crop coordinates. Distances are measured to convex outlines by formula, not by painting them, so a
point that moves a tenth of a pixel moves the mask by as much and no edge jitters from frame to frame. What is done with
the maps is `paste.py`'s, the light `light.py`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.compose.region import Box
from shards.crop import CropWindow
from shards.meanface import mean_face
from shards.schema import F32, F64
from shards.topology import Topology

WIDE = 0.24
"""Eye units over which low frequencies come in: two fingers on a face. All feathers lie inside the mask."""
NARROW = 0.12
"""Eye units over which detail comes in: two sets of pores on top of each other must be kept short."""
_MARGIN = 0.14
"""Eye units by which the mask goes past the outlines at the chin: one that moved is replaced and not doubled."""
_CHIN = (0.35, 0.75)
"""Eye units to the side of the chin up to which that margin is whole, and where it is used up: the rest of a jaw hardly
moves, and beyond it lies a background no model knows."""
_NOSE_FLOOR = 0.75
"""Where the mask may begin below the nose, eye units of the mean face: under the nostrils, well above the lip."""
_SKIN_INSIDE = 0.10
"""Skin is believed only so far inside the face's outline: a jaw's edge is not skin."""
_SKIN_FROM_LIPS = 0.14
"""And only so far from the lips: what they move looks different in the two pictures."""
_LIPS_MARGIN = 0.12
"""Eye units from the outlines of the lips at which their map ends."""
_SOFT = 0.06
"""Softness of the skin map's borders, so that a measure over it is steady in time."""
_GRID, _NUM_DIRECTIONS = 64, 40
"""Side of the raster on which distances to outlines are worked out (straight lines in between lose nothing), and the
number of directions in which an outline is looked at."""
REACH_PX = 3.0
"""How far a cubic interpolation of the maps may reach past them, so much stays empty along the window's border."""
_STEADY_FRAMES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PasteMask:
    """The maps of one face in one frame at one crop size; all are (S, S) float32 in [0, 1]."""

    wide: F32
    """Share of the generated picture among low frequencies."""
    narrow: F32
    """Share among detail; zero exactly where `wide` is."""
    skin: F32
    """1 where both pictures show the same skin: inside the window's mask, outside both mouths, off nose and jaw."""
    lips: F32
    """1 around both mouths, within `narrow`: what is said there is never half the one and half the other."""

    def within(self, box: Box) -> PasteMask:
        """The part of the maps in `box`."""
        wide, narrow, skin, lips = (box.of(part) for part in (self.wide, self.narrow, self.skin, self.lips))
        return PasteMask(wide=wide, narrow=narrow, skin=skin, lips=lips)


def mouth_mask(
    window: CropWindow,
    size_px: int,
    seen: F32 | F64 | None,
    made: F32 | F64 | None,
    topology: Topology,
    *,
    reach_px: float = REACH_PX,
) -> PasteMask:
    """The maps for source points `seen` and drawn points `made`, (P, 2) crop px each.

    Where one of them is not known (None, or too few finite points), the window's whole mask is replaced, and the mean
    face says where skin is.
    """
    faces = [_units(points, window, size_px) for points in (seen, made) if points is not None]
    faces = [face for face in faces if _is_usable(face, topology)]
    depth = _window_depth(window, size_px) - np.float32(reach_px * window.side / size_px)
    are_known = len(faces) == 2
    faces = faces if are_known else [*faces, mean_face(topology.name)]
    nose = _outside(faces[:1], topology.nose, window) - _clearance(topology)
    lips = _outside(faces, topology.lips, window)
    whole = tuple(range(topology.num_points))
    cheeks = -np.maximum(_outside(faces[:1], whole, window), _outside(faces[-1:], whole, window)) - _SKIN_INSIDE
    skin = np.minimum(depth, _grown(np.minimum(np.minimum(cheeks, nose), lips - _SKIN_FROM_LIPS), size_px))
    if are_known:
        lower = _margin(faces, topology, window) - _outside(faces, topology.content, window)
        depth = np.minimum(depth, _grown(np.minimum(lower, nose), size_px))
    narrow = _rise(depth, NARROW)
    return PasteMask(
        wide=_rise(depth, WIDE),
        narrow=narrow,
        skin=_rise(skin, _SOFT),
        lips=narrow * _grown(_rise(_LIPS_MARGIN - lips, _SOFT), size_px),
    )


def steady(points: F32) -> F32:
    """(T, P, 2) with every point's path smoothed for a mask: a drawn outline that jumps must not make it flicker.

    Frames without a face (NaN) stay so and have no say in their neighbours.
    """
    there = np.isfinite(points)
    reach = int(3 * _STEADY_FRAMES)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _STEADY_FRAMES) ** 2)
    flat = np.where(there, points, 0).reshape(len(points), -1).astype(np.float64)
    sums, shares = (
        cv2.filter2D(part, -1, kernel[:, None], borderType=cv2.BORDER_CONSTANT)
        for part in (flat, there.reshape(flat.shape).astype(np.float64))
    )
    smooth = (sums / np.maximum(shares, 1e-9)).reshape(points.shape)
    return np.where(there, smooth, np.nan).astype(np.float32)


def _units(points: F32 | F64, window: CropWindow, size_px: int) -> F64:
    matrix = window.matrix(size_px)
    out: F64 = (np.asarray(points, dtype=np.float64) - matrix[:, 2]) / matrix[0, 0]
    return out


def _is_usable(face: F64, topology: Topology) -> bool:
    """Enough of each part is known to draw an outline around it."""
    there = np.asarray(np.isfinite(face).all(axis=1))
    return all(there[list(part)].sum() >= 3 for part in (topology.jaw, topology.lips, topology.nose))


def _clearance(topology: Topology) -> float:
    """How far below its lowest nose point each layout's mask begins: FaceMesh's points end at the nostrils."""
    return _NOSE_FLOOR - float(mean_face(topology.name)[list(topology.nose), 1].max())


def _margin(faces: Sequence[F64], topology: Topology, window: CropWindow) -> F32:
    """(G, G) eye units by which the mask goes past the outline there."""
    chins = np.array([face[topology.chin, 0] for face in faces])
    aside = np.abs(_axes(window)[0] - np.float32(chins[np.isfinite(chins)].mean() if np.isfinite(chins).any() else 0.0))
    near, far = _CHIN
    margin: F32 = np.float32(_MARGIN) * np.clip((far - aside) / (far - near), 0, 1)
    return margin.reshape(_GRID, _GRID)


def _outside(faces: Sequence[F64], part: tuple[int, ...], window: CropWindow) -> F32:
    """(G, G) eye units from the hull of that part of all these faces: positive outside, negative inside.

    A convex outline is its support: how far it reaches in each direction. The distance to it is the greatest excess.
    """
    points = np.concatenate([face[list(part)] for face in faces])
    support = (points[np.isfinite(points).all(axis=1)] @ _directions()).max(axis=0)
    out: F32 = (_reaches(window) - support[:, None].astype(np.float32)).max(axis=0)
    return out.reshape(_GRID, _GRID)


@functools.lru_cache(maxsize=1)
def _directions() -> F64:
    """(2, N) unit vectors all around."""
    turns = np.arange(_NUM_DIRECTIONS) * (2 * np.pi / _NUM_DIRECTIONS)
    return np.stack([np.cos(turns), np.sin(turns)])


@functools.lru_cache(maxsize=8)
def _reaches(window: CropWindow) -> F32:
    """(N, G * G) how far each cell of the raster reaches in each direction."""
    return (_directions().T @ _axes(window)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _axes(window: CropWindow) -> F32:
    """(2, G * G) x and y of the raster's cells, eye units."""
    axis = (np.arange(_GRID) + 0.5) * window.side / _GRID - window.side / 2
    x, y = np.meshgrid(axis + window.centre[0], axis + window.centre[1])
    return np.stack([x.ravel(), y.ravel()]).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _window_depth(window: CropWindow, size_px: int) -> F32:
    """(S, S) eye units to the border of the window's mask, or of the crop: beyond either there is no picture."""
    inside = np.zeros((size_px + 2, size_px + 2), np.uint8)
    inside[2:-2, 2:-2] = window.mask(size_px)[1:-1, 1:-1] > 0.5
    depth: F32 = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1] * np.float32(window.side / size_px)
    depth.setflags(write=False)
    return depth


def _grown(field: F32, size_px: int) -> F32:
    return np.asarray(cv2.resize(field, (size_px, size_px), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _rise(depth: F32, width: float) -> F32:
    """0 up to depth 0, 1 from `width` on, smooth at both ends."""
    ramp = np.clip(depth * np.float32(1 / width), 0, 1)
    out: F32 = ramp * ramp * (3 - 2 * ramp)
    return out
