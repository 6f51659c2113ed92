"""Landmarks as the networks see them: crop px <-> crop units, mouth opening, the move to another clock.

Crop units are [-1, 1] from edge to edge: u = (p + 0.5) / S * 2 - 1, since pixel centres are at integers.

T frames, P points.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shards.schema import F32, F64, Landmarks
from shards.topology import Topology

Array = TypeVar("Array", Tensor, NDArray[Any])


def to_units(points_px: Array, crop_px: int) -> Array:
    return (points_px + 0.5) / crop_px * 2 - 1


def to_px(points: Array, crop_px: int) -> Array:
    return (points + 1) / 2 * crop_px - 0.5


def opening(points: Array, topology: Topology) -> Array:
    """(...) distance between the middles of the inner lips, in the unit of the points."""
    upper, lower = topology.inner_lip_mid
    gap = points[..., lower, :] - points[..., upper, :]
    # Not a plain root: its slope at a closed mouth is infinite, and the loss needs one there.
    distance: Array = ((gap * gap).sum(-1) + 1e-12) ** 0.5
    return distance


def at_times(landmarks: Landmarks, have_s: F64, want_s: F64, *, max_gap_s: float = 0.2) -> F32:
    """(len(want_s), P, 2) points moved linearly to other times; NaN beyond the seen frames and in long gaps."""
    seen = landmarks.seen()
    out = np.full((len(want_s), *landmarks.points.shape[1:]), np.nan, dtype=np.float32)
    if not seen.any():
        return out
    have, points = have_s[seen], landmarks.points[seen].astype(np.float64)
    right = np.clip(np.searchsorted(have, want_s), 1, max(len(have) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(have) - 1)
    gap = have[right] - have[left]
    share = np.clip((want_s - have[left]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)
    moved = points[left] + share[:, None, None] * (points[right] - points[left])
    near = np.minimum(np.abs(want_s - have[left]), np.abs(want_s - have[right])) <= max_gap_s / 2
    usable = near & ((gap <= max_gap_s) | np.isin(want_s, have))
    out[usable] = moved[usable]
    return out


def filled(points_TP2: Tensor) -> tuple[Tensor, Tensor]:
    """Points with unseen frames at zero, and (T,) which were seen."""
    seen_T = points_TP2.isfinite().all(dim=-1).all(dim=-1)
    return torch.where(seen_T[:, None, None], points_TP2, 0.0), seen_T
