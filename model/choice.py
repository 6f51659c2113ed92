"""Which frames of a clip show what the person looks like and how far the mouth goes.

T frames, R reference pictures, N reference faces, S crop side, P points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.landmarks import opening
from shards.errors import RequestError
from shards.schema import F32, U8, Landmarks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class References:
    """One person, seen with the mouth closed to open."""

    frames: U8
    """(R, S, S, 3) uint8, face crops: the appearance."""
    landmarks: F32
    """(N, P, 2) float32, crop px, all finite: the neutral mouth and its range."""

    def faces(self, topology_name: str) -> Landmarks:
        """The landmarks as what they are: every face is seen."""
        confidence = np.ones(len(self.landmarks), dtype=np.float32)
        return Landmarks(points=self.landmarks, confidence=confidence, topology_name=topology_name, space="crop")


def spread_by_opening(
    openings: NDArray[np.floating],
    count: int,
    rng: np.random.Generator | None = None,
    *,
    turned: NDArray[np.floating] | None = None,
) -> list[int]:
    """`count` places in `openings`, one from each of as many equal strata, from closed to wide open.

    Training draws inside a stratum, dubbing takes its middle: the mean of the chosen mouths agrees in both. Where
    `turned` says how far each face is turned from the one to be made, dubbing takes the nearest one of the middle half.
    """
    order = np.argsort(openings, kind="stable")
    edges = np.linspace(0, len(order), count + 1)
    if turned is not None:
        quarter = (edges[1:] - edges[:-1]) / 4
        middles = zip(edges[:-1] + quarter, edges[1:] - quarter, strict=True)
        halves = (order[int(a) : max(math.ceil(b), int(a) + 1)] for a, b in middles)
        return [int(half[np.argmin(turned[half])]) for half in halves]
    at = (edges[:-1] + edges[1:]) / 2 if rng is None else rng.uniform(edges[:-1], edges[1:])
    return [int(order[min(int(a), len(order) - 1)]) for a in at]


def choose(
    frames: U8, landmarks: Landmarks, *, num_pictures: int, num_faces: int, target: Landmarks | None = None
) -> References:
    """References from the frames in which the face is seen; refuses a clip that has none.

    With `target`, the faces to be made, those are preferred that are turned as they are, mouth for mouth.
    """
    seen = np.flatnonzero(landmarks.seen())
    if len(seen) == 0:
        raise RequestError("no frame shows the face, so there is nothing to take its looks from", field="landmarks")
    openings = opening(landmarks.points[seen], landmarks.topology)
    turned = None if target is None else _turned(landmarks.points[seen], target)
    return References(
        frames=frames[seen[spread_by_opening(openings, num_pictures, turned=turned)]],
        landmarks=landmarks.points[seen[spread_by_opening(openings, num_faces, turned=turned)]],
    )


def _turned(points: F32, target: Landmarks) -> F32:
    """(T,) mean distance of the pose points, crop px, from the target's median face.

    The crop takes out where a face is, how large and how tilted; what is left of its upper half is how it is turned.
    """
    pose = list(target.topology.pose)
    faces = target.points[target.seen()]
    if len(faces) == 0:
        return np.zeros(len(points), np.float32)
    far: F32 = np.linalg.norm(points[:, pose] - np.median(faces[:, pose], axis=0), axis=2).mean(axis=1)
    return far
