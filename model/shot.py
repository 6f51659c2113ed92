"""What a dub is asked for and what is checked before it: shots, takes, how to sample. No network is known here.

T frames, S crop side, P points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.choice import References
from model.config import LandmarkCondition
from model.errors import CheckpointMismatch
from shards.errors import RequestError
from shards.schema import F64, U8, AudioFeatures, ClipSample, CropTransform, Landmarks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shot:
    """A stretch of one face and what it is to say."""

    frames: U8
    """(T, S, S, 3) uint8 crops."""
    transform: CropTransform
    """How they were cropped: the model knows one window and one size."""
    landmarks: Landmarks
    """(T, P, 2) crop px; NaN where the face is not seen."""
    times_s: F64
    """(T,) of each frame, on the features' clock."""
    features: Sequence[AudioFeatures]
    """Of the new speech; silence where they end before the frames do."""
    references: References | None = None
    """What the person looks like; None: chosen from these frames. The same object in many shots is encoded once."""
    seed: int = 0
    name: str = "the shot"
    """For messages."""

    @classmethod
    def of(cls, clip: ClipSample, **other: Any) -> Shot:
        """The clip, saying what it says; `other` replaces fields: `features` of new speech, `seed`, ..."""
        own = {"frames": clip.frames, "transform": clip.transform, "landmarks": clip.landmarks}
        own |= {"times_s": clip.times.seconds(), "features": clip.features, "name": f"clip {clip.key}"}
        return cls(**{**own, **other})

    def check(self, condition: LandmarkCondition) -> None:
        need_frames(self.frames, self.name)
        condition.check(
            topology=self.landmarks.topology_name,
            features=tuple(f.name for f in self.features),
            window=self.transform.window.name,
            crop_px=self.frames.shape[1],
        )
        counts = {"frames": len(self.frames), "transform": len(self.transform), "landmarks": len(self.landmarks)}
        if len(set(counts.values())) > 1:
            raise RequestError(f"{self.name}: one of each for every frame", field="frames", value=counts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DubbedClip:
    """What the pipeline makes of a shot."""

    frames: U8
    """(T, S, S, 3) uint8."""
    landmarks: Landmarks
    """(T, P, 2) crop px: what the frames were made to follow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Take:
    """A stretch of one face, and what its mouth is to do."""

    frames: U8
    """(T, S, S, 3) uint8."""
    target: Landmarks
    """(T, P, 2) crop px; a frame whose points are NaN comes back as it is."""
    references: References
    seed: int
    """One noise for all frames, so that what differs between them is the mouth alone."""
    times_s: F64 | None = None
    """(T,) on the features' clock; asked for by models with temporal attention and by those that read audio."""
    features: Sequence[AudioFeatures] = ()
    """Asked for only by models that read audio in place of landmarks."""
    name: str = "the take"
    """For messages."""

    def check(self, condition: LandmarkCondition) -> None:
        """Refuses what does not fit together, or not to the model."""
        need_frames(self.frames, self.name)
        condition.check(topology=self.target.topology_name, crop_px=self.frames.shape[1])
        if len(self.target) != len(self.frames):
            raise RequestError(
                f"{self.name} has {len(self.frames)} frames", field="target", value=f"{len(self.target)} faces"
            )
        if self.target.space != "crop":
            raise RequestError("landmarks are in crop px", field="target", value=self.target.space)
        need_references(self.references, condition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How noise becomes a picture."""

    steps: int = 4
    guidance: float = 1.0
    """1: what the model says; above: away from what it says without landmarks, at twice the work."""
    batch_size: int = 8
    """Frames at once; it decides memory and speed, not the picture."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise RequestError("at least one frame at once", field="batch_size", value=self.batch_size)
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise RequestError("a finite number, 0 or more", field="guidance", value=self.guidance)


def need_frames(frames: U8, name: str) -> None:
    """Refuses what is no stretch of square RGB pictures."""
    fits = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3 and frames.shape[1] == frames.shape[2]
    if not fits or len(frames) == 0:
        given = f"{frames.shape} {frames.dtype}"
        raise RequestError(f"{name}: frames are (T, S, S, 3) uint8, at least one", field="frames", value=given)


def need_references(references: References, condition: LandmarkCondition) -> None:
    """Refuses references that show nobody, or another kind of face."""
    if len(references.frames) == 0 or len(references.landmarks) == 0:
        raise RequestError("at least one picture and one face", field="references", value="none")
    need_frames(references.frames, "references")
    if (side := references.frames.shape[1]) != condition.crop_px:
        raise CheckpointMismatch.between("references.crop_px", checkpoint=condition.crop_px, given=side)
    if not np.isfinite(references.landmarks).all():
        raise RequestError("every reference face is seen whole", field="references.landmarks", value="NaN")


def need_times(times_s: F64, landmarks: Landmarks) -> None:
    if times_s.shape != (len(landmarks),) or len(landmarks) == 0:
        raise RequestError(f"one time for each of {len(landmarks)} frames", field="times_s", value=times_s.shape)
    if not (np.isfinite(times_s).all() and (np.diff(times_s) > 0).all()):
        raise RequestError("finite, and each later than the one before", field="times_s")


def need_sound(features: Sequence[AudioFeatures], condition: LandmarkCondition) -> None:
    """A NaN in the sound would end as a face not seen, and the old mouth would stay without a word."""
    if not set(condition.features) <= {f.name for f in features}:
        raise CheckpointMismatch.between("features", checkpoint=condition.features, given=[f.name for f in features])
    for feature in features:
        if feature.name in condition.features and not np.isfinite(feature.values).all():
            raise RequestError("the sound holds values that are no numbers", field="features", value=feature.name)
