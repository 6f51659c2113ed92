"""Where a head carries its mouth, told apart from what the mouth says.

Crops are fitted to the upper face, so what they leave of a head's motion is its turning. It moves the mouth as a whole
and slowly, and speech moves it fast; but heads nod along with words, and a network that may look at the nodding reads
the words from it. In a dub there are other words under the same head, and what it has read is wrong.

T frames, P all points, O pose points and X their numbers, K content points, C components, 4 places: lips' and jaw's.
"""

from __future__ import annotations

import numpy as np

from shards.schema import F32, F64
from shards.topology import Topology

COMPONENTS = 3
"""Of the pose: a head turns in three ways."""
CALM_FRAMES = 13
"""Half a second at 25 Hz: over so long syllables are averaged out, and turning is not."""
RIDGE = 1e-5
"""Squared crop units: a head that hardly turns tells nothing of how it carries its mouth."""


class Head:
    """A linear map, fitted to a clip, from its pose to where on average lips and jaw are at that pose.

    It moves lips without changing them: a map of every point would let the nodding open the mouth, after all.
    """

    def __init__(self, points_TP2: F32, shape: Topology) -> None:
        seen_TP2 = points_TP2[np.isfinite(points_TP2).all(axis=(1, 2))].astype(np.float64)
        pose_TX = seen_TP2[:, list(shape.pose)].reshape(len(seen_TP2), -1)
        self._in_lips_K = np.isin(shape.content, shape.lips)
        self._middle_X, self._basis_XC = np.zeros(pose_TX.shape[1]), np.zeros((pose_TX.shape[1], COMPONENTS))
        self._map_C4 = np.zeros((COMPONENTS, 4))
        if len(seen_TP2) < 3 * CALM_FRAMES:
            return  # too short to tell slow from fast: then the head carries nothing
        self._middle_X[:] = pose_TX.mean(axis=0)
        self._basis_XC[:] = np.linalg.svd(pose_TX - self._middle_X, full_matrices=False)[2][:COMPONENTS].T
        turned_TC = _calmed((pose_TX - self._middle_X) @ self._basis_XC)
        places_T4 = np.concatenate([seen_TP2[:, list(part)].mean(axis=1) for part in (shape.lips, shape.jaw)], axis=1)
        moved_T4 = _calmed(places_T4 - places_T4.mean(axis=0))
        squares_CC = turned_TC.T @ turned_TC + RIDGE * len(turned_TC) * np.eye(COMPONENTS)
        self._map_C4[:] = np.linalg.solve(squares_CC, turned_TC.T @ moved_T4)

    def carries(self, pose_TO2: F32) -> F64:
        """(T, K, 2) from the clip's mean mouth to where these poses carry it: all lips alike, and all of the jaw."""
        flat_TX = pose_TO2.reshape(len(pose_TO2), -1).astype(np.float64)
        moved_T4 = (flat_TX - self._middle_X) @ self._basis_XC @ self._map_C4
        lips_T12, jaw_T12 = moved_T4[:, None, :2], moved_T4[:, None, 2:]
        return np.where(self._in_lips_K[None, :, None], lips_T12, jaw_T12)


def _calmed(values_TX: F64) -> F64:
    weights = np.hanning(CALM_FRAMES + 2)[1:-1]
    weights /= weights.sum()
    out: F64 = np.stack([np.convolve(column, weights, "valid") for column in values_TX.T], axis=1)
    return out
