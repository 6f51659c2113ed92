"""The contract between the rooms: what a clip is, field by field.

Conventions, everywhere in the project:

- **Pixels.** (x, y), x to the right, y down; (0, 0) is the *centre* of the top-left pixel (as OpenCV warps). Pictures
  are (H, W, 3) uint8 RGB.
- **Frames of reference.** "source px" are pixels of the source picture as displayed (rotation applied); "crop px" are
  pixels of the square face crop.
- **Time.** A time is an integer PTS and a time base, or a `Fraction` of seconds; never "frame / 25". A clip's clock
  starts at 0 at its first frame; sound before it has negative time.
- **T** frames, **P** landmark points, **S** crop side in px, **N** samples or feature columns, **C** feature channels.

A value that exists is complete: there is a type per stage, not one type that fills up on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shards.crop import CropWindow
from shards.errors import UnknownSchemaVersion
from shards.topology import Topology, topology

SCHEMA_VERSION = 1
"""Raised by any change that an older reader would misread."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]


def check_schema_version(found: object, where: str) -> None:
    """Refuses data of a version this program does not know, by name."""
    if found != SCHEMA_VERSION:
        raise UnknownSchemaVersion(
            f"schema version {found!r} is not the one this program reads; use the release that wrote it",
            where=where,
            field="schema_version",
            choices=[str(SCHEMA_VERSION)],
        )


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True, order=False)
class MediaTime:
    """A moment as the container counts it."""

    pts: int
    """Ticks since the stream's zero."""
    base: Fraction
    """Seconds per tick."""

    @property
    def seconds(self) -> Fraction:
        return self.pts * self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open stretch of a source: `start` is in it, `end` is not."""

    start: MediaTime
    end: MediaTime

    def __post_init__(self) -> None:
        _need(self.start.seconds <= self.end.seconds, "a span ends before it starts")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameTimes:
    """When each frame is shown."""

    pts: I64
    """(T,) int64, strictly increasing, ticks of `base`."""
    base: Fraction
    """Seconds per tick."""

    def __post_init__(self) -> None:
        _need(self.pts.ndim == 1 and self.pts.dtype == np.int64, "pts is (T,) int64")
        _need(bool(np.all(np.diff(self.pts) > 0)), "pts must increase strictly")

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self) -> F64:
        """(T,) float64 seconds; exact to well under a sample for any real file."""
        return self.pts.astype(np.float64) * (self.base.numerator / self.base.denominator)

    def at(self, index: int) -> MediaTime:
        return MediaTime(pts=int(self.pts[index]), base=self.base)

    def slice(self, start: int, stop: int) -> FrameTimes:
        """Frames [start, stop) on the same clock."""
        return FrameTimes(pts=self.pts[start:stop], base=self.base)

    def from_zero(self) -> FrameTimes:
        """The same frames on a clock that starts at the first of them."""
        return FrameTimes(pts=self.pts - self.pts[0], base=self.base)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speech:
    """Mono sound for the model; the delivered speech is never this copy."""

    samples: NDArray[np.int16]
    """(N,) int16 PCM."""
    rate_hz: int
    origin_s: Fraction
    """Time of sample 0 on the owner's clock (clip or title); negative when the sound starts before the picture."""

    def __post_init__(self) -> None:
        _need(self.samples.ndim == 1 and self.samples.dtype == np.int16, "samples is (N,) int16")
        _need(self.rate_hz > 0, "rate_hz is positive")

    def as_float(self) -> F32:
        """(N,) float32 in [-1, 1)."""
        return self.samples.astype(np.float32) / np.float32(32768.0)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    def between(self, start_s: Fraction, end_s: Fraction) -> Speech:
        """The sound of [start, end) with `start` as the new zero; outside the recording there is digital silence.

        The first sample is the nearest at or before `start`, and `origin_s` keeps the remainder: nothing is shifted.
        """
        first = math.floor((start_s - self.origin_s) * self.rate_hz)
        stop = max(first, math.ceil((end_s - self.origin_s) * self.rate_hz))
        out = np.zeros(stop - first, dtype=np.int16)
        lo, hi = max(first, 0), min(stop, len(self.samples))
        if hi > lo:
            out[lo - first : hi - first] = self.samples[lo:hi]
        origin = self.origin_s + Fraction(first, self.rate_hz) - start_s
        return Speech(samples=out, rate_hz=self.rate_hz, origin_s=origin)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AudioFeatures:
    """One kind of feature over time: column i describes the sound around `origin_s + i * hop_s`."""

    name: str
    version: str
    values: F32
    """(N, C) float32."""
    hop_s: Fraction
    """Seconds from column to column."""
    origin_s: Fraction
    """Time of the centre of column 0 on the owner's clock."""
    silence: F32
    """(C,) float32: the column that digital silence gives; what lies outside the recording."""

    def __post_init__(self) -> None:
        _need(self.values.ndim == 2 and self.values.dtype == np.float32, "values is (N, C) float32")
        _need(self.silence.shape == (self.values.shape[1],), "silence is (C,)")
        _need(self.hop_s > 0, "hop_s is positive")

    def at(self, times_s: F64) -> F32:
        """(..., C): the column nearest to each time, of two as near the earlier one; silence beyond the ends."""
        place = (np.asarray(times_s, dtype=np.float64) - float(self.origin_s)) / float(self.hop_s)
        # A time in the middle of two columns must not depend on the last bits of its seconds.
        index = np.ceil(place - 0.5 - 1e-6).astype(np.int64)
        inside = (index >= 0) & (index < len(self.values))
        out = np.broadcast_to(self.silence, (*index.shape, self.values.shape[1])).copy()
        out[inside] = self.values[index[inside]]
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmarks:
    """One face's points over the frames of a stretch."""

    points: F32
    """(T, P, 2) float32, pixels of the frame of reference `space`; NaN where the face is not seen."""
    confidence: F32
    """(T,) float32 in [0, 1]; 0 where the face is not seen."""
    topology_name: str
    space: Literal["source", "crop"]

    def __post_init__(self) -> None:
        t, p, two = self.points.shape
        _need(self.points.dtype == np.float32 and two == 2, "points is (T, P, 2) float32")
        _need(p == self.topology.num_points, f"{self.topology_name} has {self.topology.num_points} points, not {p}")
        _need(self.confidence.shape == (t,), "confidence is (T,)")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def topology(self) -> Topology:
        return topology(self.topology_name)

    def seen(self) -> NDArray[np.bool_]:
        """(T,) bool: frames in which the face is there."""
        return np.asarray(np.isfinite(self.points).all(axis=(1, 2)))

    def slice(self, start: int, stop: int) -> Landmarks:
        return Landmarks(
            points=self.points[start:stop],
            confidence=self.confidence[start:stop],
            topology_name=self.topology_name,
            space=self.space,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropTransform:
    """Where the face crop lies in each frame: a similarity transform a frame, and its exact inverse.

    `paste(crop(frame)) ~= frame` rests on this one type: crop and paste-back are both computed from it.
    """

    matrices: F64
    """(T, 2, 3) float64, source px -> crop px: crop = M[:, :2] @ source + M[:, 2]. Uniform scale, no shear."""
    size_px: int
    """S: the crop is S x S."""
    window: CropWindow
    """Which part of the face the crop shows, and which part of the crop is generated."""

    def __post_init__(self) -> None:
        _need(self.matrices.dtype == np.float64 and self.matrices.shape[1:] == (2, 3), "matrices is (T, 2, 3) float64")
        _need(self.size_px > 0, "size_px is positive")

    def __len__(self) -> int:
        return len(self.matrices)

    def scale(self) -> F64:
        """(T,) crop px per source px."""
        out: F64 = np.sqrt(np.abs(np.linalg.det(self.matrices[:, :, :2])))
        return out

    def to_crop(self, points: NDArray[np.floating]) -> F64:
        """(T, K, 2) source px -> (T, K, 2) crop px."""
        p = np.asarray(points, dtype=np.float64)
        out: F64 = np.einsum("tij,tkj->tki", self.matrices[:, :, :2], p) + self.matrices[:, None, :, 2]
        return out

    def to_source(self, points: NDArray[np.floating]) -> F64:
        """(T, K, 2) crop px -> (T, K, 2) source px; the exact inverse of `to_crop`."""
        inverse = self.inverse_matrices()
        p = np.asarray(points, dtype=np.float64)
        out: F64 = np.einsum("tij,tkj->tki", inverse[:, :, :2], p) + inverse[:, None, :, 2]
        return out

    def inverse_matrices(self) -> F64:
        """(T, 2, 3) float64, crop px -> source px."""
        linear = np.linalg.inv(self.matrices[:, :, :2])
        shift = -np.einsum("tij,tj->ti", linear, self.matrices[:, :, 2])
        return np.concatenate([linear, shift[:, :, None]], axis=2)

    def resized(self, size_px: int) -> CropTransform:
        """The same window at another crop size (pixel centres kept where they belong)."""
        k = size_px / self.size_px
        m = self.matrices * k
        m[:, :, 2] += (k - 1) / 2
        return CropTransform(matrices=m, size_px=size_px, window=self.window)

    def slice(self, start: int, stop: int) -> CropTransform:
        return CropTransform(matrices=self.matrices[start:stop], size_px=self.size_px, window=self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a sample comes from and what made it: enough to make it again."""

    source_sha256: str
    """Fingerprint of the source's bytes; two copies of a file are one source."""
    source_name: str
    """For people: the name it was read under."""
    span: Span
    """The stretch of the source, on the source's own clock."""
    landmark_backend: str
    """`name@version`."""
    config_sha256: str
    code_version: str
    parents: tuple[str, ...] = ()
    """Units this was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Footage that cannot be used, and why: a row in the account, never only a line in a log."""

    code: str
    """Short and stable, e.g. `no_face`, `too_short`, `unreadable`."""
    detail: str
    """For people: what was found and what would help."""
    value: float | None = None
    """What was measured, where the code is a threshold."""
    threshold: float | None = None
    span: Span | None = None
    """The stretch it is about; None for the whole source."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClipSample:
    """A clip worth training on, or about to be dubbed: the model cannot tell which."""

    key: str
    """32 hex digits made from source, span and track; unique in a dataset."""
    frames: U8
    """(T, S, S, 3) uint8 RGB, the face crop."""
    times: FrameTimes
    """(T,), on the clip's clock: the first frame is at 0."""
    landmarks: Landmarks
    """(T, P, 2) in crop px."""
    transform: CropTransform
    """(T,) source px -> crop px."""
    speech: Speech
    """On the clip's clock; at least as long as the picture."""
    features: tuple[AudioFeatures, ...]
    """On the clip's clock; names differ."""
    identity: str
    """Who: one name per person in the dataset; splits never divide it."""
    language: str | None
    """BCP-47, or None when unknown."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Raw measurements by name; thresholds are applied elsewhere and may move."""
    provenance: Provenance

    def __post_init__(self) -> None:
        t, s = self.frames.shape[:2]
        _need(self.frames.dtype == np.uint8 and self.frames.shape == (t, s, s, 3), "frames is (T, S, S, 3) uint8")
        _need(len(self.times) == len(self.landmarks) == len(self.transform) == t, "all parts have T frames")
        _need(self.transform.size_px == s, "the transform is for another crop size")
        _need(self.landmarks.space == "crop", "a sample's landmarks are in crop px")
        _need(len(self.key) == 32 and set(self.key) <= set("0123456789abcdef"), "a key is 32 hex digits")

    def feature(self, name: str) -> AudioFeatures:
        """The feature of that name."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(f"clip {self.key} has no audio feature {name!r}; it has {[f.name for f in self.features]}")
