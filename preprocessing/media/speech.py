"""Reads a sound track as the model hears it: mono, 16 kHz, on the owner's clock.

Owns the resampling and, to the sample, when the sound starts. The speech that is delivered is never this copy: `mux.py`
carries the given file.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.errors import MediaToolError, Unusable
from preprocessing.media.probe import read_header
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, ffprobe, has_soxr, input_args
from shards.errors import RequestError
from shards.schema import Speech

_CLOCKLESS = ("mp3", "aac", "ac3", "eac3", "flac", "wav", "w64", "aiff", "au", "amr")
"""Formats that are nothing but samples: the first one heard is at zero."""


def read_speech(
    path: Path,
    *,
    rate_hz: int = 16_000,
    stream: int | None = None,
    zero_s: Fraction = Fraction(0),
    end_s: Fraction | None = None,
    deadline_s: float = 600.0,
    stall_s: float = 60.0,
) -> Speech:
    """The sound of `stream` (an index in the file; the default track without it), with `zero_s` of its clock as zero.

    For the sound of a video, `zero_s` is the start of its picture: sound that starts earlier has a negative origin.
    What comes after `end_s`, on the same clock as `zero_s`, is not read: after a gap of a day there would be a day of
    silence in memory.
    """
    header = read_header(path, deadline_s=deadline_s)
    index = _track(path, header, stream)
    # A format without a clock starts with its first sample.
    has_clock = clock_lead_s(header) is None
    start_s = _first_sample_s(path, index, deadline_s) if has_clock else Fraction(0)
    command = ffmpeg_command(
        *input_args(path),
        *("-map", f"0:{index}", "-af", _until(end_s, header) + _resampler(), "-ac", "1", "-ar", str(rate_hz)),
        *("-c:a", "pcm_s16le", "-f", "s16le", "pipe:1"),
    )
    try:
        sound = run_media(command, deadline_s=deadline_s, stall_s=stall_s).stdout
    except MediaToolError as error:
        if error.status is None or error.status < 0:
            raise
        raise Unusable.because("unreadable", f"the sound cannot be decoded: {error.stderr.strip()[-300:]}") from error
    samples = np.frombuffer(sound, dtype="<i2").astype(np.int16)
    if len(samples) == 0 and end_s is None:
        raise Unusable.because("no_audio", "the sound track has no samples")
    return Speech(samples=samples, rate_hz=rate_hz, origin_s=start_s - zero_s)


def _until(end_s: Fraction | None, header: dict[str, Any]) -> str:
    """The filter that drops what comes later, before the gap to it is filled; filters count from the file's start."""
    if end_s is None:
        return ""
    start_s = Fraction(str(header["format"].get("start_time", 0)))
    return f"atrim=end={max(float(end_s - start_s), 0.001):.3f},"


def clock_lead_s(header: dict[str, Any]) -> Fraction | None:
    """For a format without a clock: what ffmpeg counts before the first sample heard. None where there is a clock.

    An MP3's priming (25 ms) is dropped but counted, so that by its packets the sound would come late.
    """
    if header["format"].get("format_name") not in _CLOCKLESS:
        return None
    return Fraction(str(header["format"].get("start_time", 0)))


def _track(path: Path, header: dict[str, Any], stream: int | None) -> int:
    """The index of the asked or the default sound track."""
    tracks = [s for s in header["streams"] if s.get("codec_type") == "audio"]
    tracks = [t for t in tracks if int(t.get("sample_rate", 0)) > 0]
    if not tracks:
        raise Unusable.because("no_audio", "the file has no sound track")
    if stream is None:
        return int(max(tracks, key=lambda t: int(t["disposition"].get("default", 0)))["index"])
    if stream not in [int(t["index"]) for t in tracks]:
        raise RequestError(
            "not a sound track of this file",
            where=path.name,
            field="stream",
            value=stream,
            choices=[str(t["index"]) for t in tracks],
        )
    return stream


def _first_sample_s(path: Path, index: int, deadline_s: float) -> Fraction:
    """When the first sample that is *heard* plays, on the file's own clock.

    A header's start time is not it: encoders prime with samples that the decoder drops, and each container says so
    in its own way. The first decoded frame has it right.
    """
    command = [ffprobe(), "-v", "error", "-of", "json", "-select_streams", str(index), "-read_intervals", "%+#8"]
    entries = "stream=time_base:frame=best_effort_timestamp"
    found: dict[str, Any] = json.loads(
        run_media([*command, "-show_entries", entries, *input_args(path)], deadline_s=deadline_s).stdout
    )
    stamps = [f["best_effort_timestamp"] for f in found.get("frames", []) if "best_effort_timestamp" in f]
    if not stamps:
        raise Unusable.because("unreadable", "no sample of the sound track can be decoded")
    return int(stamps[0]) * Fraction(found["streams"][0]["time_base"])


def _resampler() -> str:
    """`async=1` puts silence where packets are missing, so that what follows a gap stays where it was said.

    A filter of its own: soxr given both tasks at once loses the sound behind the gap.
    """
    return "aresample=async=1,aresample=" + ("resampler=soxr" if has_soxr() else "filter_size=64:cutoff=0.97")
