"""What is found in the pictures, a type per stage: FaceObservation -> Track -> AlignedTrack -> (clip.py) ClipSample."""

from __future__ import annotations

from dataclasses import dataclass

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
