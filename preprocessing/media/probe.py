"""Says what a file is before anyone decodes it.

Owns: turning ffprobe's answers into `MediaInfo` and `FrameTimes`, and naming what makes a file unusable. Frames are
counted and timed by packets, never by what a header says: headers of cut and repaired files lie.
"""

from __future__ import annotations

import functools
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.errors import MediaToolError, Unusable
from preprocessing.media.base import AudioStream, MediaInfo, VideoStream
from preprocessing.media.runner import MediaResult, run_media
from preprocessing.media.tools import ffprobe, input_args
from shards.errors import RequestError
from shards.schema import I64, FrameTimes

_INTERLACED = ("tt", "bb", "tb", "bt")
# What ffmpeg says, at error level and with exit status 0, when a file stops before its own table of contents does.
_CUT_SHORT = ("partial file", "ended prematurely", "truncat")
# A decoder's complaint about one damaged picture, which has the same word in it.
_OF_ONE_PICTURE = "SEI type"
# How the containers begin that cannot be read without what stands elsewhere in the file: at which byte, and with what.
_BEGINNINGS = {
    4: (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp"),
    0: (b"\x1aE\xdf\xa3", b"FLV", b"OggS", b"0&\xb2u"),
    8: (b"AVI ", b"WAVE"),
}
# Packets that are decoded and never shown have no mark in these, so only decoding counts their frames.
_COUNT_BY_DECODING = ("vp8",)
REMEMBERED = 8
"""Answers; the packets of two hours are a few megabytes."""


def probe(path: Path, *, deadline_s: float = 60, need_video: bool = True) -> MediaInfo:
    """What is in the file. `need_video=False` also takes files with sound alone (`video` is None then)."""
    return probe_with_times(path, deadline_s=deadline_s, need_video=need_video)[0]


def frame_times(path: Path, info: MediaInfo, *, deadline_s: float = 60) -> FrameTimes:
    """When each frame of the file's picture is shown, on its own clock."""
    video = picture(info)
    return FrameTimes(pts=_frame_pts(path, video.index, video.codec, deadline_s), base=video.time_base)


def probe_with_times(
    path: Path, *, deadline_s: float = 60, need_video: bool = True
) -> tuple[MediaInfo, FrameTimes | None]:
    """Both at the price of one pass; the times are None when there is no picture."""
    return described(path, read_header(path, deadline_s=deadline_s), deadline_s=deadline_s, need_video=need_video)


def described(
    path: Path, header: dict[str, Any], *, deadline_s: float = 60, need_video: bool = True
) -> tuple[MediaInfo, FrameTimes | None]:
    """What a header that was read already says, with the frames counted."""
    streams = header["streams"]
    main = _main_video(streams)
    if main is None and need_video:
        raise Unusable.because("no_video", "the file has no moving picture")
    video, times = _video(path, main, deadline_s) if main is not None else (None, None)
    audio = sounds(header)
    if video is None and not audio:
        raise Unusable.because("not_media", "the file has neither picture nor sound")
    return (
        MediaInfo(
            path=path,
            size_bytes=path.stat().st_size,
            container=str(header["format"].get("format_name", "unknown")),
            duration_s=_duration(header, times, audio),
            video=video,
            audio=audio,
            other_streams=tuple(_kind(s) for s in streams if s is not main and s.get("codec_type") != "audio"),
        ),
        times,
    )


def picture(info: MediaInfo) -> VideoStream:
    """The file's picture; refuses a file without one."""
    if info.video is None:
        raise Unusable.because("no_video", "the file has no moving picture")
    return info.video


def read_header(path: Path, *, deadline_s: float) -> dict[str, Any]:
    """ffprobe's own words about a file: `format`, `streams`, `chapters`."""
    _need_file(path)
    command = [ffprobe(), "-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_chapters"]
    result = _probed(path, [*command, *input_args(path)], deadline_s)
    header: dict[str, Any] = json.loads(result.stdout)
    if not header.get("streams"):
        raise Unusable.because("not_media", "no picture and no sound was found in the file")
    header.setdefault("format", {})
    return header


def sounds(header: dict[str, Any]) -> tuple[AudioStream, ...]:
    """The sound tracks a header names."""
    return tuple(_audio(s) for s in header["streams"] if s.get("codec_type") == "audio")


def bit_depth(pix_fmt: str) -> int:
    """Bits per sample that a pixel format's name tells (`yuv420p10le` -> 10)."""
    found = re.search(r"(?:p0|p2|p4|gray|p|gbrap|gbrp)(9|10|12|14|16)(?:le|be|msb.*)?$", pix_fmt)
    return int(found.group(1)) if found else 8


def _need_file(path: Path) -> None:
    """What was asked for must be there; what is in it is the footage's business."""
    if not path.exists():
        raise RequestError("there is no such file", where="media", value=str(path))
    if not path.is_file():
        raise RequestError("not a file; give the video itself", where="media", value=str(path))
    try:
        with path.open("rb") as stream:
            first = stream.read(1)
    except PermissionError as error:
        raise RequestError("this program may not read the file", where="media", value=str(path)) from error
    if not first:
        raise Unusable.because("empty_file", "the file has no bytes")


def _probed(path: Path, command: list[str], deadline_s: float) -> MediaResult:
    """Runs ffprobe; what it says against a file is a fact about the footage, a crash is not.

    Of a short title, starting ffprobe again and again would cost more than its mux: an answer is remembered for as long
    as the file is the same.
    """
    seen = path.stat()
    return _answer(path, tuple(command), deadline_s, (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns))


@functools.lru_cache(maxsize=REMEMBERED)
def _answer(path: Path, command: tuple[str, ...], deadline_s: float, identity: tuple[int, ...]) -> MediaResult:
    del identity
    try:
        result = run_media(command, deadline_s=deadline_s)
    except MediaToolError as error:
        if error.status is None or error.status < 0:
            raise
        raise Unusable.because(*_complaint(path, error.stderr)) from error
    said = [line for line in result.stderr.splitlines() if _OF_ONE_PICTURE not in line]
    if cut := next((line for line in said if any(words in line for words in _CUT_SHORT)), None):
        raise Unusable.because("truncated", f"the file ends before its contents do: {cut[:300]}")
    return result


def _complaint(path: Path, stderr: str) -> tuple[str, str]:
    """By how the file begins: ffprobe believes a name, and misses the table of contents of a text."""
    with path.open("rb") as stream:
        head = stream.read(16)
    if not any(head.startswith(begins, at) for at, begins in _BEGINNINGS.items()):
        return "not_media", f"no video or sound container: {_last_line(stderr)}"
    if "moov atom not found" in stderr:
        return "unreadable", f"the file's table of contents is missing; was it cut short? {_last_line(stderr)}"
    return "unreadable", f"the file begins as a container and cannot be read on: {_last_line(stderr)}"


def _last_line(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return lines[-1][:300] if lines else "(no message)"


def _main_video(streams: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The default picture, else the first; cover art is no moving picture."""
    found = [s for s in streams if s.get("codec_type") == "video" and not s["disposition"].get("attached_pic")]
    return max(found, key=lambda s: int(s["disposition"].get("default", 0)), default=None)


def _kind(stream: dict[str, Any]) -> str:
    return "attached_pic" if stream["disposition"].get("attached_pic") else str(stream.get("codec_type", "unknown"))


def _video(path: Path, raw: dict[str, Any], deadline_s: float) -> tuple[VideoStream, FrameTimes]:
    codec, pix_fmt = str(raw.get("codec_name", "unknown")), raw.get("pix_fmt")
    if not raw.get("width") or pix_fmt is None or codec == "unknown":
        raise Unusable.because("unreadable", f"the picture cannot be decoded: codec {codec}, format {pix_fmt}")
    times = FrameTimes(pts=_frame_pts(path, int(raw["index"]), codec, deadline_s), base=Fraction(str(raw["time_base"])))
    turn = _rotation(raw)
    size = (int(raw["width"]), int(raw["height"]))
    width, height = size if turn % 180 == 0 else size[::-1]
    is_vfr = is_variable(times)
    return VideoStream(
        index=int(raw["index"]),
        codec=codec,
        profile=raw.get("profile"),
        width=width,
        height=height,
        pix_fmt=pix_fmt,
        bit_depth=bit_depth(pix_fmt),
        rotation=turn,
        sample_aspect=_ratio(raw.get("sample_aspect_ratio", "1:1"), Fraction(1)),
        frame_rate=_frame_rate(raw, times, is_vfr),
        time_base=times.base,
        start_pts=int(times.pts[0]),
        num_frames=len(times),
        is_vfr=is_vfr,
        is_interlaced=raw.get("field_order") in _INTERLACED,
        field_order=raw.get("field_order"),
        bit_rate=int(raw["bit_rate"]) if "bit_rate" in raw else None,
        color_range=raw.get("color_range"),
        color_space=raw.get("color_space"),
        color_transfer=raw.get("color_transfer"),
        color_primaries=raw.get("color_primaries"),
    ), times


def _audio(raw: dict[str, Any]) -> AudioStream:
    base = Fraction(str(raw.get("time_base", "1/1000")))
    return AudioStream(
        index=int(raw["index"]),
        codec=str(raw.get("codec_name", "unknown")),
        rate_hz=int(raw.get("sample_rate", 0)),
        channels=int(raw.get("channels", 0)),
        layout=raw.get("channel_layout"),
        language=raw.get("tags", {}).get("language"),
        start_s=int(raw.get("start_pts", 0)) * base,
        duration_s=int(raw["duration_ts"]) * base if "duration_ts" in raw else None,
        is_default=bool(raw["disposition"].get("default")),
    )


def _frame_pts(path: Path, index: int, codec: str, deadline_s: float) -> I64:
    """(T,) strictly increasing. Packets are quick; where they do not tell, frames are decoded and asked."""
    pts = None if codec in _COUNT_BY_DECODING else _packet_pts(path, index, deadline_s)
    if pts is None:
        pts = _decoded_pts(path, index, deadline_s)
    if len(pts) == 0:
        raise Unusable.because("unreadable", "the file has a picture stream without a single frame")
    if not bool(np.all(np.diff(pts) > 0)):
        raise Unusable.because("bad_timestamps", "two frames claim the same moment; re-mux or re-encode the file")
    return pts


def _packet_pts(path: Path, index: int, deadline_s: float) -> I64 | None:
    """Sorted PTS of the packets that are shown; None when some have none, or share one (field pairs)."""
    rows = _rows(path, index, "packet=pts,flags", deadline_s)
    shown = [row[0] for row in rows if len(row) > 1 and "D" not in row[1]]
    if any(not _is_number(p) for p in shown):
        return None
    pts = np.sort(np.array([int(p) for p in shown], dtype=np.int64))
    return pts if bool(np.all(np.diff(pts) > 0)) else None


def _decoded_pts(path: Path, index: int, deadline_s: float) -> I64:
    rows = _rows(path, index, "frame=best_effort_timestamp", deadline_s)
    found = [row[0] for row in rows]
    # The frames a decoder gives up last, when no packet comes any more, may have lost their time: they carry on.
    known = len(found)
    while known and not _is_number(found[known - 1]):
        known -= 1
    if known < 2 < len(found) or not all(_is_number(p) for p in found[:known]):
        raise Unusable.because("bad_timestamps", "the file does not say when its frames are shown; re-mux it")
    pts = np.array([int(p) for p in found[:known]], dtype=np.int64)
    step = int(np.median(np.diff(pts))) if known > 1 else 1
    carried = pts[-1:].repeat(len(found) - known) + step * np.arange(1, len(found) - known + 1, dtype=np.int64)
    return np.concatenate([pts, carried])


def _rows(path: Path, index: int, entries: str, deadline_s: float) -> list[list[str]]:
    command = [ffprobe(), "-v", "error", "-of", "csv=p=0", "-select_streams", str(index), "-show_entries", entries]
    text = _probed(path, [*command, *input_args(path)], deadline_s).stdout.decode(errors="replace")
    return [line.split(",") for line in text.splitlines() if line.strip(",\n ")]


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _rotation(raw: dict[str, Any]) -> int:
    """Degrees clockwise; ffprobe's own count runs the other way."""
    for side in raw.get("side_data_list", []):
        if "rotation" in side:
            if _is_mirror(str(side.get("displaymatrix", ""))):
                raise Unusable.because("mirrored", "the player is asked to mirror the picture; re-encode the file")
            turn = -float(side["rotation"])
            if abs(turn / 90 - round(turn / 90)) > 0.01:
                raise Unusable.because("tilted", f"the player is asked to turn the picture by {turn:g} degrees")
            return round(turn / 90) % 4 * 90
    return 0


def _is_mirror(matrix_text: str) -> bool:
    rows = [line.split(":")[1].split() for line in matrix_text.strip().splitlines() if ":" in line]
    return len(rows) == 3 and int(rows[0][0]) * int(rows[1][1]) < int(rows[0][1]) * int(rows[1][0])


def _ratio(text: str, fallback: Fraction) -> Fraction:
    above, _, below = text.replace("/", ":").partition(":")
    if not (above.isdigit() and below.isdigit()) or int(above) == 0 or int(below) == 0:
        return fallback
    return Fraction(int(above), int(below))


def is_variable(times: FrameTimes) -> bool:
    """Whether frames leave an even grid by more than the clock's rounding (a tick and a half) and 5 % of a frame."""
    if len(times) < 3:
        return False
    even = np.linspace(times.pts[0], times.pts[-1], len(times))
    step = (times.pts[-1] - times.pts[0]) / (len(times) - 1)
    return bool(np.abs(times.pts - even).max() > max(1.5, 0.05 * step))


def _frame_rate(raw: dict[str, Any], times: FrameTimes, is_vfr: bool) -> Fraction:
    """The header's (30000/1001 reads better than a measured fraction) where the frames agree with it."""
    said = [_ratio(raw.get(key, ""), Fraction(0)) for key in ("r_frame_rate", "avg_frame_rate")]
    if len(times) < 2:
        return next((rate for rate in said if rate), Fraction(25))
    measured = (len(times) - 1) / ((int(times.pts[-1]) - int(times.pts[0])) * times.base)
    near = min(said, key=lambda rate: abs(rate - measured))
    if is_vfr or abs(near / measured - 1) > Fraction(1, 200):
        return measured.limit_denominator(1_000_000)
    return near


def _duration(header: dict[str, Any], times: FrameTimes | None, audio: tuple[AudioStream, ...]) -> Fraction:
    said = header["format"].get("duration")
    if said is not None:
        return Fraction(str(said))
    if times is not None and len(times) > 1:
        step = Fraction(int(times.pts[-1] - times.pts[0]), len(times) - 1)
        return (int(times.pts[-1] - times.pts[0]) + step) * times.base
    return max((a.duration_s for a in audio if a.duration_s is not None), default=Fraction(0))
