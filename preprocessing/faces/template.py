"""What a face is fitted to: the mean face's upper points in three dimensions, and how far each may be trusted.

Only the eyes, the nose bridge and, barely, the brows: a point that moves with speech would let the crop tell the
mouth. The flat numbers are `shards/meanface.py`'s; depth is needed here alone, to tell a turned head from a far one.
"""

from __future__ import annotations

import numpy as np

from shards.meanface import mean_face
from shards.schema import F64
from shards.topology import Topology

# fmt: off
_DEPTH: dict[str, tuple[float, ...]] = {
    # Brow left, brow right, nose bridge, eye left, eye right: the order of `Topology.anchor`.
    "mediapipe131": (
        0.025, -0.065, -0.140, -0.196, -0.226, 0.110, -0.016, -0.120, -0.213, -0.260,
        0.025, -0.065, -0.140, -0.196, -0.226, 0.110, -0.016, -0.120, -0.213, -0.260,
        -0.253, -0.325, -0.407, -0.497, -0.589,
        0.086, 0.055, 0.027, -0.003, -0.027, -0.031, -0.018, 0.002,
        0.003, -0.011, -0.031, -0.047, -0.043, -0.019, 0.012, 0.044,
        0.003, 0.002, -0.018, -0.031, -0.027, -0.003, 0.027, 0.055,
        0.086, 0.044, 0.012, -0.019, -0.043, -0.047, -0.031, -0.011,
    ),
    "ibug68": (
        0.110, -0.016, -0.120, -0.213, -0.260, -0.260, -0.213, -0.120, -0.016, 0.110, -0.253, -0.407, -0.589, -0.630,
        0.086, -0.019, -0.047, 0.003, -0.031, -0.003, 0.003, -0.047, -0.019, 0.086, -0.003, -0.031,
    ),
}
# fmt: on
"""Eye units, away from the camera; 0 between the eyes. FaceMesh's depth on the near-frontal frames of 64 clips,
averaged and made symmetric; `ibug68` by the correspondence that its flat points were read off with."""

# Share of the fit per group: the corners of the eyes sit on bone, lids blink, brows rise.
_EYE_CORNERS, _LIDS, _BRIDGE, _BROWS = 0.6, 0.15, 0.2, 0.05


def anchor_template(topology: Topology) -> F64:
    """(K, 3) eye units, row for row with `topology.anchor`: to the right, down, away from the camera."""
    flat = mean_face(topology.name)[list(topology.anchor)]
    return np.column_stack([flat, _DEPTH[topology.name]])


def anchor_weights(topology: Topology) -> F64:
    """(K,) summing to 1, row for row with `topology.anchor`."""
    face = mean_face(topology.name)
    corners = {_outermost(face, eye, side) for eye in (topology.left_eye, topology.right_eye) for side in (-1, 1)}
    eyes, brows = {*topology.left_eye, *topology.right_eye}, {*topology.brows[0], *topology.brows[1]}
    weights = np.zeros(len(topology.anchor))
    groups = (
        (corners, _EYE_CORNERS),
        (eyes - corners, _LIDS),
        (set(topology.anchor) - eyes - brows, _BRIDGE),
        (brows, _BROWS),
    )
    for group, share in groups:
        rows = [row for row, point in enumerate(topology.anchor) if point in group]
        weights[rows] = share / len(rows)
    return weights


def _outermost(face: F64, points: tuple[int, ...], side: int) -> int:
    """The point furthest to the left (-1) or right (+1)."""
    return max(points, key=lambda point: side * float(face[point, 0]))
