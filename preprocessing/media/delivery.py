"""The delivered speech, as a file whose sound can be carried without another change.

Owns whether the given file travels as it is, is cut at the picture's end, or must be encoded once. What it is put
together with is `mux.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from preprocessing.errors import Unusable
from preprocessing.media.base import AudioStream
from preprocessing.media.probe import read_header, sounds
from preprocessing.media.runner import run_media
from preprocessing.media.speech import clock_lead_s
from preprocessing.media.tools import ffmpeg_command, file_url, input_args
from preprocessing.media.tracks import Container
from shards.schema import FrameTimes

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_BITS_PER_CHANNEL = 128_000
_WORTH_A_NOTE_S = Fraction(1, 10)
_OVERHANG_S = Fraction(1, 20)
"""Sound is cut in packets of up to 46 ms: a delivery as long as the picture may end so much later, and is not cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Speech that is ready to be carried."""

    path: Path
    track: AudioStream
    lead_s: Fraction
    """What its packets count before the first sample that is heard."""
    how: str
    """`copied`, or how it was encoded."""
    notes: tuple[str, ...] = ()


def prepare_speech(
    speech: Path, spare: Path, container: Container, times: FrameTimes, *, deadline_s: float, stall_s: float
) -> Delivery:
    """The file itself where it fits; else `spare` is written, once."""
    given = _read(speech, deadline_s)
    over_s = (given.track.duration_s or Fraction(0)) - picture_length_s(times)
    is_long, notes = over_s > _OVERHANG_S, []
    if is_long:
        notes.append(f"the speech is {float(over_s):.3f} s longer than the picture; its end is cut")
    elif given.track.duration_s is not None and over_s < -_WORTH_A_NOTE_S:
        notes.append(f"the speech ends {float(-over_s):.3f} s before the picture")
    is_carried = container.carries_audio(given.track.codec)
    if is_carried and not is_long:
        return Delivery(path=speech, track=given.track, lead_s=given.lead_s, how="copied", notes=tuple(notes))
    codec, how = (["-c:a", "copy"], "copied") if is_carried else _aac(given.track)
    if not is_carried:
        notes.append(f"{container.muxer} carries no {given.track.codec}: the speech was encoded once, as {how}")
    cut = ["-t", f"{float(picture_length_s(times)):.6f}"] if is_long else []
    command = ffmpeg_command(
        *input_args(speech),
        *("-map", f"0:{given.track.index}", *cut, *codec, "-map_metadata", "-1"),
        *("-progress", "pipe:1", "-y", file_url(spare)),
    )
    run_media(command, deadline_s=deadline_s, stall_s=stall_s)
    made = _read(spare, deadline_s)
    return Delivery(path=spare, track=made.track, lead_s=made.lead_s, how=how, notes=tuple(notes))


def picture_length_s(times: FrameTimes) -> Fraction:
    """From the first frame's start to the last one's end; the last lasts as long as the middle one of all."""
    steps = np.diff(times.pts)
    last = int(np.median(steps)) if len(steps) else 1
    return (int(times.pts[-1] - times.pts[0]) + last) * times.base


def _read(path: Path, deadline_s: float) -> Delivery:
    header = read_header(path, deadline_s=deadline_s)
    tracks = sounds(header)
    if not tracks:
        raise Unusable.because("no_audio", f"{path.name} has no sound track")
    return Delivery(path=path, track=tracks[0], lead_s=clock_lead_s(header) or Fraction(0), how="copied")


def _aac(track: AudioStream) -> tuple[list[str], str]:
    """Its own rate and layout where AAC has them."""
    rate = next((r for r in _AAC_RATES if r <= track.rate_hz), _AAC_RATES[-1])
    # 6 bits a sample is the most AAC can hold.
    bits = min(_AAC_BITS_PER_CHANNEL, 6 * rate) * track.channels
    how = f"aac {rate} Hz {track.layout or f'{track.channels} channels'}"
    return ["-c:a", "aac", "-b:a", str(bits), "-ar", str(rate)], how
