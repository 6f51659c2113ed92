"""Puts a finished title together: new picture, delivered speech, and everything else of the source as it was.

Owns the command line, the timecode, the chapters and the clock. Which streams travel is `lineup.py`, the speech as a
file `delivery.py`; what ffmpeg does not write is added by `labels.py`. The file is made beside its name, checked by
`check.py`, and only then given its name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from preprocessing.errors import LayoutError
from preprocessing.media.base import MediaInfo
from preprocessing.media.chapters import Chapter, chapters_file, chapters_until
from preprocessing.media.check import Expected, check_title, timecode_of
from preprocessing.media.delivery import Delivery, prepare_speech
from preprocessing.media.hdr import HDR_CURVES, StaticHdr, static_hdr
from preprocessing.media.labels import add_labels, full_languages, room
from preprocessing.media.length import DurationPolicy, picture_length_s
from preprocessing.media.lineup import Lineup, Track, Tracks, line_up
from preprocessing.media.probe import frame_times, picture, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, ffmpeg_version, file_url, input_args
from preprocessing.media.tracks import Container, refuse_unfinishable
from shards.schema import FrameTimes

__all__ = ["MuxReport", "Tracks", "mux"]

_FINEST_CLOCK = 90_000
"""Late starts are written in ticks of the film's clock: at least so many a second, or a delay would be rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxReport:
    """A finished title that passed its checks."""

    path: Path
    speech: str
    """`copied` (bit for bit) or how it was encoded, e.g. `aac 48000 Hz stereo`."""
    streams: tuple[str, ...]
    """`kind codec` of each stream, in order."""
    dub: int
    """Which of them is the dub."""
    av_delta_s: Fraction
    """How far the dub's start lies from where it was asked, as read back from the file; under two milliseconds."""
    notes: tuple[str, ...]
    """What is not as the source or the delivery had it, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a title is made of, all of it known before it is put together."""

    video: Path
    source: Path
    info: MediaInfo
    header: Mapping[str, Any]
    times: FrameTimes
    container: Container
    dub: Delivery
    made: Mapping[str, Any]
    """What ffprobe says of the new picture."""
    end_s: Fraction | None
    """Where the source's other streams end too; None when the picture is at least as long as it was."""

    @property
    def timecode(self) -> str | None:
        return None if picture(self.info).is_vfr else timecode_of(self.header)

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        return chapters_until(self.header, self.end_s)

    @property
    def dub_offset_s(self) -> Fraction:
        """What is added to the speech file's own times."""
        return self.times.at(0).seconds - self.dub.lead_s + self.dub.offset_s


def mux(
    video: Path,
    source: Path,
    speech: Path,
    out: Path,
    info: MediaInfo,
    *,
    times: FrameTimes | None = None,
    language: str | None = None,
    tracks: Tracks | None = None,
    audio_stream: int | None = None,
    audio_offset_s: Fraction = Fraction(0),
    duration_policy: DurationPolicy = "keep_picture",
    deadline_s: float = 3600.0,
    stall_s: float = 120.0,
) -> MuxReport:
    """Finishes `out`: the picture of `video`, the `speech` from the first frame on, the rest from `source`.

    `times` are the finished title's frames (`length.output_times`; the source's own without them), and `video` has
    exactly those. `audio_stream` is an index in the speech file; `audio_offset_s` is how long after the first frame the
    speech begins.
    """
    times = times if times is not None else frame_times(source, info)
    made = read_header(video, deadline_s=60)["streams"][0]
    main = picture(info)
    container = refuse_unfinishable(out, info, times, codec=str(made["codec_name"]))
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.part-", dir=out.parent) as folder:
        scratch = Path(folder)
        dub = prepare_speech(
            speech,
            scratch,
            container,
            times,
            stream=audio_stream,
            offset_s=audio_offset_s,
            policy=duration_policy,
            deadline_s=deadline_s,
            stall_s=stall_s,
        )
        header = read_header(source, deadline_s=60)
        job = _Job(
            video=video,
            source=source,
            info=info,
            header=header,
            times=times,
            container=container,
            dub=dub,
            made=made,
            end_s=times.at(0).seconds + picture_length_s(times) if len(times) < main.num_frames else None,
        )
        lineup, notes = _lined_up(job, language, tracks if tracks is not None else Tracks())
        part = scratch / f"finished{out.suffix}"
        command = _command(job, lineup, scratch, part, deadline_s)
        run_media(command, deadline_s=deadline_s, stall_s=stall_s)
        add_labels(part, container, [track.label() for track in lineup.tracks if not track.is_last])
        delta_s = check_title(part, _expected(job, lineup), command=command)
        part.replace(out)
    return MuxReport(
        path=out, speech=dub.how, streams=lineup.summary(), dub=lineup.dub, av_delta_s=delta_s, notes=notes
    )


def _lined_up(job: _Job, language: str | None, wanted: Tracks) -> tuple[Lineup, tuple[str, ...]]:
    """The streams of the finished file, and what is to be said about them."""
    notes = []
    try:
        languages = full_languages(job.source, job.header)
    except LayoutError as error:  # three letters a track is what there is then
        languages = {}
        notes.append(f"regional language tags of the source could not be read: {error}")
    lineup = line_up(
        job.header,
        languages,
        picture(job.info).index,
        job.container,
        job.dub,
        made=str(job.made["codec_name"]),
        language=language,
        wanted=wanted,
        hdr=static_hdr(job.info) if job.made.get("color_transfer") in HDR_CURVES else StaticHdr(),
    )
    if (timecode := timecode_of(job.header)) and job.timecode is None:
        notes.append(f"the timecode {timecode} was left out: it cannot count an uneven frame rate")
    return lineup, (*lineup.notes, *notes)


def _expected(job: _Job, lineup: Lineup) -> Expected:
    main = picture(job.info)
    return Expected(
        times=job.times,
        container=job.container,
        lineup=lineup,
        rotation=main.rotation,
        sample_aspect=main.sample_aspect,
        made=job.made,
        chapters=job.chapters,
        timecode=job.timecode,
        dub_offset_s=job.dub_offset_s,
        speech=job.dub.path,
        speech_track=job.dub.track.index,
    )


def _command(job: _Job, lineup: Lineup, scratch: Path, part: Path, deadline_s: float) -> list[str]:
    covers = [t for t in lineup.tracks if t.is_cover and job.container.is_matroska]
    files = [_cover_file(job.source, cover, scratch, deadline_s) for cover in covers]
    start_s = Fraction(str(job.header["format"].get("start_time", 0)))
    until = ["-t", f"{float(job.end_s - start_s):.6f}"] if job.end_s is not None else []
    chapters, of_chapters = [], "1"
    if job.end_s is not None:
        chapters = ["-f", "ffmetadata", "-i", file_url(chapters_file(scratch / "chapters.txt", job.chapters))]
        of_chapters = "3"
    return ffmpeg_command(
        *("-copyts", *_turned(job.video, picture(job.info).rotation)),
        *(*until, *input_args(job.source)),
        *("-itsoffset", f"{float(job.dub_offset_s):.6f}", *input_args(job.dub.path)),
        *chapters,
        *_streams([track for track in lineup.tracks if track not in covers], job.container),
        *_attached(covers, files, lineup),
        *("-c", "copy", "-map_metadata", "1", "-map_chapters", of_chapters, *_without_brands()),
        *_picture_tags(job, lineup.tracks[0]),
        # Without it Matroska files carry random numbers, and the same title would never have the same bytes twice.
        # ffmpeg calls FLAC in MP4 experimental; the standard has it since 2019, and players too.
        *("-fflags", "+bitexact", "-strict", "experimental", *_clock(job.container, job.times)),
        *("-progress", "pipe:1", "-f", job.container.muxer, "-y", file_url(part)),
    )


def _streams(tracks: Sequence[Track], container: Container) -> list[str]:
    """Which stream of which input, and what it is to be called."""
    arguments, inputs = [], {"picture": 0, "source": 1, "speech": 2}
    for number, track in enumerate(tracks):
        kept = sorted(track.flags | ({"attached_pic"} if track.is_cover else set()))
        arguments += ["-map", f"{inputs[track.origin]}:{track.index}"]
        arguments += [f"-disposition:{number}", "+".join(kept) or "0"]
        if track.origin == "speech" or track.language:
            arguments += [f"-metadata:s:{number}", f"language={track.code or 'und'}"]
        name = room(container, track.name, track.label()) or (track.name if track.origin == "speech" else None)
        if name:
            arguments += [f"-metadata:s:{number}", f"title={name}"]
    return arguments


def _without_brands() -> list[str]:
    """ffmpeg reads an MP4's kind as if it were tags; in a file of another kind they would be untrue."""
    brands = ("major_brand", "minor_version", "compatible_brands")
    return [word for brand in brands for word in ("-metadata", f"{brand}=")]


def _cover_file(source: Path, cover: Track, scratch: Path, deadline_s: float) -> Path:
    """Matroska has covers as attached files, so the picture is taken out to be attached."""
    out = scratch / f"cover.{'jpg' if cover.codec == 'mjpeg' else cover.codec}"
    mapped = ("-map", f"0:{cover.index}", "-c", "copy", "-frames:v", "1", "-f", "image2", "-update", "1")
    run_media(ffmpeg_command(*input_args(source), *mapped, "-y", file_url(out)), deadline_s=deadline_s)
    return out


def _attached(covers: Sequence[Track], files: Sequence[Path], lineup: Lineup) -> list[str]:
    first = len(lineup.tracks) - len(covers)
    arguments = []
    for number, (cover, file) in enumerate(zip(covers, files, strict=True), first):
        kind = "image/jpeg" if cover.codec == "mjpeg" else f"image/{cover.codec}"
        arguments += ["-attach", file_url(file), f"-metadata:s:{number}", f"mimetype={kind}"]
        arguments += [f"-metadata:s:{number}", f"filename={file.name}"]
    return arguments


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


def _picture_tags(job: _Job, track: Track) -> list[str]:
    main = picture(job.info)
    raw = next(s for s in job.header["streams"] if s["index"] == main.index)
    handler = raw.get("tags", {}).get("handler_name")
    arguments = ["-metadata:s:v:0", f"handler_name={handler}"] if handler else []
    if track.name and not room(job.container, track.name, track.label()):
        arguments += ["-metadata:s:v:0", f"title={track.name}"]
    if main.rotation and _takes_rotate_tag():
        arguments += ["-metadata:s:v:0", f"rotate={-main.rotation % 360}"]
    if job.timecode:
        arguments += ["-metadata:s:v:0", f"timecode={job.timecode}"]
        arguments += ["-write_tmcd", "1"] if job.container.has_edit_lists else []
    return arguments


def _clock(container: Container, times: FrameTimes) -> list[str]:
    """Times exactly as they come in: nothing moved to zero, in ticks that hold the source's own."""
    exact = ["-avoid_negative_ts", "disabled"]
    if not container.has_edit_lists:
        return exact
    scale = times.base.denominator
    movie = scale * max(1, _FINEST_CLOCK // scale)
    return [*exact, "-video_track_timescale", str(scale), "-movie_timescale", str(movie)]
