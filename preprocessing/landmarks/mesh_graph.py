"""FaceMesh's landmark network behind one call: a picture and where a face is in it -> the face's points and how sure.

mediapipe's own FaceMesh solution joins this network to a detector that sees large faces only. Here the network stands
alone, and `face_search.py` says where to look. It sees just the part of the picture around the face, whatever the
picture's size. Weights are in mediapipe's wheel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from shards.schema import F64, U8

_GRAPH = """
input_stream: "IMAGE:image"
input_stream: "ROI:roi"
input_side_packet: "WITH_ATTENTION:with_attention"
output_stream: "LANDMARKS:landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
_SCORE = "facelandmarkcpu__face_presence_score"
"""A stream inside FaceLandmarkCpu: how sure the network is that it sees a face."""
_EYE_CORNERS = (33, 263)
"""Outer eye corners of the mesh: the line between them is how far the head is tilted."""
_SIDE_PER_FACE = 1.5
"""What the network was trained with: the square is half as large again as the face in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSquare:
    """Where to look: a turned square around a face, source px."""

    x: float
    y: float
    """The centre."""
    side: float
    tilt: float
    """Radians, clockwise as seen."""

    @classmethod
    def around(cls, points: F64, eyes: F64) -> FaceSquare:
        """The square for a face with these points (N, 2) and these two eyes (2, 2), left one first."""
        low, high = points.min(axis=0), points.max(axis=0)
        (x, y), (dx, dy) = (low + high) / 2, eyes[1] - eyes[0]
        side = _SIDE_PER_FACE * float((high - low).max())
        return cls(x=float(x), y=float(y), side=side, tilt=math.atan2(float(dy), float(dx)))

    def is_same_face(self, other: FaceSquare) -> bool:
        """Two squares closer than a third of the larger one: two heads cannot be."""
        return math.hypot(self.x - other.x, self.y - other.y) < max(self.side, other.side) / 3


class MeshGraph:
    """The network, loaded. It remembers nothing between calls."""

    def __init__(self) -> None:
        # Imported here: it takes a second, and a spawned worker must start its own threads.
        from mediapipe.framework.formats import rect_pb2
        from mediapipe.python import solution_base

        self._rect = rect_pb2.NormalizedRect
        kind = solution_base.PacketDataType

        # Without its attention part the network never sees lips shut and understates how far they open; with it the
        # points err by less than half, for a quarter of the speed.
        self._graph: Any = solution_base.SolutionBase(
            graph_config=_GRAPH,
            side_inputs={"with_attention": True},
            outputs=["landmarks", _SCORE],
            stream_type_hints={"image": kind.IMAGE_FRAME, "roi": kind.PROTO, "landmarks": kind.PROTO},
        )

    def face_in(self, rgb: U8, square: FaceSquare) -> tuple[F64, float] | None:
        """((478, 2) source px, score in (0, 1]) of the face in the square; None where the network sees none."""
        left, top, part = _part_of(rgb, square)
        height, width = part.shape[:2]
        if not height or not width:
            return None
        # mediapipe counts in picture widths from the *edge* of the first pixel, we from its centre.
        roi = self._rect(
            x_center=(square.x - left + 0.5) / width,
            y_center=(square.y - top + 0.5) / height,
            width=square.side / width,
            height=square.side / height,
            rotation=square.tilt,
        )
        found = self._graph.process({"image": np.ascontiguousarray(part), "roi": roi})
        if found.landmarks is None:
            return None
        points = np.array([(p.x, p.y) for p in found.landmarks.landmark], dtype=np.float64)
        return points * (width, height) + (left - 0.5, top - 0.5), float(getattr(found, _SCORE))

    def close(self) -> None:
        self._graph.close()


def square_of(mesh: F64) -> FaceSquare:
    """Where the face with these (478, 2) points is looked for in the next frame."""
    return FaceSquare.around(mesh, mesh[list(_EYE_CORNERS)])


def _part_of(rgb: U8, square: FaceSquare) -> tuple[int, int, U8]:
    """(left, top, the part of the picture that holds the turned square and a pixel more); may be empty."""
    reach = square.side / 2 * (abs(math.cos(square.tilt)) + abs(math.sin(square.tilt))) + 2
    left, top = max(math.floor(square.x - reach), 0), max(math.floor(square.y - reach), 0)
    return left, top, rgb[top : max(math.ceil(square.y + reach), 0), left : max(math.ceil(square.x + reach), 0)]
