"""From a picture's pixels back to the still portrait.

Owns: `View`, which part of the canvas a picture shows, and `Inverse`, the forward warp of `fields.py` turned round on
a grid. What is drawn through it is `warp.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.sample.portrait import CANVAS_PX
from shards.schema import F32, F64

GRID_PX = 4
"""Canvas px between the nodes at which the warp is worked out; between them it is interpolated by cubics."""

_MARGIN_PX = 32
_STEPS = 8

Patch = tuple[slice, slice]
"""Rows and columns of a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which part of the canvas a picture of some size shows: all its longer side, cut around the face."""

    width: int
    height: int
    scale: float
    """Picture px per canvas px."""
    offset: tuple[float, float]
    """Canvas px of the picture's top-left corner (of the pixel, not its centre)."""

    @classmethod
    def of(cls, size: tuple[int, int], face_centre: F64) -> View:
        width, height = size
        scale = max(width, height) / CANVAS_PX
        shown = np.array([width, height]) / scale
        offset = np.clip(face_centre - shown / 2, 0, CANVAS_PX - shown)
        return cls(width=width, height=height, scale=scale, offset=(float(offset[0]), float(offset[1])))

    def to_picture(self, canvas: F64) -> F64:
        out: F64 = (canvas + 0.5 - np.array(self.offset)) * self.scale - 0.5
        return out

    def to_canvas(self, picture: F64) -> F64:
        out: F64 = (picture + 0.5) / self.scale + np.array(self.offset) - 0.5
        return out

    def canvas_of(self, patch: Patch) -> F64:
        """(h, w, 2) the canvas point at the centre of every pixel of the patch."""
        rows, columns = np.mgrid[patch]
        return self.to_canvas(np.stack([columns, rows], axis=-1).astype(np.float64))

    def patch_around(self, canvas: F64, margin_px: float) -> Patch:
        """The pixels around some canvas points."""
        size = np.array([self.width, self.height])
        low = np.clip(np.floor(self.to_picture(canvas.min(axis=0) - margin_px)).astype(int), 0, size)
        high = np.clip(np.ceil(self.to_picture(canvas.max(axis=0) + margin_px)).astype(int), 0, size)
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def grid_nodes() -> F64:
    """(N, 2) canvas px: a square grid over the canvas and a margin."""
    axis = np.arange(-_MARGIN_PX, CANVAS_PX + _MARGIN_PX + 1, GRID_PX, dtype=np.float64)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inverse:
    """Where each place of the moved canvas was at rest."""

    pull: F32
    """(K, K, 2) at the grid's nodes: rest minus moved, canvas px."""

    @classmethod
    def of(cls, moved: F64) -> Inverse:
        """From where the nodes go, by the fixed point p = q - d(p): the displacements bend too little to upset it."""
        nodes = grid_nodes()
        side = round(np.sqrt(len(nodes)))
        shift = (moved - nodes).reshape(side, side, 2).astype(np.float32)
        target = nodes.reshape(side, side, 2).astype(np.float32)
        rest = target - shift
        for _ in range(_STEPS):
            place = (rest + np.float32(_MARGIN_PX)) / np.float32(GRID_PX)
            pulled = cv2.remap(shift, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            rest = (target - pulled).astype(np.float32)
        return cls(pull=(rest - target).astype(np.float32))

    def rest(self, view: View, patch: Patch) -> F32:
        """(h, w, 2) for every pixel of the patch the canvas point at rest that is seen there."""
        here = view.canvas_of(patch)
        place = ((here + _MARGIN_PX) / GRID_PX).astype(np.float32)
        pull = cv2.remap(self.pull, place[..., 0], place[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        out: F32 = (pull + here).astype(np.float32)
        return out
