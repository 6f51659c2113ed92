"""Reads a finished title back and says what differs from what was asked.

Owns the proof that nothing moved: frame count and times, the picture's length, shape, colours and HDR, every stream's
kind, flags and language, timecode, chapters, the dub's start and its samples. A file that fails is never given its
name, and the error names both sides of every difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.errors import MediaToolError
from preprocessing.media.base import MediaInfo
from preprocessing.media.chapters import Chapter, chapters_until
from preprocessing.media.hdr import container_hdr
from preprocessing.media.labels import full_languages
from preprocessing.media.lineup import Lineup, flags_of, is_made_anew
from preprocessing.media.probe import described, picture, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, ffprobe, input_args
from preprocessing.media.tracks import Container, iso639, whole_tag
from shards.schema import FrameTimes

_SLACK_S = Fraction(2, 1000)
"""Matroska rounds to milliseconds; no ear and no lip notices two."""
_COLOUR_TAGS = ("color_range", "color_space", "color_transfer", "color_primaries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the finished file must show."""

    times: FrameTimes
    container: Container
    lineup: Lineup
    rotation: int
    sample_aspect: Fraction
    made: Mapping[str, Any]
    """What ffprobe says of the picture that went in: its colours and its end must come out."""
    chapters: tuple[Chapter, ...]
    timecode: str | None
    dub_offset_s: Fraction
    """What is added to the speech file's own times."""
    speech: Path
    """The file that the dub was copied from."""
    speech_track: int
    """Its stream in that file."""


def check_title(path: Path, expected: Expected, *, command: Sequence[str], deadline_s: float = 600) -> Fraction:
    """Returns how far the dub is from its place (under two milliseconds); raises naming every difference."""
    header = read_header(path, deadline_s=deadline_s)
    info, times = described(path, header, deadline_s=deadline_s)
    streams = [s for s in header["streams"] if not is_made_anew(s)]
    wrong = [*_wrong_frames(times, expected), *_wrong_picture(info, streams[0], expected)]
    wrong += [*_wrong_streams(path, header, streams, expected), *_wrong_extras(header, expected)]
    delta_s = Fraction(0)
    if not wrong:
        dub = int(streams[expected.lineup.dub]["index"])
        moved_s = _first_packet_s(path, dub, deadline_s)
        delta_s = moved_s - _first_packet_s(expected.speech, expected.speech_track, deadline_s) - expected.dub_offset_s
        wrong += _wrong_sound(path, dub, delta_s, expected, deadline_s)
    if wrong:
        raise MediaToolError(
            "the finished file is not what was asked: " + "; ".join(wrong), command=command, status=0, stderr=""
        )
    return delta_s


def timecode_of(header: Mapping[str, Any]) -> str | None:
    """The first timecode anywhere in a file's tags; Matroska writes the tag's name in capitals."""
    places = [header["format"], *header["streams"]]
    tags = [{key.lower(): value for key, value in place.get("tags", {}).items()} for place in places]
    return next((found for each in tags if (found := each.get("timecode"))), None)


def _wrong_frames(times: FrameTimes | None, expected: Expected) -> Iterator[str]:
    if times is None:
        yield "there is no picture"
        return
    if len(times) != len(expected.times):
        yield f"{len(times)} frames instead of {len(expected.times)}"
        return
    ours = [p * times.base for p in times.pts.tolist()]
    asked = [p * expected.times.base for p in expected.times.pts.tolist()]
    moved = next((i for i, (a, b) in enumerate(zip(ours, asked, strict=True)) if a != b), None)
    if moved is not None:
        yield f"frame {moved} is shown at {float(ours[moved]):.6f} s instead of {float(asked[moved]):.6f} s"


def _wrong_picture(info: MediaInfo, raw: Mapping[str, Any], expected: Expected) -> Iterator[str]:
    found = picture(info)
    if found.rotation != expected.rotation:
        yield f"rotation {found.rotation} instead of {expected.rotation}"
    if found.sample_aspect != expected.sample_aspect:
        yield f"pixels of {found.sample_aspect} instead of {expected.sample_aspect}"
    for tag in _COLOUR_TAGS:
        if expected.made.get(tag) is not None and raw.get(tag) != expected.made[tag]:
            yield f"{tag} {raw.get(tag)} instead of {expected.made[tag]}"
    asked_hdr, found_hdr = expected.lineup.tracks[0].hdr, container_hdr(raw)
    if asked_hdr and found_hdr != asked_hdr:
        yield f"HDR description {found_hdr} instead of {asked_hdr}"
    end_s, asked_end_s = _end_s(raw), _end_s(expected.made)
    if end_s is not None and asked_end_s is not None and abs(end_s - asked_end_s) > _end_slack_s(expected.times):
        yield f"the picture ends at {float(end_s):.4f} s instead of {float(asked_end_s):.4f} s"


def _end_slack_s(times: FrameTimes) -> Fraction:
    """How far the end may lie off, when every frame begins at its time.

    Files keep the length of the last frame in coding order and not of the last one shown; where frames differ in
    length, the one says nothing of the other.
    """
    steps = np.diff(times.pts)
    spread = int(steps.max() - steps.min()) if len(steps) else 0
    return max(_SLACK_S, spread * times.base)


def _end_s(raw: Mapping[str, Any]) -> Fraction | None:
    """When a stream is over; Matroska says it in a tag, as `HH:MM:SS.fraction`."""
    if "duration_ts" in raw:
        return (int(raw.get("start_pts", 0)) + int(raw["duration_ts"])) * Fraction(str(raw["time_base"]))
    said = raw.get("tags", {}).get("DURATION")
    if said is None:
        return None
    hours, minutes, seconds = str(said).split(":")
    return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)


def _wrong_streams(
    path: Path, header: Mapping[str, Any], streams: Sequence[Mapping[str, Any]], expected: Expected
) -> Iterator[str]:
    found = tuple(f"{s.get('codec_type', 'unknown')} {s.get('codec_name', 'unknown')}" for s in streams)
    if found != expected.lineup.summary():
        yield f"streams {', '.join(found)} instead of {', '.join(expected.lineup.summary())}"
        return
    whole = full_languages(path, header)
    for number, (track, raw) in enumerate(zip(expected.lineup.tracks, streams, strict=True)):
        if track.is_last:
            continue
        flags = flags_of(raw, expected.container)
        if flags != track.flags:
            yield f"stream {number} is marked {_words(flags)} instead of {_words(track.flags)}"
        code = raw.get("tags", {}).get("language", "und")
        if track.language and iso639(code) != (track.code or "und"):
            yield f"stream {number} is in {code} instead of {track.code or 'und'}"
        tag = whole_tag(track.language) if track.language else None
        if whole.get(int(raw["index"])) != tag:
            yield f"stream {number} has the language tag {whole.get(int(raw['index']))} instead of {tag}"


def _words(flags: frozenset[str]) -> str:
    return "+".join(sorted(flags)) or "nothing"


def _wrong_extras(header: Mapping[str, Any], expected: Expected) -> Iterator[str]:
    found = chapters_until(header, None)
    if len(found) != len(expected.chapters):
        yield f"{len(found)} chapters instead of {len(expected.chapters)}"
    for ours, asked in zip(found, expected.chapters, strict=False):
        if abs(ours.start_s - asked.start_s) > _SLACK_S or ours.title != asked.title:
            at, due = float(ours.start_s), float(asked.start_s)
            yield f"chapter {ours.title!r} at {at:.3f} s instead of {asked.title!r} at {due:.3f} s"
    if expected.timecode is not None and timecode_of(header) != expected.timecode:
        yield f"timecode {timecode_of(header)} instead of {expected.timecode}"


def _wrong_sound(path: Path, dub: int, delta_s: Fraction, expected: Expected, deadline_s: float) -> Iterator[str]:
    if abs(delta_s) > _SLACK_S:
        asked_s = float(expected.dub_offset_s)
        yield f"the dub is moved by {asked_s + float(delta_s):.4f} s instead of {asked_s:.4f} s"
        return
    ours = _packets_hash(path, dub, deadline_s)
    if ours != _packets_hash(expected.speech, expected.speech_track, deadline_s):
        yield f"the dub's packets are not those of {expected.speech.name}"


def _first_packet_s(path: Path, stream: int, deadline_s: float) -> Fraction:
    """When the first packet of a sound track begins.

    Not the first *heard* sample: whether a codec's priming is dropped depends on the container, the place of what
    follows does not.
    """
    entries = ("-show_entries", "stream=time_base:packet=pts", "-read_intervals", "%+#1")
    command = [ffprobe(), "-v", "error", "-of", "json", "-select_streams", str(stream), *entries, *input_args(path)]
    found = json.loads(run_media(command, deadline_s=deadline_s).stdout)
    if not found.get("packets"):
        raise MediaToolError("there is no sound to check", command=command, status=0, stderr="")
    return int(found["packets"][0].get("pts", 0)) * Fraction(found["streams"][0]["time_base"])


def _packets_hash(path: Path, stream: int, deadline_s: float) -> bytes:
    """A hash over the payload of every packet; sound that was copied has the very same."""
    command = ffmpeg_command(*input_args(path), "-map", f"0:{stream}", "-c", "copy", "-f", "hash", "pipe:1")
    return run_media(command, deadline_s=deadline_s).stdout
