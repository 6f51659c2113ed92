"""How each point of a still face is displaced by a pose: the forward warp, in closed form.

Owns: the displacement fields. A mouth opens by a *jump* along the line of the lips, so there are two fields, one for
what belongs to the upper lip and one for the lower; they agree everywhere else. Each is a sum of smooth shapes times
numbers from the pose, followed by the motion of the head. Because the forward warp is a formula, the true landmarks
of a frame are exact. Turning it round, to draw pixels, is `warp.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from preprocessing.sample.geometry import TOPOLOGY, Arc, FaceGeometry
from preprocessing.sample.motion import FacePose
from preprocessing.sample.portrait import Photograph
from shards.schema import F64

JAW_TRAVEL = 0.25
"""How far the lower lip goes down at opening 1, eye units: about 17 mm on a grown-up."""

_UPPER_LIP_SHARE = 0.2  # of the jaw's travel, upwards
_CORNER_SHARE = 0.2  # of the jaw's travel, that the corners of the mouth follow down
_CHIN_SHARE = 0.85
_NECK = 0.75  # eye units below the chin over which the jaw's travel dies out


class Layer(Enum):
    """Which side of the line of the lips."""

    UPPER = "upper"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shapes:
    """The shapes at a fixed set of points, worked out once; per frame only a weighted sum is left."""

    at: F64
    """(N, 2) the points at rest, face frame."""
    opening: F64
    """(N,) y displacement per eye unit of jaw travel."""
    closing: F64
    """(N,) y displacement that brings the photographed lips together."""
    lift: F64
    """(N,) 1 on the upper lip's middle."""
    widening: F64
    """(N,) x displacement per unit of relative widening."""
    thickening: F64
    """(N,) y displacement per unit of relative thickening of the lips."""
    flattening: F64
    """(N,) y displacement that straightens a smile."""
    brows: F64
    """(N,) 1 on the brows."""
    head: F64
    """(N,) 1 on the head, 0 on the background."""
    depth: F64
    """(N,) how far the face stands out towards the camera, eye units."""
    layer: Layer


def shapes(face: FaceGeometry, photograph: Photograph, at: F64, layer: Layer) -> Shapes:
    """All shapes at the given points (face frame)."""
    x, y = at[:, 0], at[:, 1]
    upper = layer is Layer.UPPER
    lip = face.upper_lip if upper else face.lower_lip
    edge = lip(x)
    from_edge = y - edge
    from_seam = y - face.seam(x)
    lens = np.maximum(1 - np.abs(x / face.half_width) ** 2.8, 0)
    near_mouth = np.exp(-((from_seam / 0.36) ** 2))
    # Upwards gone at the nose; downwards the upper layer is hidden by the lower one, but only as far as that is drawn.
    reach = _fade(-from_seam, 0.1, 0.42) * _fade(from_seam, 0.1, 0.6)
    return Shapes(
        at=at,
        opening=_opening(face, x, y, from_seam, lens, reach, upper),
        closing=-(edge - face.seam(x)) * (reach if upper else _fade(from_seam, 0.12, 0.6)),
        lift=lens * reach if upper else np.zeros_like(x),
        widening=x * np.exp(-(np.abs(x / (1.5 * face.half_width)) ** 3)) * near_mouth,
        thickening=from_edge * np.exp(-((from_edge / 0.15) ** 2)) * np.exp(-((x / face.half_width) ** 4)),
        flattening=-(face.seam(x) - face.seam(np.zeros(1))) * np.exp(-((x / (2 * face.half_width)) ** 4)) * near_mouth,
        brows=np.exp(-(((y - face.eyes_y + 0.42) / 0.2) ** 2) - (x / 0.95) ** 4),
        head=_head_weight(face, photograph, x, y),
        depth=_depth(face, x, y),
        layer=layer,
    )


def _opening(face: FaceGeometry, x: F64, y: F64, from_seam: F64, lens: F64, reach: F64, upper: bool) -> F64:
    corners = _CORNER_SHARE * np.exp(-((x / (1.6 * face.half_width)) ** 4))
    if upper:
        return (corners - (_CORNER_SHARE + _UPPER_LIP_SHARE) * lens) * reach
    lip = corners + (1 - _CORNER_SHARE) * lens
    chin = _CHIN_SHARE * np.exp(-((x / 0.66) ** 4))
    # From the lip, which bends, to the chin, which is bone and goes down as a whole.
    to_chin = 1 - _fade(from_seam, 0.05, 0.5)
    return ((1 - to_chin) * lip + to_chin * chin) * _fade(y - face.chin, -0.05, _NECK)


def _head_weight(face: FaceGeometry, photograph: Photograph, x: F64, y: F64) -> F64:
    centre, radii = photograph.head_centre, photograph.head_radii
    radius = np.hypot((x - centre[0]) / radii[0], (y - face.eyes_y - centre[1]) / radii[1])
    return _fade(radius, 1.0, 1.7)


def _depth(face: FaceGeometry, x: F64, y: F64) -> F64:
    """A rounded face with a nose on it; enough for the few degrees a speaker turns."""
    nose_y = 0.62 * face.eyes_y * 0.75
    round_face = 0.75 * np.exp(-((x / 0.85) ** 2) - ((y - 0.45 * face.eyes_y) / 1.0) ** 2)
    out: F64 = round_face + 0.25 * np.exp(-((x / 0.2) ** 2) - ((y - nose_y) / 0.3) ** 2)
    return out


def displaced(shapes: Shapes, pose: FacePose, face: FaceGeometry, photograph: Photograph) -> F64:
    """(N, 2) where the points go, face frame: first the speech, then the head."""
    travel = JAW_TRAVEL * pose.opening
    spread = pose.width * (0.12 if pose.width > 0 else 0.3) - 0.12 * pose.opening - 0.1 * photograph.smile
    tuck = pose.lift if shapes.layer is Layer.LOWER else 0.0
    thick = 0.4 * pose.rounding - 0.3 * pose.press - 0.35 * tuck
    moved = np.stack(
        [
            shapes.at[:, 0] + spread * shapes.widening,
            shapes.at[:, 1]
            + travel * shapes.opening
            + shapes.closing
            - 0.05 * pose.lift * shapes.lift
            + thick * shapes.thickening
            + 0.7 * photograph.smile * shapes.flattening
            - 0.035 * pose.brow * shapes.brows,
        ],
        axis=1,
    )
    return moved + shapes.head[:, None] * (head_moved(moved, shapes.depth, pose, face) - moved)


def head_moved(at: F64, depth: F64, pose: FacePose, face: FaceGeometry) -> F64:
    """(N, 2) the same points after the head alone has moved; it turns about the top of the neck."""
    pivot = np.array([0.0, face.chin])
    c, s = np.cos(pose.roll) * pose.scale, np.sin(pose.roll) * pose.scale
    turned = (at - pivot) @ np.array([[c, s], [-s, c]]) + pivot
    parallax = depth[:, None] * np.array([np.sin(pose.yaw), np.sin(pose.pitch)])
    out: F64 = turned + parallax + np.array([pose.head_x, pose.head_y])
    return out


def layers_of_landmarks() -> dict[Layer, tuple[int, ...]]:
    """Each landmark's layer. The corners belong to both; jaw, chin and the lower lip to the lower."""
    outer, inner = TOPOLOGY.lips_outer, TOPOLOGY.lips_inner
    lower = set(outer[11:]) | set(inner[11:]) | set(TOPOLOGY.jaw)
    upper = tuple(i for i in range(TOPOLOGY.num_points) if i not in lower)
    return {Layer.UPPER: upper, Layer.LOWER: tuple(sorted(lower))}


def lid_lowered(face: FaceGeometry, blink: float) -> F64:
    """(131, 2) the landmarks at rest after the upper lids have come down; only the points on those lids move."""
    out = face.points.copy()
    for eye, (upper, lower) in zip((TOPOLOGY.left_eye, TOPOLOGY.right_eye), face.lids, strict=True):
        on_lid = list(eye[9:])
        out[on_lid, 1] += _lid_drop(upper, lower, face.points[on_lid, 0], blink)
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lid:
    """One upper lid on a patch of pixels."""

    rest: F64
    """(h, w, 2) where the skin that is seen there lies at rest, face frame."""
    above_edge: F64
    """(h, w) how far above the lid's edge, eye units; negative on the eyeball."""
    shut: F64
    """(h, w) 0 at the corners of the eye and beyond, up to `blink` over its middle."""
    stretched: F64
    """(h, w) 0 .. 1: skin drawn longer than it was photographed."""


def lid_raised(face: FaceGeometry, eye: int, at: F64, blink: float, reach: float) -> Lid:
    """The inverse on one eye, for (h, w, 2) points; `reach` is how much skin above the edge stretches, eye units."""
    upper, lower = face.lids[eye]
    x, y = at[..., 0], at[..., 1]
    drop = _lid_drop(upper, lower, x, blink)
    rest_edge = upper(x)
    edge = rest_edge + drop
    # The stretch is linear: all skin from `reach` above the edge gives its even share.
    share = (edge - y) / (reach + drop)
    source = np.where(share > 1, y, rest_edge - share * reach)
    fullest = max(float(_lid_drop(upper, lower, (upper.left[:1] + upper.right[:1]) / 2, 1.0)[0]), 1e-6)
    shut = np.clip(drop / fullest, 0, 1)
    return Lid(
        rest=np.stack([x, source], axis=-1),
        above_edge=edge - y,
        shut=shut,
        stretched=shut * np.clip(3 * (1 - share), 0, 1),
    )


def _lid_drop(upper: Arc, lower: Arc, x: F64, blink: float) -> F64:
    """How far the lid's edge comes down, eye units; nothing beyond the corners of the eye."""
    return np.maximum(blink * 0.95 * (lower.above_chord(x) - upper.above_chord(x)), 0)


def _fade(value: F64, start: float, end: float) -> F64:
    """1 before `start`, 0 after `end`, smooth between."""
    share = np.clip((value - start) / (end - start), 0, 1)
    out: F64 = 1 - share * share * (3 - 2 * share)
    return out
