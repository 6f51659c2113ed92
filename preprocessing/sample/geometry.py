"""A portrait's mouth and eyes as smooth curves, in face coordinates.

Owns: the *face frame* (origin between the mouth's corners, x along the line of the eyes, lengths in eye units, where
1 is the distance between the eye centres) and the curves of lips and lids in it. What moves them is `fields.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shards.schema import F64
from shards.topology import topology

TOPOLOGY = topology("mediapipe131")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceFrame:
    """Canvas px <-> face coordinates."""

    origin: F64
    """(2,) canvas px."""
    unit_px: float
    """Canvas px per eye unit."""
    axes: F64
    """(2, 2) rows: the face's x and y direction in the canvas."""

    def to_face(self, canvas: F64) -> F64:
        out: F64 = (canvas - self.origin) @ self.axes.T / self.unit_px
        return out

    def to_canvas(self, face: F64) -> F64:
        out: F64 = face @ self.axes * self.unit_px + self.origin
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arc:
    """A curve over x between two corners: their chord plus a bulge that is zero at both."""

    left: F64
    """(2,) corner."""
    right: F64
    bulge: F64
    """(3,) polynomial in t of the bulge, lowest first; t runs from -1 to 1 between the corners."""

    @classmethod
    def through(cls, left: F64, right: F64, points: F64) -> Arc:
        """The least-squares arc from corner to corner."""
        t = _between(points[:, 0], left, right)
        height = points[:, 1] - _chord(t, left, right)
        design: F64 = (1 - t**2)[:, None] * t[:, None] ** np.arange(3)
        bulge = np.linalg.lstsq(design, height, rcond=None)[0].astype(np.float64)
        return cls(left=left, right=right, bulge=bulge)

    def above_chord(self, x: F64) -> F64:
        """The bulge alone; zero outside the corners."""
        t = np.clip(_between(x, self.left, self.right), -1, 1)
        out: F64 = (1 - t**2) * (self.bulge[0] + self.bulge[1] * t + self.bulge[2] * t**2)
        return out

    def __call__(self, x: F64) -> F64:
        t = np.clip(_between(x, self.left, self.right), -1, 1)
        return _chord(t, self.left, self.right) + self.above_chord(x)


def _between(x: F64, left: F64, right: F64) -> F64:
    out: F64 = (2 * x - left[0] - right[0]) / (right[0] - left[0])
    return out


def _chord(t: F64, left: F64, right: F64) -> F64:
    out: F64 = left[1] + (right[1] - left[1]) * (t + 1) / 2
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceGeometry:
    """Everything the fields need to know about a still face. Lengths in eye units, in the face frame."""

    frame: FaceFrame
    points: F64
    """(131, 2) the landmarks at rest."""
    upper_lip: Arc
    """Inner edge of the upper lip."""
    lower_lip: Arc
    half_width: float
    """Of the inner mouth."""
    chin: float
    """y of the chin."""
    eyes_y: float
    """y of the eye line (negative)."""
    lids: tuple[tuple[Arc, Arc], tuple[Arc, Arc]]
    """(upper, lower) lid of the left and the right eye."""

    def seam(self, x: F64) -> F64:
        """Where the lips meet: midway between the inner edges."""
        out: F64 = (self.upper_lip(x) + self.lower_lip(x)) / 2
        return out


def geometry(landmarks: F64) -> FaceGeometry:
    """The curves of a face from its points in canvas px."""
    eyes = [landmarks[list(eye)].mean(axis=0) for eye in (TOPOLOGY.left_eye, TOPOLOGY.right_eye)]
    across = eyes[1] - eyes[0]
    unit = float(np.hypot(*across))
    x_axis = across / unit
    inner = TOPOLOGY.lips_inner
    frame = FaceFrame(
        origin=(landmarks[inner[0]] + landmarks[inner[10]]) / 2,
        unit_px=unit,
        axes=np.array([x_axis, [-x_axis[1], x_axis[0]]]),
    )
    points = frame.to_face(landmarks)
    left, right = points[inner[0]], points[inner[10]]
    eyes_y = float(frame.to_face((eyes[0] + eyes[1])[None] / 2)[0, 1])
    return FaceGeometry(
        frame=frame,
        points=points,
        upper_lip=Arc.through(left, right, points[list(inner[1:10])]),
        lower_lip=Arc.through(left, right, points[list(inner[11:])]),
        half_width=float(right[0] - left[0]) / 2,
        chin=float(points[TOPOLOGY.chin, 1]),
        eyes_y=eyes_y,
        lids=(_lids(points, TOPOLOGY.left_eye), _lids(points, TOPOLOGY.right_eye)),
    )


def _lids(points: F64, eye: tuple[int, ...]) -> tuple[Arc, Arc]:
    """The ring runs from the picture's left corner over the lower lid to the right corner and back over the upper."""
    ring = points[list(eye)]
    upper = Arc.through(ring[0], ring[8], ring[9:])
    lower = Arc.through(ring[0], ring[8], ring[1:8])
    return upper, lower
