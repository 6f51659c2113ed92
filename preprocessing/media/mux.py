"""Puts a finished title together: new picture, delivered speech, and everything else of the source as it was.

Owns which streams travel, their order, language and dispositions, and the account of what could not come along. The
file is written beside its name, checked by `check.py`, and only then given its name.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.check import Expected, check_title, timecode_of
from preprocessing.media.delivery import Delivery, prepare_speech
from preprocessing.media.probe import frame_times, picture, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, ffmpeg_version, file_url, input_args
from preprocessing.media.tracks import Container, iso639, refuse_unfinishable
from shards.schema import FrameTimes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxReport:
    """A finished title that passed its checks."""

    path: Path
    speech: str
    """`copied` (bit for bit) or how it was encoded, e.g. `aac 48000 Hz stereo`."""
    streams: tuple[str, ...]
    """`kind codec` of each stream, in order; the dub is the first sound."""
    av_delta_s: Fraction
    """How far the dub's zero lies from the first frame, as read back from the file; under two milliseconds."""
    notes: tuple[str, ...]
    """What is not as the source or the delivery had it, for people."""


@dataclass(slots=True, kw_only=True)
class _Plan:
    """The command line as it grows, and beside it what the result must show."""

    arguments: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, source: str, kind: str, codec: str, disposition: str) -> None:
        self.arguments += ["-map", source, f"-disposition:{len(self.streams)}", disposition or "0"]
        self.streams.append(f"{kind} {codec}")


def mux(
    video: Path,
    source: Path,
    speech: Path,
    out: Path,
    info: MediaInfo,
    *,
    times: FrameTimes | None = None,
    language: str | None = None,
    keep_other_audio: bool = True,
    deadline_s: float = 3600.0,
    stall_s: float = 120.0,
) -> MuxReport:
    """Finishes `out`: the picture of `video`, the `speech` file from the first frame on, the rest from `source`.

    The picture's length is kept: longer speech is cut at its end, shorter speech is left, and a note says so.
    """
    times = times if times is not None else frame_times(source, info)
    container = refuse_unfinishable(out, info, times)
    made = read_header(video, deadline_s=60)["streams"][0]["codec_name"]
    header = read_header(source, deadline_s=60)
    main, timecode = picture(info), timecode_of(header)
    is_timecode_kept = container.has_edit_lists and not main.is_vfr
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    spare = out.with_name(f".{out.stem}.speech{'.mov' if container.has_edit_lists else '.mka'}")
    try:
        dub = prepare_speech(speech, spare, container, times, deadline_s=deadline_s, stall_s=stall_s)
        plan = _plan_streams(header, main.index, container, dub, made, keep_other_audio)
        offset_s = times.at(0).seconds - dub.lead_s
        command = ffmpeg_command(
            *("-copyts", *_turned(video, main.rotation), *input_args(source)),
            *("-itsoffset", f"{float(offset_s):.6f}", *input_args(dub.path)),
            *plan.arguments,
            *("-c", "copy", "-map_metadata", "1", "-map_chapters", "1"),
            *_picture_tags(header, main, timecode if is_timecode_kept else None),
            *_speech_tags(language, plan),
            *_clock(container, times),
            *("-progress", "pipe:1", "-f", container.muxer, "-y", file_url(part)),
        )
        run_media(command, deadline_s=deadline_s, stall_s=stall_s)
        expected = Expected(
            times=times,
            streams=tuple(plan.streams),
            rotation=main.rotation,
            num_chapters=len(header.get("chapters", [])),
            timecode=timecode if is_timecode_kept else None,
            dub_offset_s=offset_s,
            speech=dub.path,
        )
        delta_s = check_title(part, expected, command=command)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
        spare.unlink(missing_ok=True)
    if timecode and container.has_edit_lists and not is_timecode_kept:
        plan.notes.append(f"the timecode {timecode} was left out: it cannot count an uneven frame rate")
    return MuxReport(path=out, speech=dub.how, streams=expected.streams, av_delta_s=delta_s, notes=tuple(plan.notes))


def _plan_streams(
    header: dict[str, Any], main: int, container: Container, dub: Delivery, made: str, keep_other_audio: bool
) -> _Plan:
    """Picture, dub, then whatever else of the source the container carries, in the source's order."""
    plan = _Plan(notes=list(dub.notes))
    plan.take("0:v:0", "video", made, "default")
    plan.take(f"2:{dub.track.index}", "audio", dub.track.codec, "default")
    for stream in header["streams"]:
        if stream["index"] == main:
            continue
        kind, codec = str(stream.get("codec_type", "unknown")), str(stream.get("codec_name", "unknown"))
        if kind == "audio" and not keep_other_audio:
            plan.notes.append(f"sound track {stream['index']} ({codec}) was left out, as asked")
        elif _travels(kind, codec, stream, container):
            plan.take(f"1:{stream['index']}", kind, codec, _dispositions(stream))
        elif stream.get("codec_tag_string") not in ("tmcd", "text"):  # timecode and chapter names travel by themselves
            plan.notes.append(f"{container.muxer} does not carry stream {stream['index']} ({kind} {codec}); left out")
    return plan


def _travels(kind: str, codec: str, stream: dict[str, Any], container: Container) -> bool:
    if kind == "audio":
        return container.carries_audio(codec)
    if kind == "subtitle":
        return container.carries_subtitles(codec)
    if kind == "attachment":
        return container.has_attachments
    if kind == "video":
        is_cover = bool(stream["disposition"].get("attached_pic"))
        return (is_cover and container.has_edit_lists) or (not is_cover and codec in container.video)
    return False


def _dispositions(stream: dict[str, Any]) -> str:
    """The source's, but for `default`: of the sounds, that is the dub now."""
    kind = stream.get("codec_type")
    return "+".join(
        name for name, is_set in stream["disposition"].items() if is_set and not (name == "default" and kind == "audio")
    )


def _turned(video: Path, rotation: int) -> list[str]:
    """The new picture as input, with the source's rotation flag on it."""
    if rotation and not _takes_rotate_tag():
        return ["-display_rotation", str(-rotation), *input_args(video)]
    return input_args(video)


def _takes_rotate_tag() -> bool:
    """ffmpeg 5 turns a `rotate` tag (counter-clockwise) into the flag; from 6 on there is an option for it."""
    words = ffmpeg_version().split()
    number = words[2].lstrip("n").split(".")[0] if len(words) > 2 else ""
    return number.isdigit() and int(number) < 6


def _picture_tags(header: dict[str, Any], main: VideoStream, timecode: str | None) -> list[str]:
    raw = next(s for s in header["streams"] if s["index"] == main.index)
    wanted = {key: raw.get("tags", {}).get(key) for key in ("language", "title", "handler_name")}
    arguments = [a for key, value in wanted.items() if value for a in ("-metadata:s:v:0", f"{key}={value}")]
    if main.rotation and _takes_rotate_tag():
        arguments += ["-metadata:s:v:0", f"rotate={-main.rotation % 360}"]
    if timecode:
        arguments += ["-metadata:s:v:0", f"timecode={timecode}", "-write_tmcd", "1"]
    return arguments


def _speech_tags(language: str | None, plan: _Plan) -> list[str]:
    """The track's language as containers hold it; the full tag is kept in its title."""
    if language is None:
        return ["-metadata:s:a:0", "language=und"]
    code = iso639(language)
    if code is None:
        plan.notes.append(f"the language {language} has no three-letter code; the track is marked `und`")
    return ["-metadata:s:a:0", f"language={code or 'und'}", "-metadata:s:a:0", f"title=Dub ({language})"]


def _clock(container: Container, times: FrameTimes) -> list[str]:
    """Times exactly as they come in: nothing moved to zero, in ticks that hold the source's own."""
    exact = ["-avoid_negative_ts", "disabled"]
    if not container.has_edit_lists:
        return exact
    scale = str(times.base.denominator)
    return [*exact, "-video_track_timescale", scale, "-movie_timescale", scale]
