"""What a face is fitted to: the mean face's upper points, and how far each of them may be trusted.

Only the eyes, the nose bridge and, barely, the brows: a point that moves with speech would let the crop tell the
mouth. The numbers themselves are `shards/meanface.py`'s.
"""

from __future__ import annotations

import numpy as np

from shards.meanface import mean_face
from shards.schema import F64
from shards.topology import Topology

# Share of the fit per group: the corners of the eyes sit on bone, lids blink, brows rise.
_EYE_CORNERS, _LIDS, _BRIDGE, _BROWS = 0.6, 0.15, 0.2, 0.05


def anchor_template(topology: Topology) -> F64:
    """(K, 2) eye units, row for row with `topology.anchor`."""
    return mean_face(topology.name)[list(topology.anchor)]


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
