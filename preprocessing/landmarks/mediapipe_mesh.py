"""FaceMesh: 131 of its 468 points. Its weights are in the wheel, so it works offline, and it is fast on a CPU.

It follows faces from frame to frame, so frames must come in order; `reset` at a cut. It misses faces
that are small in the picture (brow to chin under about a seventh of its longer side); those need the other backend.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from preprocessing.faces.base import FaceObservation
from preprocessing.landmarks.native_noise import noise_to_log
from shards.errors import RequestError
from shards.schema import F32, U8
from shards.topology import MEDIAPIPE131_MESH_INDICES

log = logging.getLogger(__name__)


class MediapipeMesh:
    """The landmark backend `mediapipe`."""

    name = "mediapipe"
    version = "0.10.21-attention"
    topology = "mediapipe131"

    def __init__(self, max_faces: int = 1) -> None:
        if max_faces < 1:
            raise RequestError("at least one face must be followed", field="max_faces", value=max_faces)
        self._max_faces = max_faces
        self._mesh: Any = None
        self._fresh = True

    def setup(self) -> None:
        with noise_to_log(log):
            # Imported here: it takes a second, and a spawned worker must start its own threads.
            import mediapipe

            # Without its attention network FaceMesh never sees lips shut and understates how far they open; with it the
            # points err by less than half, for a quarter of the speed.
            self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=False, max_num_faces=self._max_faces, refine_landmarks=True
            )
            # The graph starts on threads of its own; the first picture waits for them.
            self._mesh.process(np.zeros((64, 64, 3), dtype=np.uint8))
        self._fresh = True

    def infer(self, frames: U8) -> list[list[FaceObservation]]:
        if self._mesh is None:
            raise RuntimeError("MediapipeMesh.infer before setup()")
        if not self._fresh:
            return [self._faces_of(frame) for frame in frames]
        # The graph's own threads load its networks while the first pictures pass, and say so on stderr. Restarting it
        # here and not in `reset` keeps all of that inside.
        with noise_to_log(log):
            self._mesh.reset()
            out = [self._faces_of(frame) for frame in frames]
        self._fresh = len(frames) == 0
        return out

    def reset(self) -> None:
        self._fresh = True

    def close(self) -> None:
        if self._mesh is not None:
            self._mesh.close()
            self._mesh = None

    def _faces_of(self, frame: U8) -> list[FaceObservation]:
        found = self._mesh.process(np.ascontiguousarray(frame)).multi_face_landmarks or []
        height, width = frame.shape[:2]
        # The solution gives no score: a face it reports has passed its own presence threshold, so it counts in full.
        faces = [FaceObservation(points=_points(face, width, height), confidence=1.0) for face in found]
        return sorted(faces, key=_height_px, reverse=True)


def _points(face: Any, width: int, height: int) -> F32:
    """(131, 2) source px: FaceMesh counts in picture widths from the *edge* of the first pixel, we from its centre."""
    mesh = face.landmark
    xy = np.array([(mesh[i].x, mesh[i].y) for i in MEDIAPIPE131_MESH_INDICES], dtype=np.float64)
    return (xy * (width, height) - 0.5).astype(np.float32)


def _height_px(face: FaceObservation) -> float:
    _, top, _, bottom = face.box
    return bottom - top
