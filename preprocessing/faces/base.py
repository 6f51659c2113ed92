"""What is found in the pictures, a type per stage: FaceObservation -> Track -> AlignedTrack -> (clip.py) ClipSample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shards.schema import F32, CropTransform, FrameTimes, Landmarks, Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A stretch between two cuts: frames [start, stop) of the source."""

    index: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceObservation:
    """One face in one frame."""

    points: F32
    """(P, 2) float32, source px."""
    confidence: float
    """In (0, 1]."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of the points, source px."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """One face followed through one shot; it never crosses a cut."""

    shot: Shot
    start: int
    """Source frame of row 0."""
    landmarks: Landmarks
    """(T, P, 2) source px; short gaps are filled, longer ones are NaN."""

    @property
    def stop(self) -> int:
        return self.start + len(self.landmarks)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedTrack:
    """A track with its smoothed crop and its person: all that a crop or a paste-back needs."""

    track: Track
    transform: CropTransform
    """(T,) source px -> crop px, row for row with the track's landmarks."""
    identity: str
    """One name per person within the source."""
    look: F32 | None = None
    """(512,) what this face looks like, see `identify.Look`; None where an older analysis did not keep it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """What the source's own sound says of the faces in its pictures."""

    voice: F32
    """(N,) in [0, 1], a value per source frame: share of the time around it in which somebody is heard."""
    speaking: tuple[F32, ...]
    """A (T,) per track, in [0, 1]: how surely it is this face that is heard; NaN where that is not known. 0.5 is the
    border, see `preprocessing/speakers`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What one pass over a source's pictures found; speech-independent, so it serves every language of a title."""

    width: int
    height: int
    times: FrameTimes
    """Every frame's PTS on the source's own clock."""
    shots: tuple[Shot, ...]
    tracks: tuple[AlignedTrack, ...]
    rejections: tuple[Rejection, ...]
    """Stretches without a usable face, and why."""
    landmark_backend: str
    """`name@version`."""
    heard: Heard | None = None
    """None where the source has no sound that can be read, or nobody has listened to it."""

    def speaking(self, track: int) -> F32:
        """(T,) evidence that the face of this track speaks in the source; NaN where it is not known."""
        if self.heard is not None:
            return self.heard.speaking[track]
        return np.full(len(self.tracks[track].track.landmarks), np.nan, dtype=np.float32)
