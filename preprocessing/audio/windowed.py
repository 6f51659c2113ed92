"""What features share that hear whole windows of sound: windows that overlap, and columns with a fixed place in them.

A column of a transformer depends on its whole window, so windows have fixed places in the recording: whichever columns
are asked for, each comes from the same window. A window's outer columns, which lack context, are dropped. Sound that
was cut out of a recording before has other columns, alike at best; which column belongs to which moment is exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import ClassVar

import numpy as np

from preprocessing.audio.base import num_columns, stretch
from shards.errors import RequestError
from shards.schema import F32, AudioFeatures, Speech

RATE_HZ = 16_000


class WindowedFeature(ABC):
    """Columns `hop` samples apart, `core` of them kept of a window and `context` heard besides on each side."""

    family: ClassVar[str]
    version = "1"

    def __init__(self) -> None:
        self.dim = 0
        self.hop = 320
        self.core, self.context = 500, 100
        self._silence: F32 = np.empty(0, dtype=np.float32)
        self._last: tuple[Speech, tuple[int, ...], F32] | None = None
        """The window encoded last, of which sound and where: the clips of a source mostly want it again."""

    @property
    def name(self) -> str:
        return self.family

    @property
    def hop_s(self) -> Fraction:
        return Fraction(self.hop, RATE_HZ)

    def extract(self, speech: Speech, first: int = 0, stop: int | None = None) -> AudioFeatures:
        if not len(self._silence):
            raise RuntimeError(f"{type(self).__name__}.extract before setup()")
        if speech.rate_hz != RATE_HZ:
            raise RequestError(
                f"{self.family} needs sound of {RATE_HZ} Hz", field="audio_rate_hz", value=speech.rate_hz
            )
        count = num_columns(speech, self.hop)
        stop = count if stop is None else stop
        values = np.empty((stop - first, self.dim), dtype=np.float32)
        for begin in range(first - first % self.core, stop, self.core):
            window = self._window(speech, begin, min(begin + self.core, count), count)
            start, end = max(first, begin), min(stop, begin + self.core)
            values[start - first : end - first] = window[start - begin : end - begin]
        return AudioFeatures(
            name=self.name,
            version=self.version,
            values=values,
            hop_s=self.hop_s,
            origin_s=speech.origin_s + first * self.hop_s,
            silence=self._silence,
        )

    def close(self) -> None:
        self._last = None
        self._silence = np.empty(0, dtype=np.float32)

    def _learn_silence(self) -> None:
        """To be called once the network stands: the middle column of a window without a sound."""
        quiet = np.zeros(self._samples(0, self.core + 2 * self.context)[1], dtype=np.float32)
        self._silence = self._encode(quiet)[self.context + self.core // 2]
        self.dim = len(self._silence)

    @abstractmethod
    def _encode(self, sound: F32) -> F32:
        """(C columns, dim) of one window; sound in [-1, 1]."""

    @abstractmethod
    def _samples(self, first: int, count: int) -> tuple[int, int]:
        """(start, length) of the sound that gives `count` columns from `first` on."""

    def _heard(self, first: int, last: int, count: int) -> tuple[int, int]:
        """The window's columns for [first, last) of `count`: all of them, also beyond the recording."""
        del last, count
        return first - self.context, first + self.core + self.context

    def _window(self, speech: Speech, first: int, last: int, count: int) -> F32:
        """Columns [first, last) of `count`, from the window encoded last if it is that one."""
        place = (first, last, self.context)
        if self._last is None or self._last[0].samples is not speech.samples or self._last[1] != place:
            self._last = speech, place, self._encoded(speech, first, last, count)
        return self._last[2]

    def _encoded(self, speech: Speech, first: int, last: int, count: int) -> F32:
        """Columns [first, last) of `count`, heard with their context; the silence column where nothing sounds."""
        begin, end = self._heard(first, last, count)
        start, length = self._samples(begin, end - begin)
        sound = stretch(speech.samples, start, start + length)
        if not sound.any():
            return np.broadcast_to(self._silence, (last - first, self.dim))
        encoded = self._encode(sound.astype(np.float32) / np.float32(32768.0))
        return encoded[first - begin : last - begin]
