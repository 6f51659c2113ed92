"""A clip as a short video that browsers play: crops with landmarks, the curves running along, its sound."""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from flows.explain.drawing import curves, drawn, frame_end_s
from preprocessing.media.runner import run_media
from preprocessing.media.tools import encoders, ffmpeg_command, file_url
from shards.errors import RequestError
from shards.schema import U8, ClipSample, Speech

FACE_PX = 512
CURVES_PX = 144
_CURSOR = (40, 40, 40)
_DEADLINE_S = 300.0
_SUFFIXES = (".mp4", ".mov")


def write_clip_video(path: Path, clip: ClipSample) -> None:
    """H.264 and AAC, whole or not at all."""
    if path.suffix not in _SUFFIXES:
        raise RequestError("a clip's video is an MP4", field="--video", value=str(path), choices=_SUFFIXES)
    if "libx264" not in encoders():
        raise RequestError("this ffmpeg has no libx264; install one that has", field="--video", value=str(path))
    with tempfile.TemporaryDirectory(prefix=".dubwright-video-", dir=path.absolute().parent) as scratch:
        sound, made = Path(scratch, "speech.wav"), Path(scratch, "clip.mp4")
        _write_wav(sound, clip.speech.between(Fraction(0), Fraction(frame_end_s(clip)).limit_denominator(1_000_000)))
        run_media(_command(clip, sound, made), deadline_s=_DEADLINE_S, stdin=_pictures(clip))
        made.replace(path)


def _command(clip: ClipSample, sound: Path, out: Path) -> list[str]:
    size = f"{FACE_PX}x{FACE_PX + CURVES_PX}"
    return ffmpeg_command(
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", size, "-framerate", str(frame_rate(clip))),
        *("-i", "pipe:0", "-i", file_url(sound)),
        *("-c:v", "libx264", "-crf", "20", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k"),
        *("-movflags", "+faststart", "-y", file_url(out)),
    )


def frame_rate(clip: ClipSample) -> Fraction:
    """Frames per second; clips are cut at one rate."""
    steps = np.diff(clip.times.pts)
    return 1 / (int(np.median(steps)) * clip.times.base) if len(steps) else Fraction(25)


def _pictures(clip: ClipSample) -> Iterator[bytes]:
    below, (left, right) = curves(clip, FACE_PX, CURVES_PX)
    end = frame_end_s(clip)
    for index, seconds in enumerate(clip.times.seconds()):
        x = round(left + (right - left) * float(seconds) / end)
        marked: U8 = below.copy()
        cv2.line(marked, (x, 0), (x, CURVES_PX - 1), _CURSOR, 1)
        yield np.concatenate([drawn(clip, index, FACE_PX), marked]).tobytes()


def _write_wav(path: Path, speech: Speech) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(speech.rate_hz)
        out.writeframes(speech.samples.astype("<i2").tobytes())
