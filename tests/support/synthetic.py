"""Talking faces for everybody's tests: small titles with known mouth motion, made once per process.

Never needs espeak-ng: the speech is what lies in `examples/speech/`.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

from preprocessing.sample.catalogue import SampleTitle, make_title
from preprocessing.sample.speech import RECORDED_DIR, SpokenLine

_MADE = Path(tempfile.mkdtemp(prefix="dubwright-synthetic-"))
atexit.register(shutil.rmtree, _MADE, ignore_errors=True)


@functools.cache
def spoken_line(name: str = "hello.en") -> SpokenLine:
    """A recorded line: `hello.en`, `hello.es` or `morning.en`. It starts to speak within 0.1 s."""
    return SpokenLine.load(RECORDED_DIR / name)


def talking_title(
    directory: Path,
    *,
    seconds: float = 2.0,
    fps: Fraction | int = 25,
    portrait: str = "hopper",
    seed: int = 0,
    silent: bool = False,
    sound: bool = True,
    size: tuple[int, int] = (512, 512),
    line: str = "hello.en",
    frame_times_s: tuple[float, ...] | None = None,
    name: str = "title",
) -> SampleTitle:
    """`directory/name.mp4` and its truth. `silent`: lips shut over digital silence. `sound=False`: no sound track.

    Equal requests are made once and copied after that.
    """
    made = _made(seconds, Fraction(fps), portrait, seed, silent, sound, size, line, frame_times_s)
    directory.mkdir(parents=True, exist_ok=True)
    video = shutil.copyfile(made.video, directory / f"{name}.mp4")
    truth = shutil.copyfile(made.truth, directory / f"{name}.truth.npz")
    return SampleTitle(video=video, truth=truth)


@functools.cache
def _made(
    seconds: float,
    fps: Fraction,
    portrait: str,
    seed: int,
    silent: bool,
    sound: bool,
    size: tuple[int, int],
    line: str,
    frame_times_s: tuple[float, ...] | None,
) -> SampleTitle:
    return make_title(
        Path(tempfile.mkdtemp(dir=_MADE)),
        "title",
        portrait=portrait,
        line=None if silent else spoken_line(line),
        fps=fps,
        size=size,
        seed=seed,
        seconds=seconds,
        frame_times_s=frame_times_s,
        sound=sound,
    )
