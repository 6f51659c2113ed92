"""The media door: what a file is, and how its pictures are read. No ffmpeg here, only the types.

`probe.py` makes a `MediaInfo`, `decode.py` makes a `FrameSource`; the rest of the house knows only these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from shards.schema import U8, FrameTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoStream:
    """The picture, as the container describes it."""

    index: int
    codec: str
    profile: str | None
    width: int
    """Pixels as displayed: rotation applied, sample aspect not."""
    height: int
    pix_fmt: str
    bit_depth: int
    rotation: int
    """Degrees clockwise the player turns the picture: 0, 90, 180, 270."""
    sample_aspect: Fraction
    frame_rate: Fraction
    """Average frames per second."""
    time_base: Fraction
    """Seconds per PTS tick."""
    start_pts: int
    num_frames: int
    """Counted from packets, never taken from the header."""
    is_vfr: bool
    is_interlaced: bool
    bit_rate: int | None
    color_range: str | None
    color_space: str | None
    color_transfer: str | None
    color_primaries: str | None
    field_order: str | None = None
    """ffprobe's word: progressive, tt, bb, tb, bt; None when the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStream:
    """One sound track."""

    index: int
    codec: str
    rate_hz: int
    channels: int
    layout: str | None
    language: str | None
    start_s: Fraction
    duration_s: Fraction | None
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """Everything we know about a file before decoding it."""

    path: Path
    size_bytes: int
    container: str
    duration_s: Fraction
    video: VideoStream | None
    audio: tuple[AudioStream, ...]
    other_streams: tuple[str, ...]
    """Codec types that are neither: subtitle, data, attachment."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecodedFrame:
    """One picture."""

    index: int
    """0-based position in display order."""
    rgb: U8
    """(H, W, 3) uint8 as displayed (rotation applied)."""


class FrameSource(Protocol):
    """Reads a title's pictures in order, in constant memory."""

    info: MediaInfo
    times: FrameTimes
    """Every frame's PTS on the source's own clock (not shifted to zero)."""

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        """Frames [start, stop) in display order; raises `Unusable` when the file ends before its frames do."""
        ...

    def close(self) -> None: ...
