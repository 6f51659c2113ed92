"""Where the generated picture counts, and where it is compared with its surroundings.

Owns both maps in crop coordinates, made from the window alone: nothing of a frame goes in, so the shape of what is
replaced can tell nothing about the source's mouth.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from shards.crop import CropWindow
from shards.schema import F32

FEATHER = 0.14
"""Width of the soft edge, eye units: about a finger on a face. It lies wholly inside the window's mask."""
RING = 0.12
"""Width of the band around the mask in which colours are compared, eye units."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PasteMask:
    """The two maps of one window at one crop size."""

    weight: F32
    """(S, S) float32 in [0, 1]: share of the generated picture; 0 from the mask's border outwards."""
    ring: F32
    """(S, S) float32, 1 in the band just outside the mask and inside the crop, else 0."""
    box: tuple[float, float, float, float]
    """(left, top, right, bottom) in crop px around everything that is not zero in either map."""


@functools.lru_cache(maxsize=16)
def paste_mask(window: CropWindow, size_px: int) -> PasteMask:
    """The maps of `window` for an S x S crop."""
    px_per_unit = size_px / window.side
    generated = (window.mask(size_px) > 0.5).astype(np.uint8)
    # The crop's own edge is a border too: nothing may be pasted up to it, for beyond it there is no picture.
    inside = np.zeros_like(generated)
    inside[1:-1, 1:-1] = 1
    inward = cv2.distanceTransform(np.pad(generated * inside, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    # A pixel that touches the outside, even by a corner (1.4), is the border and gets nothing.
    ramp = np.clip((inward - 1.5) / max(1.0, FEATHER * px_per_unit), 0, 1)
    weight = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    outward = cv2.distanceTransform(1 - generated, cv2.DIST_L2, 5)
    ring = ((outward >= 1) & (outward <= max(2.0, RING * px_per_unit)) & (inside > 0)).astype(np.float32)
    for shared in (weight, ring):
        shared.setflags(write=False)
    rows, columns = np.nonzero((weight > 0) | (ring > 0))
    box = (float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))
    return PasteMask(weight=weight, ring=ring, box=box)
