"""Sample titles with known mouth motion, and whole sample catalogues: what `dubwright sample DIR` writes.

Owns: which portrait says what, the files of a title (`.mp4` and its `.truth.npz`) and `catalogue.csv`. A title is made
so that everything a program should find out about it is written beside it.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.sample.motion import FaceMotion, motion_for
from preprocessing.sample.portrait import Portrait
from preprocessing.sample.record import write_track, write_video
from preprocessing.sample.script import LEAD_IN_S, TAIL_S, ScriptedTitle, script, spoken
from preprocessing.sample.speech import RECORDED_DIR, SpokenLine
from preprocessing.sample.warp import render
from shards.errors import RequestError
from shards.schema import F32, F64, U8

logger = logging.getLogger(__name__)

COLUMNS = ("title_id", "video", "audio", "language", "output")

_SILENT_HZ = 22050


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTitle:
    """The files of one title."""

    video: Path
    truth: Path
    """`.npz`: landmarks (T, 131, 2) float32 source px; opening (T,) float32, 0 shut .. 1; times (T,) float64 s."""


def make_title(
    directory: Path,
    name: str,
    *,
    portrait: str = "hopper",
    line: SpokenLine | None,
    fps: Fraction = Fraction(25),
    size: tuple[int, int] = (512, 512),
    seed: int = 0,
    seconds: float | None = None,
    frame_times_s: Sequence[float] | None = None,
    sound: bool = True,
) -> SampleTitle:
    """A portrait says a line (None: says nothing, over a silent track).

    `seconds` cuts or lengthens the line with silence; by default it is the line's own length. `frame_times_s` gives
    every frame its own time instead of `fps`. `sound=False` leaves the sound track out.
    """
    if size[0] % 2 or size[1] % 2 or min(size) < 32:
        raise RequestError("a video needs an even width and height of 32 or more", field="size", value=size)
    if line is None and seconds is None:
        raise RequestError("a title in which nothing is said needs a length", field="seconds")
    duration_s = seconds if seconds is not None else (line.duration_s if line is not None else 0.0)
    times = _frame_times(duration_s, fps, frame_times_s)
    face, motion = Portrait.load(portrait), motion_for(line, duration_s, seed)
    directory.mkdir(parents=True, exist_ok=True)
    title = SampleTitle(video=directory / f"{name}.mp4", truth=directory / f"{name}.truth.npz")
    landmarks = []

    def frames() -> Iterator[U8]:
        for time_s in times.tolist():
            picture, points = render(face, motion, time_s, size=size)
            landmarks.append(points)
            yield picture

    write_video(
        title.video,
        frames(),
        size=size,
        fps=fps,
        times_s=frame_times_s,
        sound=_sound(line, duration_s) if sound else None,
        rate_hz=line.rate_hz if line is not None else _SILENT_HZ,
        language=line.language if line is not None else None,
    )
    _write_truth(title.truth, np.stack(landmarks), motion, times)
    logger.info("made %s: %d frames of %s", title.video, len(times), portrait)
    return title


def make_sample(directory: Path, *, titles: int = 1, seed: int = 0, recorded: Path = RECORDED_DIR) -> Path:
    """A catalogue of videos, new speech and `catalogue.csv`; the path of the latter.

    Title 1 is always Hopper, greeting in English, to be dubbed into Spanish and into another English line. Without
    espeak-ng the lines come from `recorded`.
    """
    if titles < 1:
        raise RequestError("a sample has at least one title", field="titles", value=titles)
    directory.mkdir(parents=True, exist_ok=True)
    cast = script(titles, seed, recorded)
    rows = [row for scripted in cast for row in _make_scripted(directory, scripted, recorded)]
    path = directory / "catalogue.csv"
    part = path.with_suffix(".csv.part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return part.replace(path)


def _make_scripted(directory: Path, scripted: ScriptedTitle, recorded: Path) -> list[tuple[str, ...]]:
    name, lines = scripted.name, [spoken(line, recorded) for line in (scripted.line, *scripted.dubs)]
    for said, line in zip((scripted.line, *scripted.dubs), lines, strict=True):
        if said.voice is None:
            line.save(directory / "speech" / said.name)
    # All tracks are as long as the picture, as a studio would deliver them.
    seconds = LEAD_IN_S + max(line.duration_s for line in lines) + TAIL_S
    own, *dubs = (line.with_silence(before_s=LEAD_IN_S, until_s=seconds) for line in lines)
    title = make_title(
        directory, name, portrait=scripted.portrait, line=own, fps=scripted.fps, seed=scripted.seed, seconds=seconds
    )
    rows: list[tuple[str, ...]] = []
    for line in dubs:
        audio = directory / f"{name}.{line.language}.m4a"
        write_track(audio, line.samples, line.rate_hz, language=line.language)
        rows.append((name, title.video.name, audio.name, line.language, f"{name}.{line.language}.mp4"))
    return rows


def _frame_times(duration_s: float, fps: Fraction, given: Sequence[float] | None) -> F64:
    """Frame k of a constant rate is shown at k / fps exactly; the last one begins before the end."""
    if given is not None:
        times = np.asarray(given, dtype=np.float64)
        if times.ndim != 1 or len(times) == 0 or times[0] < 0 or np.any(np.diff(times) <= 0):
            raise RequestError("frame times must rise from 0 or later", field="frame_times_s")
        return times
    count = max(1, round(duration_s * fps))
    return np.array([float(k / fps) for k in range(count)])


def _sound(line: SpokenLine | None, duration_s: float) -> NDArray[np.int16]:
    """The line's samples over exactly the title's time; what lies beyond is silence."""
    if line is None:
        return np.zeros(round(duration_s * _SILENT_HZ), dtype=np.int16)
    return line.with_silence(before_s=0.0, until_s=duration_s).samples


def _write_truth(path: Path, landmarks: F32, motion: FaceMotion, times: F64) -> None:
    opening = np.array([motion.opening(t) for t in times.tolist()], dtype=np.float32)
    part = path.with_name(f"{path.stem}.part.npz")
    np.savez(part, landmarks=landmarks, opening=opening, times=times)
    part.replace(path)
