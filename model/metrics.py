"""Figures of one clip, generated against real. Plain numpy; what is learned (sync, LPIPS) is not here.

T frames, S side in px, P points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.landmarks import opening
from shards.schema import F32, U8, Landmarks
from shards.topology import Topology


def psnr_db(made: U8, real: U8, weight: F32 | None = None) -> float:
    """Peak signal-to-noise ratio of (T, S, S, 3) pictures, where `weight` (S, S) or (T, S, S) says what counts."""
    error = (made.astype(np.float64) - real.astype(np.float64)) ** 2
    where = np.broadcast_to(1.0 if weight is None else weight, error.shape[:3])
    if where.sum() == 0:
        return float("nan")
    mean = (error.mean(axis=3) * where).sum() / where.sum()
    return float(10 * np.log10(255.0**2 / max(mean, 1e-10)))


def mouth_weight(landmarks: Landmarks, size_px: int, margin: float = 0.1) -> F32:
    """(T, S, S) 1 in the box of the lips and a margin of its width around it, for `psnr_db`; 0 where not seen."""
    weight = np.zeros((len(landmarks), size_px, size_px), np.float32)
    for i in np.flatnonzero(landmarks.seen()):
        lips = landmarks.points[i][list(landmarks.topology.lips)]
        low, high = lips.min(axis=0), lips.max(axis=0)
        room = margin * (high[0] - low[0])
        (left, top), (right, bottom) = (
            np.clip(np.round(edge), 0, size_px).astype(int) for edge in (low - room, high + room + 1)
        )
        weight[i, top:bottom, left:right] = 1
    return weight


def lip_distance(made: Landmarks, real: Landmarks) -> float:
    """LMD: mean distance of lip points over the eyes' distance, in frames where both faces are seen."""
    return point_distance(made, real, real.topology.lips)


def point_distance(made: Landmarks, real: Landmarks, points: Sequence[int]) -> float:
    """The same of any points of the face."""
    both = made.seen() & real.seen()
    if not both.any():
        return float("nan")
    rows = list(points)
    far = np.linalg.norm(made.points[both][:, rows] - real.points[both][:, rows], axis=2).mean(axis=1)
    return float((far / eye_distance(real.points[both], real.topology)).mean())


def opening_correlation(made: Landmarks, real: Landmarks) -> float:
    """Pearson correlation of how far the mouths are open; NaN where one of them never moves."""
    both = made.seen() & real.seen()
    ours = opening(made.points[both], made.topology).astype(np.float64)
    truth = opening(real.points[both], real.topology).astype(np.float64)
    if both.sum() < 3 or ours.std() < 1e-6 or truth.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(ours, truth)[0, 1])


def opening_rate(made: Landmarks, real: Landmarks) -> float:
    """How much the made mouth moves, as a share of how much the real one does; under 1 is under-articulation."""
    both = made.seen() & real.seen()
    truth = float(opening(real.points[both], real.topology).std()) if both.any() else 0.0
    return float(opening(made.points[both], made.topology).std()) / truth if truth > 1e-6 else float("nan")


def opening_speed(landmarks: Landmarks) -> float:
    """Mean change of the mouth's opening from frame to frame, eye distances; only neighbours that are both seen."""
    open_T = openings(landmarks)
    steps = np.abs(np.diff(open_T))
    return float(np.nanmean(steps)) if np.isfinite(steps).any() else float("nan")


def closed_share(landmarks: Landmarks, below: float) -> float:
    """Share of the seen frames in which the mouth is open by less than `below`, eye distances."""
    open_T = openings(landmarks)
    seen = np.isfinite(open_T)
    return float((open_T[seen] < below).mean()) if seen.any() else float("nan")


def openings(landmarks: Landmarks) -> F32:
    """(T,) how far the mouth is open, eye distances; NaN where the face is not seen."""
    points, topology = landmarks.points, landmarks.topology
    return np.asarray(opening(points, topology) / eye_distance(points, topology), dtype=np.float32)


def eye_distance(points: F32, topology: Topology) -> F32:
    """(T,) distance between the eye centres, in the unit of the points."""
    left = points[:, list(topology.left_eye)].mean(axis=1)
    right = points[:, list(topology.right_eye)].mean(axis=1)
    distance: F32 = np.linalg.norm(left - right, axis=1)
    return distance
