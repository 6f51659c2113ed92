"""Writes the dubbed picture: one encode, in the source's own codec, depth, chroma, colours and frame times.

Owns which encoder answers which codec and how near to transparent it works. What the new picture is put together with
is `mux.py`; exact times are put on the finished packets by `restamp.py`, because no encoder counts in every clock.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from preprocessing.errors import ToolMissing, Unusable
from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.hdr import x265_hdr_parameters
from preprocessing.media.native import FORMATS, NativeFrame, native_format, native_video, stored_size
from preprocessing.media.probe import picture
from preprocessing.media.restamp import restamp
from preprocessing.media.runner import MediaPipe
from preprocessing.media.tools import encoders, ffmpeg_command, file_url
from shards.schema import FrameTimes

logger = logging.getLogger(__name__)

_SPEEDS = Literal["ultrafast", "veryfast", "fast", "medium", "slow"]
_PRORES = {"Proxy": 0, "LT": 1, "Standard": 2, "HQ": 3, "4444": 4, "XQ": 5, "4444 XQ": 5}
_UNTAGGED = (None, "unknown", "unspecified", "reserved")


class EncodeConfig(BaseModel):
    """How near to transparent the one encode is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    h264_crf: float = Field(13.0, ge=0, le=51, description="x264's constant rate factor; 13 is about 50 dB")
    hevc_crf: float = Field(14.0, ge=0, le=51, description="x265's constant rate factor")
    preset: _SPEEDS = Field("fast", description="x264 and x265: slower is smaller at the same quality")
    deadline_s: float = Field(48 * 3600.0, gt=0, description="an encoder that keeps us waiting longer is killed")
    stall_s: float = Field(120.0, gt=0, description="an encoder that takes nothing for so long is killed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a picture is encoded, and what of it is not as the source was."""

    encoder: str
    codec: str
    arguments: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterReport:
    """The encoded picture."""

    path: Path
    codec: str
    encoder: str
    num_frames: int
    notes: tuple[str, ...]


def encoding_for(info: MediaInfo, config: EncodeConfig) -> Encoding:
    """The encoder that answers the source's codec; x264, with a note, where we have none of that kind."""
    video = picture(info)
    layout, note = native_format(video)
    width, height = stored_size(video)
    notes = [note] if note else []
    if video.codec == "hevc":
        found = _x265(info, config, notes)
    elif video.codec == "prores" and layout.name in ("yuv422p10le", "yuv444p10le"):
        found = _prores(video, notes)
    else:
        if video.codec != "h264":
            notes.append(f"{video.codec} pictures are written as H.264, at a quality well above their own")
        found = _x264(video, config, notes)
    if width % layout.chroma[0] or height % layout.chroma[1]:
        raise Unusable.because("odd_size", f"no encoder here takes {layout.name} pictures of {width}x{height}")
    if found.encoder not in encoders():
        raise ToolMissing(f"this ffmpeg was built without {found.encoder}; install one that has it")
    return found


class MasterWriter:
    """Takes a title's frames in order and leaves an encoded picture with exactly the source's times.

    Used inside `with`; `finish` makes the file. Left without it, nothing remains.
    """

    def __init__(self, out: Path, info: MediaInfo, times: FrameTimes, *, config: EncodeConfig | None = None) -> None:
        self.out, self.info, self.times = out, info, times
        self.config = config if config is not None else EncodeConfig()
        self.encoding = encoding_for(info, self.config)
        self._layout = FORMATS[native_video(picture(info)).pix_fmt]
        self._shapes = self._layout.shapes(*stored_size(picture(info)))
        self._encoded = out.with_name(f".{out.name}.encoded.mov")
        self._written = 0
        self._pipe = MediaPipe(
            self._command(), deadline_s=self.config.deadline_s, stall_s=self.config.stall_s, reads=False, writes=True
        )

    def __enter__(self) -> MasterWriter:
        self._pipe.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.__exit__(kind, error, trace)
        self._encoded.unlink(missing_ok=True)

    def write(self, frame: NativeFrame) -> None:
        """The next frame; refuses one out of order or of another layout, which would shift all that follow."""
        if frame.index != self._written:
            raise ValueError(f"frame {frame.index} was written where frame {self._written} is due")
        if frame.pix_fmt != self._layout.name or tuple(p.shape for p in frame.planes) != self._shapes:
            raise ValueError(f"frame {frame.index} is {frame.pix_fmt}, not {self._layout.name} of the source's size")
        for plane in frame.planes:
            self._pipe.write(np.ascontiguousarray(plane, dtype=self._layout.sample).data.cast("B"))
        self._written += 1

    def finish(self) -> MasterReport:
        """Ends the encode and stamps the source's times on it; the file appears whole or not at all."""
        if self._written != len(self.times):
            raise ValueError(f"{self._written} frames were written, {len(self.times)} are due")
        self._pipe.finish()
        restamp(self._encoded, self.out, self.times)
        return MasterReport(
            path=self.out,
            codec=self.encoding.codec,
            encoder=self.encoding.encoder,
            num_frames=self._written,
            notes=self.encoding.notes,
        )

    def _command(self) -> list[str]:
        video = native_video(picture(self.info))
        width, height = stored_size(video)
        filters = ",".join(_tag_filters(video))
        raw = ("-f", "rawvideo", "-pix_fmt", video.pix_fmt, "-video_size", f"{width}x{height}")
        return ffmpeg_command(
            *raw,
            *("-framerate", str(video.frame_rate), "-i", "pipe:0", "-vf", filters),
            *("-c:v", self.encoding.encoder, *self.encoding.arguments, "-pix_fmt", video.pix_fmt),
            *("-fps_mode", "passthrough", "-f", "mov", "-y", file_url(self._encoded)),
        )


def _x264(video: VideoStream, config: EncodeConfig, notes: list[str]) -> Encoding:
    arguments = ["-preset", config.preset, "-crf", f"{config.h264_crf:g}"]
    if video.is_interlaced:
        arguments += ["-flags", "+ilme+ildct"]
    return Encoding(encoder="libx264", codec="h264", arguments=tuple(arguments), notes=tuple(notes))


def _x265(info: MediaInfo, config: EncodeConfig, notes: list[str]) -> Encoding:
    if picture(info).is_interlaced:
        notes.append("interlaced HEVC is written as whole frames: the lines are the source's, the flag is not")
    words = ":".join(["log-level=error", *x265_hdr_parameters(info)])
    arguments = ("-preset", config.preset, "-crf", f"{config.hevc_crf:g}", "-x265-params", words)
    return Encoding(encoder="libx265", codec="hevc", arguments=(*arguments, "-tag:v", "hvc1"), notes=tuple(notes))


def _prores(video: VideoStream, notes: list[str]) -> Encoding:
    is_444 = native_format(video)[0].name == "yuv444p10le"
    profile = max(_PRORES.get(video.profile or "", 3), 4 if is_444 else 0)
    arguments = ["-profile:v", str(profile), "-vendor", "apl0"]
    if video.is_interlaced:
        arguments += ["-flags", "+ildct"]
    return Encoding(encoder="prores_ks", codec="prores", arguments=tuple(arguments), notes=tuple(notes))


def _tag_filters(video: VideoStream) -> list[str]:
    """Marks on the frames themselves: every ffmpeg since 4 hands these to the encoder, none converts for them."""
    tags = {
        "range": {"tv": "tv", "pc": "pc"}.get(video.color_range or ""),
        "color_primaries": video.color_primaries,
        "color_trc": video.color_transfer,
        "colorspace": video.color_space,
    }
    known = [f"{key}={value}" for key, value in tags.items() if value not in _UNTAGGED]
    filters = ["setparams=" + ":".join(known)] if known else []
    if video.is_interlaced:
        filters.append("setfield=" + ("tff" if video.field_order in ("tt", "tb") else "bff"))
    return [*filters, f"setsar={video.sample_aspect.numerator}/{video.sample_aspect.denominator}"]
