"""A video stream's description, made up, with any field another."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from preprocessing.media.base import MediaInfo, VideoStream

_PLAIN = VideoStream(
    index=0,
    codec="h264",
    profile="High",
    width=640,
    height=360,
    pix_fmt="yuv420p",
    bit_depth=8,
    rotation=0,
    sample_aspect=Fraction(1),
    frame_rate=Fraction(25),
    time_base=Fraction(1, 12800),
    start_pts=0,
    num_frames=25,
    is_vfr=False,
    is_interlaced=False,
    bit_rate=None,
    color_range=None,
    color_space=None,
    color_transfer=None,
    color_primaries=None,
)


def video_stream(**changes: Any) -> VideoStream:
    """A plain 640x360 H.264 stream but for these fields."""
    return replace(_PLAIN, **changes)


def media_info(**changes: Any) -> MediaInfo:
    """A file with that picture and nothing else; there is no such file."""
    return MediaInfo(
        path=Path("nowhere.mp4"),
        size_bytes=1000,
        container="mov,mp4,m4a,3gp,3g2,mj2",
        duration_s=Fraction(1),
        video=video_stream(**changes),
        audio=(),
        other_streams=(),
    )
