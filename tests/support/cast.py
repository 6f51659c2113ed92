"""Titles whose pictures are analysed by hand: people drawn as discs, who speak when a test says so.

No media but small sounds; the clips themselves are not there, only their entries.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from flows.casting import UNITS
from flows.rows import TitleRow
from flows.title import Title
from preprocessing.clip import analyse
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis, Heard
from preprocessing.pieces import pieces_of
from shards.commit import ObjectRef, Receipt, SampleEntry
from shards.fingerprint import file_sha256
from shards.schema import F32
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw, media_info

FPS = 25
VIDEO_SHA256 = "5" * 64
ANN = DrawnFace(x=90, y=110, skin=(210, 160, 130), eye_px=28)
BOB = DrawnFace(x=230, y=110, skin=(90, 110, 190), eye_px=24)
"""Smaller than Ann, and of another colour."""
ANN_ID, BOB_ID = "person-0", "person-1"


@functools.cache
def pictures(*shots: tuple[tuple[DrawnFace, ...], int]) -> Analysis:
    """An analysis of these shots, each (who is seen, for how many frames); nobody has listened to it."""
    frames = []
    for number, (people, count) in enumerate(shots):
        frames += [draw(people, background=40 + 120 * (number % 2), seed=number)] * count
    config = PreprocessConfig.model_validate({"crop": {"size_px": 32}, "faces": {"max_faces": 4}})
    return analyse(MemorySource(frames), DotBackend(), config)


def listened(analysis: Analysis, speaks: Mapping[int, Sequence[tuple[int, int]]], voice: F32 | None = None) -> Analysis:
    """With ears: track -> source frames [a, b) in which it surely speaks; a voice is heard all the time."""
    speaking = []
    for number, aligned in enumerate(analysis.tracks):
        values = np.zeros(len(analysis.times), dtype=np.float32)
        for start, stop in speaks.get(number, ()):
            values[start:stop] = 1.0
        speaking.append(values[aligned.track.start : aligned.track.stop])
    everywhere = np.ones(len(analysis.times), dtype=np.float32)
    return dataclasses.replace(
        analysis, heard=Heard(voice=everywhere if voice is None else voice, speaking=tuple(speaking))
    )


def title_of(folder: Path, analysis: Analysis, **columns: object) -> Title:
    """A row over this picture, with a sound as long as it."""
    seconds = len(analysis.times) / FPS
    audio = columns.pop("audio", None) or sound(folder / "speech.wav", seconds)
    video = folder / "film.mp4"
    video.write_bytes(b"film")
    row = TitleRow.model_validate(
        {"title_id": "one", "language": "es", "output": "one.es.mp4", "video": video, "audio": audio, **columns}
    )
    return Title(
        row=row,
        info=media_info(np.zeros((4, 4, 3), dtype=np.uint8), len(analysis.times)),
        video_sha256=VIDEO_SHA256,
        audio_sha256=file_sha256(row.audio),
    )


def receipt_of(analysis: Analysis) -> Receipt:
    """As the analysis of the picture is committed."""
    entries = []
    for place, piece in enumerate(pieces_of(analysis.tracks, UNITS)):
        count = piece.stop - piece.start
        entries.append(
            SampleEntry(
                key=piece.key(VIDEO_SHA256, analysis.times),
                offset=1000 * place,
                size_bytes=1000,
                identity=f"{VIDEO_SHA256[:12]}/{piece.aligned.identity}",
                language=None,
                duration_s=count / FPS,
                num_frames=count,
            )
        )
    objects = tuple(ObjectRef(sha256=c * 64, size_bytes=1, path=f"objects/{c}.{s}") for c, s in ("at", "ba"))
    return Receipt(unit_id="analysis", stage="analyse", objects=objects, samples=tuple(entries))


def sound(path: Path, seconds: float, lines: Sequence[tuple[float, float, int]] = ((0.0, 1e9, 0),)) -> Path:
    """A mono WAV of noise that rises and falls as syllables do: (from, to, seed) in seconds, else silence; one seed
    is one line."""
    rate = 16_000
    samples, syllables = np.zeros(round(seconds * rate)), 0.1 + np.sin(np.arange(round(seconds * rate)) / 1300) ** 2
    for start_s, end_s, seed in lines:
        a, b = round(start_s * rate), min(round(end_s * rate), len(samples))
        samples[a:b] = np.random.default_rng(seed).normal(0, 0.1, max(b - a, 0)) * syllables[a:b]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def frame_s(index: int) -> Fraction:
    return Fraction(index, FPS)
