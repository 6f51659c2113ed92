"""Linking: the faces of single frames become tracks of one face through one shot.

A face continues the track whose last box it overlaps most, or whose centre is near. Short losses are bridged by
straight lines with confidence 0; a longer loss ends the track. Who the face belongs to is `identify`'s question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from preprocessing.config import FaceConfig
from preprocessing.faces.base import FaceObservation, Shot, Track
from preprocessing.faces.identify import Look, LookBuilder
from shards.schema import U8, Landmarks

_MIN_IOU = 0.25
_MAX_CENTRE_STEP = 0.5
"""Centre distance in face heights per frame that still is the same face: fast, but not another seat."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FollowedFace:
    """A track and what its face looks like."""

    track: Track
    look: Look
    height_px: float
    """Median height of the points' box, source px."""


@dataclass(slots=True, kw_only=True)
class _OpenTrack:
    frames: list[int] = field(default_factory=list)
    faces: list[FaceObservation] = field(default_factory=list)
    look: LookBuilder

    def add(self, index: int, face: FaceObservation, rgb: U8) -> None:
        self.frames.append(index)
        self.faces.append(face)
        self.look.add(rgb, face.points)


class FaceTracker:
    """Follows the faces of one shot. A new shot gets a new tracker: nothing can be joined over a cut."""

    def __init__(self, config: FaceConfig, topology_name: str) -> None:
        self._config, self._topology_name = config, topology_name
        self._open: list[_OpenTrack] = []
        self._closed: list[_OpenTrack] = []

    def push(self, index: int, rgb: U8, faces: Sequence[FaceObservation]) -> None:
        """The faces of frame `index`; frames come in order, and a frame without faces may be left out."""
        self._close_lost(index)
        pairs = [(_affinity(t, index, face), t, face) for t in self._open for face in faces]
        taken: set[int] = set()
        # Greedy, best first: with a handful of faces it differs from the optimum only when faces cross.
        for score, track, face in sorted(pairs, key=lambda p: -p[0]):
            if score > 0 and id(track) not in taken and id(face) not in taken:
                track.add(index, face, rgb)
                taken |= {id(track), id(face)}
        for face in faces:
            if id(face) not in taken:
                self._open.append(_OpenTrack(look=LookBuilder(self._topology_name)))
                self._open[-1].add(index, face, rgb)

    def finish(self, shot: Shot) -> list[FollowedFace]:
        """All tracks of the shot in order of appearance, small faces included."""
        tracks = sorted(self._closed + self._open, key=lambda t: t.frames[0])
        self._open, self._closed = [], []
        return [_followed(t, shot, self._topology_name) for t in tracks]

    def _close_lost(self, index: int) -> None:
        lost = [t for t in self._open if index - t.frames[-1] - 1 > self._config.max_gap_frames]
        self._closed += lost
        self._open = [t for t in self._open if t not in lost]


def _affinity(track: _OpenTrack, index: int, face: FaceObservation) -> float:
    """How well the face continues the track: above 1 by overlap, in (0, 1) by nearness only, 0 not at all."""
    last, here = np.array(track.faces[-1].box), np.array(face.box)
    low, high = np.maximum(last[:2], here[:2]), np.minimum(last[2:], here[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(last[2:] - last[:2]) + np.prod(here[2:] - here[:2])) - shared
    if union > 0 and shared / union >= _MIN_IOU:
        return 1.0 + shared / union
    reach = _MAX_CENTRE_STEP * (index - track.frames[-1]) * float(last[3] - last[1])
    step = float(np.linalg.norm((last[:2] + last[2:] - here[:2] - here[2:]) / 2))
    return max(0.0, 1.0 - step / reach) if reach > 0 else 0.0


def _followed(open_track: _OpenTrack, shot: Shot, topology_name: str) -> FollowedFace:
    frames = np.array(open_track.frames)
    start, count = int(frames[0]), int(frames[-1] - frames[0] + 1)
    seen = np.stack([face.points for face in open_track.faces])
    points = np.empty((count, *seen.shape[1:]), dtype=np.float32)
    # Straight lines through the gaps: the position of every frame between its two seen neighbours.
    place = np.interp(np.arange(count), frames - start, np.arange(len(frames)))
    low = np.floor(place).astype(int)
    part = (place - low)[:, None, None].astype(np.float32)
    points[:] = seen[low] * (1 - part) + seen[np.minimum(low + 1, len(frames) - 1)] * part
    confidence = np.zeros(count, dtype=np.float32)
    confidence[frames - start] = [face.confidence for face in open_track.faces]
    landmarks = Landmarks(points=points, confidence=confidence, topology_name=topology_name, space="source")
    heights = [face.box[3] - face.box[1] for face in open_track.faces]
    track = Track(shot=shot, start=start, landmarks=landmarks)
    return FollowedFace(track=track, look=open_track.look.look(), height_px=float(np.median(heights)))
