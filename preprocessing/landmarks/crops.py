"""Landmarks read off face crops themselves, with no source picture around them: what judges generated faces.

The crop of the lower face ends at the eyes, so no detector would take it for a face; but a crop is fitted to the face,
so where the face must be is known, and the landmark network is asked there. The missing forehead is mirrored in: on
real crops the lips so found lie 0.014 eye distances from those found in the whole picture (0.016 without it), the
mouth's opening correlates at 0.92 and its spread is 0.99 of theirs.
"""

from __future__ import annotations

import logging

import cv2
import numpy as np

from preprocessing.landmarks.mesh_graph import FaceSquare, MeshGraph, square_of
from preprocessing.landmarks.native_noise import noise_to_log
from shards.crop import CropWindow
from shards.errors import RequestError
from shards.schema import F32, U8, ClipSample, Landmarks
from shards.topology import MEDIAPIPE131_MESH_INDICES

log = logging.getLogger(__name__)

TOPOLOGY = "mediapipe131"
_MIDDLE_Y, _SIDE = 0.6, 3.6
"""Eye units: where the first look at the face is aimed, and how wide it is; the second goes where the first one led."""


class CropFaces:
    """FaceMesh on crops; each frame by itself, so nothing is carried from one to the next."""

    def __init__(self) -> None:
        self._mesh: MeshGraph | None = None

    def setup(self) -> None:
        with noise_to_log(log):
            self._mesh = MeshGraph()

    def found_in(self, frames: U8, clip: ClipSample) -> Landmarks:
        """The faces of `frames`, crops of this clip, in crop px: lips and jaw as they are seen, the pose as stored.

        The upper face is the source's in both pictures that are compared, and half of it is not in the crop. A frame
        in which the clip's face was not seen, or in which none is found, is NaN.
        """
        if (name := clip.landmarks.topology_name) != TOPOLOGY:
            raise RequestError(f"faces are found again as {TOPOLOGY} only", field="topology", value=name)
        if self._mesh is None:
            raise RuntimeError("CropFaces.found_in before setup()")
        points, content = clip.landmarks.points.copy(), list(clip.landmarks.topology.content)
        for t in np.flatnonzero(clip.landmarks.seen()):
            points[t, content] = _points_of(self._mesh, frames[t], clip.transform.window)[content]
        seen = np.isfinite(points).all(axis=(1, 2))
        points[~seen] = np.nan
        confidence = np.where(seen, clip.landmarks.confidence, np.float32(0))
        return Landmarks(points=points, confidence=confidence, topology_name=name, space="crop")

    def close(self) -> None:
        if self._mesh is not None:
            self._mesh.close()
        self._mesh = None


def _points_of(mesh: MeshGraph, frame: U8, window: CropWindow) -> F32:
    """(131, 2) crop px; NaN where the network sees no face."""
    size = frame.shape[0]
    above = size // 2
    tall = np.asarray(cv2.copyMakeBorder(frame, above, 0, 0, 0, cv2.BORDER_REFLECT), dtype=np.uint8)
    matrix = window.matrix(size)
    x, y = matrix[:, :2] @ np.array([0.0, _MIDDLE_Y]) + matrix[:, 2]
    first = mesh.face_in(tall, FaceSquare(x=float(x), y=float(y) + above, side=_SIDE * float(matrix[0, 0]), tilt=0.0))
    found = first and mesh.face_in(tall, square_of(first[0]))
    if not found:
        return np.full((len(MEDIAPIPE131_MESH_INDICES), 2), np.nan, np.float32)
    out: F32 = (found[0][list(MEDIAPIPE131_MESH_INDICES)] - (0.0, above)).astype(np.float32)
    return out
