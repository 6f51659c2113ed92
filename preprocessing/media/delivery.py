"""The delivered speech, as a file whose sound can be carried without another change.

Owns whether the given track travels as it is, is cut in whole packets at the picture's end, or must be encoded once:
because the container does not carry its codec, because its beginning is cut off, or because silence is to fill it up.
It is never resampled and keeps its channels. What it is put together with is `mux.py`; how long the picture lasts is
`length.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from preprocessing.errors import Unusable
from preprocessing.media.base import AudioStream
from preprocessing.media.length import SPEECH_OVERHANG_S, DurationPolicy, picture_length_s
from preprocessing.media.probe import read_header, sounds
from preprocessing.media.runner import run_media
from preprocessing.media.speech import clock_lead_s
from preprocessing.media.tools import encoders, ffmpeg_command, ffprobe, file_url, input_args
from preprocessing.media.tracks import CONTAINERS, Container
from shards.errors import RequestError
from shards.schema import FrameTimes

_ENCODERS = {"mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis"}
"""Codecs whose encoder has another name."""
_ENCODED = ("aac", "mp3", "ac3", "eac3", "opus", "vorbis", "flac", "alac")
"""Codecs in which speech that must be encoded stays; PCM does as well, and everything else becomes AAC."""
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_BITS_PER_CHANNEL = 128_000
_MOST_BITS = {"mp3": 320_000, "ac3": 640_000}
# The same loudspeakers under two names; AAC has a number for the second alone.
_SIDES = {"5.0(side)": "5.0", "5.1(side)": "5.1"}
_WORTH_A_NOTE_S = Fraction(1, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Speech that is ready to be carried."""

    path: Path
    track: AudioStream
    lead_s: Fraction
    """What its packets count before the first sample that is heard."""
    offset_s: Fraction
    """How long after the first frame the file's zero is to be; its beginning is cut already where that is needed."""
    how: str
    """`copied`, or how it was encoded."""
    notes: tuple[str, ...] = ()


def speech_end_s(
    speech: Path, *, stream: int | None = None, offset_s: Fraction = Fraction(0), deadline_s: float = 600
) -> Fraction:
    """When the speech is over, counted from the first frame of the picture it is delivered for."""
    return _end_s(_given(speech, stream, offset_s, deadline_s), deadline_s)


def prepare_speech(
    speech: Path,
    spare: Path,
    container: Container,
    times: FrameTimes,
    *,
    stream: int | None = None,
    offset_s: Fraction = Fraction(0),
    policy: DurationPolicy = "keep_picture",
    deadline_s: float,
    stall_s: float,
) -> Delivery:
    """The file itself where it fits; else one is written in the folder `spare`, encoded at most once.

    `times` are the finished title's, `stream` an index in the speech file (its default track without one).
    """
    given = _given(speech, stream, offset_s, deadline_s)
    length_s = picture_length_s(times)
    over_s = _end_s(given, deadline_s) - length_s
    if offset_s >= length_s or over_s + length_s <= 0:
        raise RequestError(
            f"the speech would not be heard: the picture is {float(length_s):.3f} s long",
            field="audio_offset_ms",
            value=float(offset_s * 1000),
        )
    notes, is_carried = [], container.carries_audio(given.track.codec)
    is_long, is_filled = over_s > SPEECH_OVERHANG_S, policy == "pad_silence" and over_s < -SPEECH_OVERHANG_S
    if is_long:
        notes.append(f"the speech is {float(over_s):.3f} s longer than the picture; its end is cut")
    elif is_filled:
        notes.append(f"{float(-over_s):.3f} s of silence fill the speech up to the picture's end")
    elif over_s < -_WORTH_A_NOTE_S:
        notes.append(f"the speech ends {float(-over_s):.3f} s before the picture")
    if offset_s < 0:
        notes.append(f"the first {float(-offset_s):.3f} s of the speech are cut off")
    if is_carried and not is_filled and offset_s >= 0:
        path = _cut(given, spare, length_s - offset_s, deadline_s, stall_s) if is_long else speech
        return _as_made(given, path, offset_s, "copied", notes, deadline_s)
    codec, how = _encoding(given.track, container)
    why = "" if is_carried else f"{container.muxer} carries no {given.track.codec}: "
    notes.append(f"{why}the speech was encoded once, as {how}")
    end_s = length_s - max(offset_s, Fraction(0)) if is_long or is_filled else None
    path = spare / f"speech{'.mov' if CONTAINERS['.mov'].carries_audio(codec[1]) else '.mka'}"
    _encode(given, path, codec, end_s, deadline_s, stall_s)
    return _as_made(given, path, max(offset_s, Fraction(0)), how, notes, deadline_s)


def _given(speech: Path, stream: int | None, offset_s: Fraction, deadline_s: float) -> Delivery:
    header = read_header(speech, deadline_s=deadline_s)
    tracks = [track for track in sounds(header) if track.rate_hz > 0]
    if not tracks:
        raise Unusable.because("no_audio", f"{speech.name} has no sound track")
    if stream is not None and stream not in [track.index for track in tracks]:
        raise RequestError(
            "not a sound track of this file",
            where=speech.name,
            field="audio_stream",
            value=stream,
            choices=[str(track.index) for track in tracks],
        )
    found = [t for t in tracks if t.index == stream] if stream is not None else tracks
    track = max(found, key=lambda t: t.is_default)
    lead_s = clock_lead_s(header) or Fraction(0)
    return Delivery(path=speech, track=track, lead_s=lead_s, offset_s=offset_s, how="copied")


def _end_s(given: Delivery, deadline_s: float) -> Fraction:
    """Counted from the first frame."""
    track = given.track
    if track.duration_s is not None:
        end_s = track.start_s + track.duration_s
    else:  # Matroska says no track's length; its packets do
        end_s = _last_packet_end_s(given.path, track.index, deadline_s)
    return end_s - given.lead_s + given.offset_s


def _last_packet_end_s(path: Path, index: int, deadline_s: float) -> Fraction:
    entries = ("-show_entries", "stream=time_base:packet=pts,duration")
    command = [ffprobe(), "-v", "error", "-of", "json", "-select_streams", str(index), *entries, *input_args(path)]
    found = json.loads(run_media(command, deadline_s=deadline_s).stdout)
    ends = [int(p["pts"]) + int(p.get("duration", 0)) for p in found.get("packets", []) if "pts" in p]
    if not ends:
        raise Unusable.because("no_audio", f"sound track {index} of {path.name} has no samples")
    return max(ends) * Fraction(found["streams"][0]["time_base"])


def _cut(given: Delivery, spare: Path, length_s: Fraction, deadline_s: float, stall_s: float) -> Path:
    """The track's first packets, untouched, on the same clock."""
    out = spare / f"speech{'.mov' if CONTAINERS['.mov'].carries_audio(given.track.codec) else '.mka'}"
    has_clock = given.lead_s == 0
    command = ffmpeg_command(
        *(["-copyts"] if has_clock else []),
        *input_args(given.path),
        *("-map", f"0:{given.track.index}", "-to", f"{float(length_s):.6f}", "-c", "copy", "-map_metadata", "-1"),
        *("-avoid_negative_ts", "disabled", "-progress", "pipe:1", "-y", file_url(out)),
    )
    run_media(command, deadline_s=deadline_s, stall_s=stall_s)
    return out


def _encode(
    given: Delivery, out: Path, codec: list[str], end_s: Fraction | None, deadline_s: float, stall_s: float
) -> None:
    """The samples from the file's zero on (or from where its beginning is cut), filled or cut up to `end_s`."""
    cut_s = max(-given.offset_s, Fraction(0))
    # On the file's own clock; a format without one starts with the first sample heard.
    clock = ["-copyts"] if given.lead_s == 0 else []
    # `first_pts` puts silence before sound that starts late in its file, `async=1` where packets are missing.
    filters = [f"aresample={given.track.rate_hz}:async=1:first_pts=0", f"atrim=start={float(cut_s):.6f}"]
    filters.append("asetpts=PTS-STARTPTS")
    if end_s is not None:
        filters += [f"apad=whole_dur={float(end_s):.6f}", f"atrim=end={float(end_s):.6f}"]
    if (layout := given.track.layout) in _SIDES and codec[1] == "aac":
        channels = "|".join(str(n) for n in range(given.track.channels))
        filters.append(f"channelmap={channels}:{_SIDES[layout]}")
    command = ffmpeg_command(
        *clock,
        *input_args(given.path),
        *("-map", f"0:{given.track.index}", "-af", ",".join(filters), *codec, "-map_metadata", "-1"),
        *("-avoid_negative_ts", "disabled", "-progress", "pipe:1", "-y", file_url(out)),
    )
    run_media(command, deadline_s=deadline_s, stall_s=stall_s)


def _as_made(
    given: Delivery, path: Path, offset_s: Fraction, how: str, notes: list[str], deadline_s: float
) -> Delivery:
    made = given if path == given.path else _given(path, None, offset_s, deadline_s)
    return Delivery(path=path, track=made.track, lead_s=made.lead_s, offset_s=offset_s, how=how, notes=tuple(notes))


def _encoding(track: AudioStream, container: Container) -> tuple[list[str], str]:
    """The track's own codec where it has an encoder here and the container carries it, else AAC."""
    layout = track.layout or f"{track.channels} channels"
    name = _ENCODERS.get(track.codec, track.codec)
    is_own = track.codec.startswith("pcm_") or (track.codec in _ENCODED and name in encoders())
    if is_own and container.carries_audio(track.codec):
        is_lossless = track.codec.startswith(("pcm_", "flac", "alac"))
        how = f"{track.codec} {track.rate_hz} Hz {layout}"
        return ["-c:a", name, *([] if is_lossless else ["-b:a", str(_bits(track.codec, track))])], how
    rate = next((r for r in _AAC_RATES if r <= track.rate_hz), _AAC_RATES[-1])
    bits = ["-b:a", str(_bits("aac", track)), *(["-ar", str(rate)] if rate != track.rate_hz else [])]
    return ["-c:a", "aac", *bits], f"aac {rate} Hz {layout}"


def _bits(codec: str, track: AudioStream) -> int:
    """Bits a second; six a sample is the most AAC can hold."""
    per_channel = min(_BITS_PER_CHANNEL, 6 * track.rate_hz)
    return min(per_channel * track.channels, _MOST_BITS.get(codec, 1_000_000_000))
