"""What a face hears: the new speech around a stretch, as the model listens to it.

A render is named by this slice of sound and not by the file it was cut from: a changed line renders only its shots.
Planning and rendering cut it here, from sound that is decoded once per track and kept while there is room.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from flows.workers.fragments import need_planned
from preprocessing.audio.base import stretch
from preprocessing.media.speech import read_speech
from shards.errors import ObjectMissing
from shards.fingerprint import file_sha256, fingerprint, plain
from shards.schema import Speech
from shards.store import Store

RATE_HZ = 16_000
CONTEXT_S = Fraction(2)
"""Sound heard before and after a stretch."""
GRID_S = Fraction(1, 5)
"""Slices begin and end on multiples of this: whole ticks of 40 ms and whole columns of every audio feature, so that two
neighbours have the same columns where they overlap."""
RAMP_S = Fraction(1, 100)
"""Over which a turn's sound comes and goes: a hard cut is a click, and a click is a consonant."""
MOST_BYTES = 256 << 20
"""Of decoded sound kept at once: about two hours."""
FOLDER = "heard/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A track of a file on the title's clock, or one turn of it."""

    audio: str
    """Absolute path; no part of what names a slice."""
    sha256: str
    stream: int | None
    """Index in the file; None: its default sound track."""
    offset_ms: int = 0
    """The track begins so much after the title's first frame."""
    start_s: Fraction | None = None
    """The turn; before `start_s` and from `end_s` on there is silence. None: the whole track."""
    end_s: Fraction | None = None

    def as_payload(self) -> dict[str, Any]:
        values: dict[str, Any] = plain(self)
        return values

    @classmethod
    def of_payload(cls, values: Mapping[str, Any]) -> Sound:
        turn = {name: Fraction(values[name]) for name in ("start_s", "end_s") if values[name] is not None}
        return cls(**{**values, **turn})

    @property
    def content(self) -> tuple[object, ...]:
        """All of it that can be heard."""
        return self.sha256, self.stream, self.offset_ms, self.start_s, self.end_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A stretch of the title's time, with its context, and what is heard in it."""

    sounds: tuple[Sound, ...]
    """None at all is silence; several are heard together."""
    start_s: Fraction
    end_s: Fraction

    @classmethod
    def around(cls, sounds: Sequence[Sound], first_s: Fraction, last_s: Fraction) -> Slice:
        """For frames from `first_s` to `last_s`."""
        start_s = math.floor((first_s - CONTEXT_S) / GRID_S) * GRID_S
        end_s = math.ceil((last_s + CONTEXT_S) / GRID_S) * GRID_S
        near = tuple(s for s in sounds if _reaches(s, start_s, end_s))
        return cls(sounds=near, start_s=start_s, end_s=end_s)

    @property
    def content(self) -> tuple[object, ...]:
        return tuple(s.content for s in self.sounds), self.start_s, self.end_s


def _reaches(sound: Sound, start_s: Fraction, end_s: Fraction) -> bool:
    return (sound.start_s is None or sound.start_s < end_s) and (sound.end_s is None or sound.end_s > start_s)


class Speeches:
    """Decoded tracks, the last ones used first, and the names of slices; `store` remembers names between runs."""

    def __init__(self, store: Store | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self._store, self._most_bytes = store, most_bytes
        self._tracks: OrderedDict[tuple[str, int | None], Speech] = OrderedDict()
        self._names: dict[str, list[str]] = {}
        self._sha256: dict[Path, str] = {}

    def sha256(self, path: Path) -> str:
        """Of a file's bytes, read once."""
        if path not in self._sha256:
            self._sha256[path] = file_sha256(path)
        return self._sha256[path]

    def names(self, slices: Sequence[Slice]) -> list[str]:
        """A name per slice, made of its samples; nothing is decoded when the store knows this list already."""
        key = fingerprint([s.content for s in slices])
        if key not in self._names:
            self._names[key] = self._remembered(key) or self._named(key, slices)
        return self._names[key]

    def heard(self, wanted: Slice) -> Speech:
        """Its samples, at times `start_s + n / RATE_HZ` exactly."""
        total = np.zeros(int((wanted.end_s - wanted.start_s) * RATE_HZ), dtype=np.int32)
        for sound in wanted.sounds:
            total += self._part(sound, wanted.start_s, len(total))
        samples = np.clip(total, -32768, 32767).astype(np.int16)
        return Speech(samples=samples, rate_hz=RATE_HZ, origin_s=wanted.start_s)

    def _part(self, sound: Sound, start_s: Fraction, count: int) -> np.ndarray:
        track = self._track(sound)
        origin_s = track.origin_s + Fraction(sound.offset_ms, 1000)
        first = round((start_s - origin_s) * RATE_HZ)
        samples = stretch(track.samples, first, first + count)
        if sound.start_s is None and sound.end_s is None:
            return samples
        at = np.arange(count) / RATE_HZ + float(start_s)
        since = np.inf if sound.start_s is None else at - float(sound.start_s)
        until = np.inf if sound.end_s is None else float(sound.end_s) - at
        part: np.ndarray = np.rint(samples * np.clip(np.minimum(since, until) / float(RAMP_S), 0.0, 1.0))
        return part.astype(np.int16)

    def _track(self, sound: Sound) -> Speech:
        key = (sound.sha256, sound.stream)
        if key not in self._tracks:
            need_planned(Path(sound.audio), sound.sha256)
            self._tracks[key] = read_speech(Path(sound.audio), rate_hz=RATE_HZ, stream=sound.stream)
        self._tracks.move_to_end(key)
        while len(self._tracks) > 1 and sum(t.samples.nbytes for t in self._tracks.values()) > self._most_bytes:
            self._tracks.popitem(last=False)
        return self._tracks[key]

    def _named(self, key: str, slices: Sequence[Slice]) -> list[str]:
        names = [hashlib.sha256(self.heard(s).samples.tobytes()).hexdigest() for s in slices]
        if self._store is not None and slices:
            self._store.create(f"{FOLDER}{key}.json", json.dumps(names).encode())
        return names

    def _remembered(self, key: str) -> list[str] | None:
        try:
            return json.loads(self._store.read(f"{FOLDER}{key}.json")) if self._store is not None else None
        except ObjectMissing:
            return None
