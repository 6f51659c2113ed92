"""Encodes one chunk of the dubbed picture: the source's codec, depth, chroma and colours, or those a policy asks for.

Owns which encoder answers which codec and how near to transparent it works. Every chunk begins with a closed group of
pictures and is encoded by one thread: its bytes depend on its frames alone, neither on the machine nor on its
neighbours. Many chunks are encoded at once instead. Putting them together, with exact times, is `join.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from preprocessing.errors import ToolMissing, Unusable
from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.gops import Habits
from preprocessing.media.hdr import HDR_CURVES, x265_hdr_parameters
from preprocessing.media.native import FORMATS, NativeFrame, native_format, native_video, stored_size
from preprocessing.media.probe import picture
from preprocessing.media.runner import MediaPipe
from preprocessing.media.tools import encoders, ffmpeg_command, file_url

CodecPolicy = Literal["match", "mezzanine:prores_422hq", "mezzanine:dnxhr_hqx", "review:h264"]
"""`match`: as the source is. A mezzanine goes on to another workshop, a review copy is looked at once."""
PRORES_PROFILES = {"Proxy": 0, "LT": 1, "Standard": 2, "HQ": 3, "4444": 4}
"""The encoder's number of each profile, by ffprobe's word."""
_SPEEDS = Literal["ultrafast", "veryfast", "fast", "medium", "slow"]
_H264_PROFILES = {"Constrained Baseline": "baseline", "Baseline": "baseline", "Main": "main"}
"""Profiles that x264 does not come to by the layout alone."""
_UNTAGGED = (None, "unknown", "unspecified", "reserved")
_LEAST_DNXHR = (256, 120)


class EncodeConfig(BaseModel):
    """How near to transparent the one encode is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    h264_crf: float = Field(13.0, ge=0, le=51, description="x264's constant rate factor; 13 is about 50 dB")
    hevc_crf: float = Field(14.0, ge=0, le=51, description="x265's constant rate factor")
    review_crf: float = Field(21.0, ge=0, le=51, description="x264's constant rate factor of a review copy")
    preset: _SPEEDS = Field("fast", description="x264 and x265: slower is smaller at the same quality")
    deadline_s: float = Field(48 * 3600.0, gt=0, description="an encoder that keeps us waiting longer is killed")
    stall_s: float = Field(120.0, gt=0, description="an encoder that takes nothing for so long is killed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a picture is encoded, and what of it is not as the source was."""

    encoder: str
    codec: str
    pix_fmt: str
    """Layout of the encoded picture."""
    arguments: tuple[str, ...]
    filters: tuple[str, ...] = ()
    """What brings a frame from the source's layout to that one."""
    notes: tuple[str, ...] = ()


def encoding_for(
    info: MediaInfo, config: EncodeConfig, policy: CodecPolicy = "match", habits: Habits | None = None
) -> Encoding:
    """The encoder that answers the source's codec (x264, with a note, where we have none of that kind) or the policy.

    With the source's `habits`, groups are as long as its own, and parameter sets take a number it leaves free.
    """
    found = _matching(info, config, habits or Habits()) if policy == "match" else _asked(info, config, policy)
    width, height = stored_size(picture(info))
    columns, rows = FORMATS[found.pix_fmt].chroma
    if width % columns or height % rows:
        raise Unusable.because("odd_size", f"no encoder here takes {found.pix_fmt} pictures of {width}x{height}")
    if found.encoder not in encoders():
        raise ToolMissing(f"this ffmpeg was built without {found.encoder}; install one that has it")
    return found


class ChunkWriter:
    """Takes the frames [start, stop) of an output in order and leaves them as one encoded piece.

    Used inside `with`; `finish` makes the file. Left without it, nothing remains.
    """

    def __init__(
        self, out: Path, info: MediaInfo, start: int, stop: int, *, encoding: Encoding, config: EncodeConfig
    ) -> None:
        self.out, self._start, self._stop = out, start, stop
        self._layout = FORMATS[native_video(picture(info)).pix_fmt]
        self._shapes = self._layout.shapes(*stored_size(picture(info)))
        self._part = out.with_name(f".{out.name}.part")
        self._due = start
        self._pipe = MediaPipe(
            _command(info, encoding, self._part),
            deadline_s=config.deadline_s,
            stall_s=config.stall_s,
            reads=False,
            writes=True,
        )

    def __enter__(self) -> ChunkWriter:
        self._pipe.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.__exit__(kind, error, trace)
        self._part.unlink(missing_ok=True)

    def write(self, frame: NativeFrame) -> None:
        """The next frame; refuses one out of order or of another layout, which would shift all that follow."""
        if frame.index != self._due:
            raise ValueError(f"frame {frame.index} was written where frame {self._due} is due")
        if frame.pix_fmt != self._layout.name or tuple(p.shape for p in frame.planes) != self._shapes:
            raise ValueError(f"frame {frame.index} is {frame.pix_fmt}, not {self._layout.name} of the source's size")
        for plane in frame.planes:
            self._pipe.write(np.ascontiguousarray(plane, dtype=self._layout.sample).data.cast("B"))
        self._due += 1

    def finish(self) -> Path:
        """Ends the encode; the file appears whole or not at all."""
        if self._due != self._stop:
            written, due = self._due - self._start, self._stop - self._start
            raise ValueError(f"{written} frames were written, {due} are due")
        self._pipe.finish()
        return self._part.replace(self.out)


def _command(info: MediaInfo, encoding: Encoding, out: Path) -> list[str]:
    video = native_video(picture(info))
    width, height = stored_size(video)
    raw = ("-f", "rawvideo", "-pix_fmt", video.pix_fmt, "-video_size", f"{width}x{height}")
    return ffmpeg_command(
        *raw,
        *("-framerate", str(video.frame_rate), "-i", "pipe:0"),
        *("-vf", ",".join([*_tag_filters(video), *encoding.filters])),
        *("-c:v", encoding.encoder, *encoding.arguments, "-threads", "1", "-pix_fmt", encoding.pix_fmt),
        *("-fps_mode", "passthrough", "-f", "mov", "-y", file_url(out)),
    )


def _matching(info: MediaInfo, config: EncodeConfig, habits: Habits) -> Encoding:
    video = picture(info)
    layout, note = native_format(video)
    notes = [note] if note else []
    groups = ("-g", str(habits.longest_group)) if habits.longest_group else ()
    if video.codec == "hevc":
        return _x265(info, config, layout.name, groups, notes)
    if video.codec == "prores" and layout.name in ("yuv422p10le", "yuv444p10le"):
        return _prores(video, layout.name, notes)
    if video.codec != "h264":
        notes.append(f"{video.codec} pictures are written as H.264, at a quality well above their own")
        groups = ()
    return _x264(video, config, layout.name, groups, habits.set_number, notes)


def _x264(
    video: VideoStream,
    config: EncodeConfig,
    pix_fmt: str,
    groups: tuple[str, ...],
    number: int | None,
    notes: list[str],
) -> Encoding:
    arguments = ["-preset", config.preset, "-crf", f"{config.h264_crf:g}", *groups]
    if video.is_interlaced:
        arguments += ["-flags", "+ilme+ildct"]
    elif pix_fmt == "yuv420p" and video.codec == "h264" and video.profile in _H264_PROFILES:
        arguments += ["-profile:v", _H264_PROFILES[video.profile]]
    # stitchable: headers that do not depend on what is encoded, so that all chunks share one.
    arguments += ["-x264-params", f"stitchable=1:sps-id={number}"]
    return Encoding(encoder="libx264", codec="h264", pix_fmt=pix_fmt, arguments=tuple(arguments), notes=tuple(notes))


def _x265(info: MediaInfo, config: EncodeConfig, pix_fmt: str, groups: tuple[str, ...], notes: list[str]) -> Encoding:
    if picture(info).is_interlaced:
        notes.append("interlaced HEVC is written as whole frames: the lines are the source's, the flag is not")
    # One thread: with more, what x265 writes depends on how many there are. Its groups are open unless told otherwise.
    one_thread = ["pools=none", "frame-threads=1", "wpp=0", "open-gop=0"]
    words = ":".join(["log-level=error", *one_thread, *x265_hdr_parameters(info)])
    arguments = ("-preset", config.preset, "-crf", f"{config.hevc_crf:g}", *groups, "-x265-params", words)
    return Encoding(
        encoder="libx265",
        codec="hevc",
        pix_fmt=pix_fmt,
        arguments=(*arguments, "-tag:v", "hvc1"),
        notes=tuple(notes),
    )


def _prores(video: VideoStream, pix_fmt: str, notes: list[str]) -> Encoding:
    profile = max(PRORES_PROFILES.get(video.profile or "", 3), 4 if pix_fmt == "yuv444p10le" else 0)
    if video.profile not in PRORES_PROFILES:
        notes.append(f"ProRes of profile {video.profile} is written as the nearest that can be encoded")
    arguments = ["-profile:v", str(profile), "-vendor", "apl0"]
    if video.is_interlaced:
        arguments += ["-flags", "+ildct"]
    return Encoding(
        encoder="prores_ks", codec="prores", pix_fmt=pix_fmt, arguments=tuple(arguments), notes=tuple(notes)
    )


def _asked(info: MediaInfo, config: EncodeConfig, policy: CodecPolicy) -> Encoding:
    """What a policy names, from a source of any kind; limited range, as these are always read."""
    video = native_video(picture(info))
    interlaced = ("-flags", "+ildct") if video.is_interlaced else ()
    if policy == "mezzanine:prores_422hq":
        arguments = ("-profile:v", "3", "-vendor", "apl0", *interlaced)
        encoder, codec, pix_fmt = "prores_ks", "prores", "yuv422p10le"
    elif policy == "mezzanine:dnxhr_hqx":
        if any(side < least for side, least in zip(stored_size(video), _LEAST_DNXHR, strict=True)):
            raise Unusable.because("too_small", "DNxHR pictures are at least 256x120; use mezzanine:prores_422hq")
        arguments = ("-profile:v", "dnxhr_hqx", *interlaced)
        encoder, codec, pix_fmt = "dnxhd", "dnxhd", "yuv422p10le"
    else:
        arguments = ("-preset", "veryfast", "-crf", f"{config.review_crf:g}", "-x264-params", "stitchable=1")
        encoder, codec, pix_fmt = "libx264", "h264", "yuv420p"
    return Encoding(
        encoder=encoder,
        codec=codec,
        pix_fmt=pix_fmt,
        arguments=arguments,
        filters=(_converted(video, pix_fmt), f"format={pix_fmt}"),
        notes=tuple(_said_of(video, policy, pix_fmt)),
    )


def _converted(video: VideoStream, pix_fmt: str) -> str:
    lines = f":interl={int(video.is_interlaced)}"
    return f"scale=out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp{lines}"


def _said_of(video: VideoStream, policy: CodecPolicy, pix_fmt: str) -> list[str]:
    notes = [f"the codec policy {policy} was asked for; the source is {video.codec} {video.pix_fmt}"]
    if FORMATS[pix_fmt].bit_depth < video.bit_depth:
        notes.append(f"{video.bit_depth}-bit pictures are carried in {FORMATS[pix_fmt].bit_depth} bits")
    if video.color_transfer in HDR_CURVES:
        notes.append("this codec carries no description of the mastering display; the colour tags are kept")
    return notes


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
