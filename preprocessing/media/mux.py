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

import numpy as np

from preprocessing.errors import Unusable
from preprocessing.media.base import AudioStream, MediaInfo
from preprocessing.media.check import Expected, check_title, timecode_of
from preprocessing.media.probe import frame_times, picture, probe, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.speech import clock_lead_s
from preprocessing.media.tools import ffmpeg_command, ffmpeg_version, file_url, input_args
from preprocessing.media.tracks import Container, iso639, refuse_unfinishable
from shards.schema import FrameTimes

logger = logging.getLogger(__name__)

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_BITS_PER_CHANNEL = 128_000


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
    made = probe(video)
    header = read_header(source, deadline_s=60)
    plan = _Plan()
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    prepared = out.with_name(f".{out.stem}.speech{'.mov' if container.has_edit_lists else '.mka'}")
    try:
        track, delivered, how = _prepare_speech(speech, prepared, container, times, plan, deadline_s, stall_s)
        offset_s = times.at(0).seconds - (clock_lead_s(track, deadline_s) or Fraction(0))
        timecode = timecode_of(header)
        _plan_streams(plan, header, picture(info).index, container, delivered, made, keep_other_audio)
        command = ffmpeg_command(
            *("-copyts", *_turned(video, picture(info).rotation), *input_args(source)),
            *("-itsoffset", f"{float(offset_s):.6f}", *input_args(track)),
            *plan.arguments,
            *("-c", "copy", "-map_metadata", "1", "-map_chapters", "1"),
            *_picture_tags(header, info, container, timecode),
            *_speech_tags(language, plan),
            *_clock(container, times),
            *("-progress", "pipe:1", "-f", container.muxer, "-y", file_url(part)),
        )
        run_media(command, deadline_s=deadline_s, stall_s=stall_s)
        expected = Expected(
            times=times,
            streams=tuple(plan.streams),
            rotation=picture(info).rotation,
            num_chapters=len(header.get("chapters", [])),
            timecode=timecode if container.has_edit_lists and not picture(info).is_vfr else None,
            dub_offset_s=offset_s,
            speech=track,
        )
        av_delta_s = check_title(part, expected, command=command)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
        prepared.unlink(missing_ok=True)
    return MuxReport(path=out, speech=how, streams=expected.streams, av_delta_s=av_delta_s, notes=tuple(plan.notes))


def _prepare_speech(
    speech: Path,
    prepared: Path,
    container: Container,
    times: FrameTimes,
    plan: _Plan,
    deadline_s: float,
    stall_s: float,
) -> tuple[Path, AudioStream, str]:
    """The file whose sound is carried: the delivery itself where that fits, else one copy, cut or encoded."""
    track = _only_sound(speech)
    length_s = picture_length_s(times)
    spare_s = (track.duration_s or Fraction(0)) - length_s
    cut = ["-t", f"{float(length_s):.6f}"] if spare_s > Fraction(1, 1000) else []
    if cut:
        plan.notes.append(f"the speech is {float(spare_s):.3f} s longer than the picture; its end is cut")
    elif track.duration_s is not None and spare_s < Fraction(-1, 10):
        plan.notes.append(f"the speech ends {float(-spare_s):.3f} s before the picture")
    copied = container.carries_audio(track.codec)
    if copied and not cut:
        return speech, track, "copied"
    if copied:
        codec, how = ["-c:a", "copy"], "copied"
    else:
        codec, how = _aac(track)
        plan.notes.append(f"{container.muxer} carries no {track.codec}: the speech was encoded once, as {how}")
    run_media(
        ffmpeg_command(
            *input_args(speech),
            *("-map", f"0:{track.index}", *cut, *codec, "-map_metadata", "-1"),
            *("-progress", "pipe:1", "-y", file_url(prepared)),
        ),
        deadline_s=deadline_s,
        stall_s=stall_s,
    )
    return prepared, _only_sound(prepared), how


def picture_length_s(times: FrameTimes) -> Fraction:
    """From the first frame's start to the last one's end; the last lasts as long as the middle one of all."""
    steps = np.diff(times.pts)
    last = int(np.median(steps)) if len(steps) else 1
    return (int(times.pts[-1] - times.pts[0]) + last) * times.base


def _only_sound(path: Path) -> AudioStream:
    tracks = probe(path, need_video=False).audio
    if not tracks:
        raise Unusable.because("no_audio", f"{path.name} has no sound track")
    return tracks[0]


def _aac(track: AudioStream) -> tuple[list[str], str]:
    """Its own rate and layout where AAC has them."""
    rate = next((r for r in _AAC_RATES if r <= track.rate_hz), _AAC_RATES[-1])
    bits = min(_AAC_BITS_PER_CHANNEL * track.channels, 6 * rate * track.channels)
    how = f"aac {rate} Hz {track.layout or f'{track.channels} channels'}"
    return ["-c:a", "aac", "-b:a", str(bits), "-ar", str(rate)], how


def _plan_streams(
    plan: _Plan,
    header: dict[str, Any],
    main: int,
    container: Container,
    delivered: AudioStream,
    made: MediaInfo,
    keep_other_audio: bool,
) -> None:
    """Picture, dub, then whatever else of the source the container carries, in the source's order."""
    plan.take("0:v:0", "video", picture(made).codec, "default")
    plan.take(f"2:{delivered.index}", "audio", delivered.codec, "default")
    for stream in header["streams"]:
        if stream["index"] == main:
            continue
        kind, codec = str(stream.get("codec_type", "unknown")), str(stream.get("codec_name", "unknown"))
        if kind == "audio" and not keep_other_audio:
            plan.notes.append(f"sound track {stream['index']} ({codec}) was left out, as asked")
        elif _travels(kind, codec, stream, container):
            plan.take(f"1:{stream['index']}", kind, codec, _dispositions(stream))
        elif codec != "tmcd" and stream.get("codec_tag_string") != "tmcd":  # the timecode travels as a tag
            plan.notes.append(f"{container.muxer} does not carry stream {stream['index']} ({kind} {codec}); left out")


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


def _picture_tags(header: dict[str, Any], info: MediaInfo, container: Container, timecode: str | None) -> list[str]:
    main = picture(info)
    raw = next(s for s in header["streams"] if s["index"] == main.index)
    wanted = {key: raw.get("tags", {}).get(key) for key in ("language", "title", "handler_name")}
    arguments = [a for key, value in wanted.items() if value for a in ("-metadata:s:v:0", f"{key}={value}")]
    if main.rotation and _takes_rotate_tag():
        arguments += ["-metadata:s:v:0", f"rotate={-main.rotation % 360}"]
    if timecode and container.has_edit_lists and not main.is_vfr:
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
