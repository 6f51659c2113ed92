"""Pictures and sound into files: an H.264 video with AAC speech, and a bare AAC track.

Owns: the two ffmpeg command lines of the sample generator. RGB becomes YUV by an explicit bt709 matrix, and the file
says so: untagged, players guess, and skin changes colour. Running the program is the media room's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from shards.schema import U8

_TICKS_PER_S = 90000
_DEADLINE_S = 600.0

_TO_BT709 = "scale=in_range=pc:out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"
_TAGS = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
# No program version in the file, so that the same ffmpeg gives the same bytes for the same pictures.
_PLAIN = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1")


def write_video(
    path: Path,
    frames: Iterable[U8],
    *,
    size: tuple[int, int],
    fps: Fraction,
    times_s: Sequence[float] | None,
    sound: NDArray[np.int16] | None,
    rate_hz: int,
    language: str | None,
) -> None:
    """One mp4. With `times_s` each frame is shown at its own time (a variable frame rate), else at `fps`."""
    with tempfile.TemporaryDirectory() as folder:
        sound_in, sound_out = _sound_arguments(Path(folder), sound, rate_hz, language)
        part = path.with_name(f"{path.stem}.part.mp4")
        width, height = size
        command = ffmpeg_command(
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0"),
            *sound_in,
            *("-map", "0:v", "-vf", f"{_TO_BT709}{_retimed(times_s)}", "-c:v", "libx264"),
            *("-preset", "medium", "-crf", "20", "-pix_fmt", "yuv420p"),
            *(() if times_s is None else ("-fps_mode", "passthrough", "-enc_time_base", f"1/{_TICKS_PER_S}")),
            *(*_TAGS, *sound_out, *_PLAIN, "-movflags", "+faststart", "-y", file_url(part)),
        )
        run_media(command, deadline_s=_DEADLINE_S, stdin=(frame.tobytes() for frame in frames))
    part.replace(path)


def write_track(path: Path, sound: NDArray[np.int16], rate_hz: int, *, language: str) -> None:
    """One AAC track in an .m4a, ready to be copied into an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        sound_in, sound_out = _sound_arguments(Path(folder), sound, rate_hz, language)
        part = path.with_name(f"{path.stem}.part.m4a")
        # The input is number 0 here: there is no picture before it.
        arguments = [a.replace("1:a", "0:a") for a in sound_out]
        run_media(ffmpeg_command(*sound_in, *arguments, *_PLAIN, "-y", file_url(part)), deadline_s=_DEADLINE_S)
    part.replace(path)


def _sound_arguments(
    folder: Path, sound: NDArray[np.int16] | None, rate_hz: int, language: str | None
) -> tuple[list[str], list[str]]:
    if sound is None:
        return [], []
    wave = folder / "speech.wav"
    soundfile.write(wave, sound, rate_hz, subtype="PCM_16")
    tag = [] if language is None else ["-metadata:s:a:0", f"language={_three_letters(language)}"]
    return ["-i", file_url(wave)], ["-map", "1:a", "-c:a", "aac", "-b:a", "96k", "-ar", "48000", "-ac", "1", *tag]


def _three_letters(language: str) -> str:
    """mp4 keeps only three-letter codes; a language outside the sample's own is left undetermined."""
    known = {"en": "eng", "es": "spa", "fr": "fra", "de": "deu", "it": "ita", "pt": "por"}
    return known.get(language.split("-")[0].lower(), "und")


def _retimed(times_s: Sequence[float] | None) -> str:
    """A filter that gives frame N its own time: one term per frame, of which exactly one is not zero."""
    if times_s is None:
        return ""
    terms = "+".join(f"eq(N,{n})*{round(t * _TICKS_PER_S)}" for n, t in enumerate(times_s))
    return f",settb=1/{_TICKS_PER_S},setpts='{terms}'"
