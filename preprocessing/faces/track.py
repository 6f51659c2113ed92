"""Linking: the faces of single frames become tracks of one face through one shot.

A face continues the track whose last box it overlaps most, or whose centre is near. Short losses are bridged by
straight lines with confidence 0; a longer loss ends the track. Who the face belongs to is `identify`'s question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from preprocessing.config import FaceConfig
from preprocessing.faces.base import FaceObservation, Shot, Track
from preprocessing.faces.identify import Look, LookBuilder
from preprocessing.faces.keep import CropKeeper
from shards.schema import F32, U8, Landmarks

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
    crops: Sequence[int] | None
    """Where its crops lie in the `CropStore`, row by row; None where they were not kept."""


@dataclass(slots=True, kw_only=True)
class _OpenTrack:
    start: int
    look: LookBuilder
    keeper: CropKeeper | None
    points: list[F32] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    unseen: list[U8] = field(default_factory=list)
    """The pictures since the face was last seen: the face may come back, and then is cropped from them as well."""
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Where the face was last seen, source px."""
    crops: Sequence[int] | None = None

    @property
    def stop(self) -> int:
        """One past the last frame in which the face was seen."""
        return self.start + len(self.points)

    def add(self, index: int, face: FaceObservation, rgb: U8) -> None:
        gap = index - self.stop
        if self.keeper is not None and len(self.unseen) != gap:
            self.keeper.give_up()
        before = self.points[-1] if self.points else face.points
        for i in range(gap):
            part = np.float32((i + 1) / (gap + 1))
            picture = self.unseen[i] if i < len(self.unseen) else rgb
            self._append(before * (1 - part) + face.points * part, 0.0, picture)
        self._append(face.points, face.confidence, rgb)
        self.box = face.box
        self.heights.append(self.box[3] - self.box[1])
        self.look.add(rgb, face.points)
        self.unseen.clear()

    def end(self) -> None:
        """The face does not come back: its last crops are made, and no picture is held for it any longer."""
        self.unseen.clear()
        self.crops = self.keeper.finish() if self.keeper is not None else None
        self.keeper = None

    def _append(self, points: F32, confidence: float, rgb: U8) -> None:
        self.points.append(points)
        self.confidence.append(confidence)
        if self.keeper is not None:
            self.keeper.add(points, rgb)


class FaceTracker:
    """Follows the faces of one shot. A new shot gets a new tracker: nothing can be joined over a cut."""

    def __init__(
        self, config: FaceConfig, topology_name: str, *, new_keeper: Callable[[], CropKeeper] | None = None
    ) -> None:
        self._config, self._topology_name, self._new_keeper = config, topology_name, new_keeper
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
        for track in self._open:
            if track.stop <= index and track.keeper is not None:
                track.unseen.append(rgb)
        for face in faces:
            if id(face) not in taken:
                keeper = self._new_keeper() if self._new_keeper is not None else None
                self._open.append(_OpenTrack(start=index, look=LookBuilder(self._topology_name), keeper=keeper))
                self._open[-1].add(index, face, rgb)

    def finish(self, shot: Shot) -> list[FollowedFace]:
        """All tracks of the shot in order of appearance, small faces included."""
        tracks = sorted(self._closed + self._open, key=lambda t: t.start)
        for track in self._open:
            track.end()
        self._open, self._closed = [], []
        return [_followed(t, shot, self._topology_name) for t in tracks]

    def _close_lost(self, index: int) -> None:
        lost = [t for t in self._open if index - t.stop > self._config.max_gap_frames]
        for track in lost:
            track.end()
        self._closed += lost
        self._open = [t for t in self._open if t not in lost]


def _affinity(track: _OpenTrack, index: int, face: FaceObservation) -> float:
    """How well the face continues the track: above 1 by overlap, in (0, 1) by nearness only, 0 not at all."""
    last, here = np.array(track.box), np.array(face.box)
    low, high = np.maximum(last[:2], here[:2]), np.minimum(last[2:], here[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(last[2:] - last[:2]) + np.prod(here[2:] - here[:2])) - shared
    if union > 0 and shared / union >= _MIN_IOU:
        return 1.0 + shared / union
    reach = _MAX_CENTRE_STEP * (index - track.stop + 1) * float(last[3] - last[1])
    step = float(np.linalg.norm((last[:2] + last[2:] - here[:2] - here[2:]) / 2))
    return max(0.0, 1.0 - step / reach) if reach > 0 else 0.0


def _followed(open_track: _OpenTrack, shot: Shot, topology_name: str) -> FollowedFace:
    landmarks = Landmarks(
        points=np.stack(open_track.points),
        confidence=np.array(open_track.confidence, dtype=np.float32),
        topology_name=topology_name,
        space="source",
    )
    return FollowedFace(
        track=Track(shot=shot, start=open_track.start, landmarks=landmarks),
        look=open_track.look.look(),
        height_px=float(np.median(open_track.heights)),
        crops=open_track.crops,
    )
