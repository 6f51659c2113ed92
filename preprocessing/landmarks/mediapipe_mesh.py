"""FaceMesh: 131 of its points, on every face from about 40 px. Weights are in mediapipe's wheel; it is made for CPUs.

Faces are searched for in every few frames (`face_search.py`) and followed between: each frame, the landmark network
(`mesh_graph.py`) looks where the face was in the frame before. So frames must come in order; `reset` at a cut.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from preprocessing.faces.base import FaceObservation
from preprocessing.landmarks.face_search import FaceSearch, window_around, windows_of
from preprocessing.landmarks.mesh_graph import FaceSquare, MeshGraph, square_of
from preprocessing.landmarks.native_noise import noise_to_log
from shards.errors import RequestError
from shards.schema import F64, U8
from shards.topology import MEDIAPIPE131_MESH_INDICES

log = logging.getLogger(__name__)

SEARCH_EVERY = 5
"""Frames from one search to the next."""
_SEARCHES_FOR_LOST = 5
"""So often a lost face is looked for where it was, beside the usual places."""
_CROWDED_TURN = 5
"""With every place taken, one search in so many goes over the whole picture, for a face that matters more."""
_MUCH_LARGER = 1.3


class MediapipeMesh:
    """The landmark backend `mediapipe`."""

    name = "mediapipe"
    version = "0.10.21-attention-2"
    topology = "mediapipe131"
    batch = 1

    def __init__(self, max_faces: int = 1, *, detector: str | None = None) -> None:
        if max_faces < 1:
            raise RequestError("at least one face must be followed", field="max_faces", value=max_faces)
        if detector is not None:
            raise RequestError(
                "`mediapipe` has one detector, its own; leave this out or choose backend `face-alignment`",
                field="faces.detector",
                value=detector,
            )
        self._max_faces = max_faces
        self._mesh: MeshGraph | None = None
        self._search: FaceSearch | None = None
        self.reset()

    def setup(self) -> None:
        with noise_to_log(log):
            self._mesh, self._search = MeshGraph(), FaceSearch()
            # The graphs load their networks on threads of their own, and say so on stderr; the first picture waits.
            blank = np.zeros((64, 64, 3), dtype=np.uint8)
            self._search.faces_in(blank, windows_of(64, 64)[0])
            self._mesh.face_in(blank, FaceSquare(x=32, y=32, side=48, tilt=0))
        self.reset()

    def infer(self, frames: U8) -> list[list[FaceObservation]]:
        if self._mesh is None or self._search is None:
            raise RuntimeError("MediapipeMesh.infer before setup()")
        return [self._faces_of(frame, self._mesh, self._search) for frame in frames]

    def reset(self) -> None:
        self._followed: list[FaceSquare] = []
        self._lost: list[tuple[FaceSquare, int]] = []
        self._num_frames = self._turn = 0

    def close(self) -> None:
        for part in (self._mesh, self._search):
            if part is not None:
                part.close()
        self._mesh = self._search = None

    def _faces_of(self, frame: U8, mesh: MeshGraph, search: FaceSearch) -> list[FaceObservation]:
        met = _without_doubles(self._follow(frame, mesh))
        if self._num_frames % SEARCH_EVERY == 0 or len(met) < len(self._followed):
            for square in self._searched(frame, search, [square_of(points) for points, _ in met]):
                # The detector's square is rough: the second look, from the points themselves, is the one that counts.
                first = mesh.face_in(frame, square)
                second = first and mesh.face_in(frame, square_of(first[0]))
                if second:
                    met.append(second)
        met = _without_doubles(sorted(met, key=lambda m: -square_of(m[0]).side))[: self._max_faces]
        self._num_frames += 1
        self._followed = [square_of(points) for points, _ in met]
        return sorted((_observation(points, score) for points, score in met), key=_height_px, reverse=True)

    def _follow(self, frame: U8, mesh: MeshGraph) -> list[tuple[F64, float]]:
        met = []
        for square in self._followed:
            found = mesh.face_in(frame, square)
            if found:
                met.append(found)
            else:
                self._lost.append((square, _SEARCHES_FOR_LOST))
        return met

    def _searched(self, frame: U8, search: FaceSearch, known: Sequence[FaceSquare]) -> list[FaceSquare]:
        """Faces that are not followed yet, for the places that are free or held by much smaller ones."""
        height, width = frame.shape[:2]
        windows, turn = windows_of(width, height), self._turn
        self._turn += 1
        least = 0.0
        if len(known) >= self._max_faces:
            wanted = windows[:1] if turn % _CROWDED_TURN == 0 else []
            least = _MUCH_LARGER * min(square.side for square in known)
        elif turn == 0:
            wanted = windows
        else:
            # One window a search keeps the cost even; nobody in sight is worth a look at the whole picture as well.
            wanted = list(dict.fromkeys([*([] if known else windows[:1]), windows[turn % len(windows)]]))
            wanted += [window_around(square, width, height) for square, _ in self._lost]
        self._lost = [(square, left - 1) for square, left in self._lost if left > 1]
        found: list[FaceSquare] = []
        for window in wanted:
            for square in search.faces_in(frame, window):
                if square.side > least and not any(square.is_same_face(other) for other in (*known, *found)):
                    found.append(square)
            if turn == 0 and len(known) + len(found) >= self._max_faces:
                # The whole picture came first and gave the largest faces: what windows would add has no place.
                break
        return sorted(found, key=lambda s: -s.side)[: self._max_faces]


def _without_doubles(met: Sequence[tuple[F64, float]]) -> list[tuple[F64, float]]:
    """Two squares that slid onto one face are one face: the first stays."""
    out: list[tuple[F64, float]] = []
    for points, score in met:
        square = square_of(points)
        if not any(square.is_same_face(square_of(other)) for other, _ in out):
            out.append((points, score))
    return out


def _observation(points: F64, score: float) -> FaceObservation:
    chosen = points[list(MEDIAPIPE131_MESH_INDICES)].astype(np.float32)
    return FaceObservation(points=chosen, confidence=float(np.clip(score, 1e-3, 1.0)))


def _height_px(face: FaceObservation) -> float:
    _, top, _, bottom = face.box
    return bottom - top
