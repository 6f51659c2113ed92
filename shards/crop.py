"""The crop window: which part of a face the model sees, and which part of that it may change.

Lengths are in *eye units*: 1 is the distance between the eye centres of the mean face, the origin is midway between
them, x to the right, y down. The window is fitted to upper-face points only, and the mask of what is generated is
fixed in crop coordinates: neither may tell how far the source's mouth is open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shards.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class CropWindow:
    """A square over the mean face, and a rounded box in it that is generated."""

    name: str
    centre: tuple[float, float]
    """(x, y) of the square's centre, eye units."""
    side: float
    """Length of the square's side, eye units."""
    mask_box: tuple[float, float, float, float]
    """(left, top, right, bottom) of the generated region, eye units: cheeks, jaw and the chin's whole travel."""
    mask_radius: float
    """Radius of the box's corners, eye units."""

    def matrix(self, size_px: int) -> NDArray[np.float64]:
        """(2, 3) float64, eye units -> crop px (pixel centres at integers)."""
        k = size_px / self.side
        shift = [size_px / 2 - 0.5 - k * c for c in self.centre]
        return np.array([[k, 0.0, shift[0]], [0.0, k, shift[1]]])

    def mask(self, size_px: int) -> NDArray[np.float32]:
        """(S, S) float32 in [0, 1]: 1 where the model generates; the edge is one pixel soft."""
        k = size_px / self.side
        axis = (np.arange(size_px) + 0.5) / k - self.side / 2
        x, y = np.meshgrid(axis + self.centre[0], axis + self.centre[1])
        left, top, right, bottom = self.mask_box
        # Signed distance to a rounded box: negative inside.
        dx = np.abs(x - (left + right) / 2) - ((right - left) / 2 - self.mask_radius)
        dy = np.abs(y - (top + bottom) / 2) - ((bottom - top) / 2 - self.mask_radius)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        distance = outside + np.minimum(np.maximum(dx, dy), 0) - self.mask_radius
        soft: NDArray[np.float32] = np.clip(0.5 - distance * k, 0, 1).astype(np.float32)
        return soft


WINDOWS: dict[str, CropWindow] = {
    w.name: w
    for w in (
        # Nose bridge to below the chin, ear to ear: the mouth is about 1.5x larger than in `face` at the same cost.
        CropWindow(name="lower_face", centre=(0.0, 1.2), side=2.4, mask_box=(-0.95, 0.65, 0.95, 2.3), mask_radius=0.5),
        CropWindow(name="face", centre=(0.0, 0.7), side=3.5, mask_box=(-0.95, 0.65, 0.95, 2.3), mask_radius=0.5),
    )
}


def crop_window(name: str) -> CropWindow:
    """The window of that name; refuses an unknown one."""
    try:
        return WINDOWS[name]
    except KeyError:
        raise RequestError("unknown crop window", field="window", value=name, choices=WINDOWS) from None
