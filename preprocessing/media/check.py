"""Reads a finished title back and says what differs from what was asked.

Owns the proof that nothing moved: frame count and times, streams, rotation, timecode, chapters, the dub's start and its
samples. A file that fails is never given its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from preprocessing.errors import MediaToolError
from preprocessing.media.base import MediaInfo
from preprocessing.media.probe import described, picture, read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, ffprobe, input_args
from shards.schema import FrameTimes

_START_SLACK_S = Fraction(2, 1000)
"""Matroska rounds to milliseconds; no ear and no lip notices two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the finished file must show."""

    times: FrameTimes
    streams: tuple[str, ...]
    """`kind codec`, in order."""
    rotation: int
    num_chapters: int
    timecode: str | None
    dub_offset_s: Fraction
    """What is added to the speech file's own times."""
    speech: Path
    """The file whose first sound track is the dub."""


def check_title(path: Path, expected: Expected, *, command: Sequence[str], deadline_s: float = 600) -> Fraction:
    """Returns how far the dub is from its place (under two milliseconds); raises naming every difference."""
    header = read_header(path, deadline_s=deadline_s)
    info, times = described(path, header, deadline_s=deadline_s)
    wrong = [*_wrong_picture(info, times, expected), *_wrong_streams(header, expected)]
    moved_s = _first_packet_s(path, deadline_s) - _first_packet_s(expected.speech, deadline_s)
    if abs(moved_s - expected.dub_offset_s) > _START_SLACK_S:
        wrong.append(f"the dub is moved by {float(moved_s):.4f} s instead of {float(expected.dub_offset_s):.4f} s")
    if not wrong and _packets_hash(path, "a:0", deadline_s) != _packets_hash(expected.speech, "a:0", deadline_s):
        wrong.append("the dub's packets are not the delivered ones")
    if wrong:
        raise MediaToolError(
            "the finished file is not what was asked: " + "; ".join(wrong), command=command, status=0, stderr=""
        )
    return moved_s - expected.dub_offset_s


def timecode_of(header: dict[str, Any]) -> str | None:
    """The first timecode anywhere in a file's tags."""
    places = [header["format"], *header["streams"]]
    return next((t for place in places if (t := place.get("tags", {}).get("timecode"))), None)


def _wrong_picture(info: MediaInfo, times: FrameTimes | None, expected: Expected) -> Iterator[str]:
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
    if picture(info).rotation != expected.rotation:
        yield f"rotation {picture(info).rotation} instead of {expected.rotation}"


def _wrong_streams(header: dict[str, Any], expected: Expected) -> Iterator[str]:
    # The timecode track is made anew by the container: it is proved by its value.
    found = tuple(
        f"{s.get('codec_type', 'unknown')} {s.get('codec_name', 'unknown')}"
        for s in header["streams"]
        if s.get("codec_tag_string") not in ("tmcd", "text")
    )
    if found != expected.streams:
        yield f"streams {', '.join(found)} instead of {', '.join(expected.streams)}"
    chapters = len(header.get("chapters", []))
    if chapters != expected.num_chapters:
        yield f"{chapters} chapters instead of {expected.num_chapters}"
    if expected.timecode is not None and timecode_of(header) != expected.timecode:
        yield f"timecode {timecode_of(header)} instead of {expected.timecode}"


def _first_packet_s(path: Path, deadline_s: float) -> Fraction:
    """When the first packet of the first sound track begins.

    Not the first *heard* sample: whether a codec's priming is dropped depends on the container, the place of what
    follows does not.
    """
    entries = ("-show_entries", "stream=time_base:packet=pts", "-read_intervals", "%+#1")
    command = [ffprobe(), "-v", "error", "-of", "json", "-select_streams", "a:0", *entries, *input_args(path)]
    found = json.loads(run_media(command, deadline_s=deadline_s).stdout)
    if not found.get("packets"):
        raise MediaToolError("there is no sound to check", command=command, status=0, stderr="")
    return int(found["packets"][0].get("pts", 0)) * Fraction(found["streams"][0]["time_base"])


def _packets_hash(path: Path, stream: str, deadline_s: float) -> bytes:
    """A hash over the payload of every packet; sound that was copied has the very same."""
    command = ffmpeg_command(*input_args(path), "-map", f"0:{stream}", "-c", "copy", "-f", "hash", "pipe:1")
    return run_media(command, deadline_s=deadline_s).stdout
