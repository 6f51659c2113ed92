"""How far sound and lips are apart: the measure that needs no weights.

When a mouth opens, the sound grows in every band. So the velocity of the opening is correlated with that of the energy
in each of several bands, at every offset; the mean over the bands is the `SyncCurve`, its peak is the offset. Velocity
and not level, for lips and loudness both drift with the phrase; bands and not the whole, for vowels would drown the
consonants. Pieces of one source are pooled by adding their curves: what is wrong with a source is wrong in all of it.

It is sharp on clips of several seconds, and says by its confidence when it is not. Others judge, and re-cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.signal.windows import hann

from preprocessing.audio.base import stretch
from preprocessing.faces.base import Track
from preprocessing.quality.mouth import mouth_opening
from shards.schema import F64, FrameTimes, Speech

STEP_S = Fraction(1, 50)
"""Between offsets that are tried."""
MAX_OFFSET_S = Fraction(3, 5)
"""How far picture and sound may be apart and still be found."""
_LIPS_STEP = 2
"""Steps between the moments at which the opening is taken: 25 Hz, whatever the picture's rate."""
_NUM_OFFSETS = 2 * int(MAX_OFFSET_S / STEP_S) + 1
_WINDOW_S = Fraction(2, 25)
_EDGES_HZ = (80, 300, 600, 1000, 1800, 3000, 5000, 7800)
_RANGE_DB = 45.0
"""Below the loud of a band by more is silence: how silent does not matter."""
_LOUD = 95
"""Percentile that is the loud of a band."""
_CLOSED = 0.03
"""Eye units: openings are compared by their logarithm, and below this the landmarks tremble."""
_PEAK_S = Fraction(1, 10)
"""Half the width of a peak: what is as high beyond it is a rival."""
_LEAST_MOMENTS = 10
_BLOCK = 1000
"""Windows transformed at once: an hour needs no more memory than a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """Where sound and lips fit best."""

    offset_s: float
    """Positive: the sound comes late."""
    corr: float
    """Mean correlation over the bands, at the offset."""
    confidence: float
    """By how much the peak is above its best rival, times the root of the seconds: chance gives the same at any length.
    From 0.2 on, 95 of 100 of GRID's three-second sentences are within a frame of 0 and all within two."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyncCurve:
    """The correlation at every offset, and over how long it was taken."""

    corr: F64
    """(offsets,) from `-MAX_OFFSET_S` to `MAX_OFFSET_S` in steps of `STEP_S`."""
    seconds: float

    def peak(self) -> Sync:
        """The best offset. Nothing to compare gives offset 0, correlation 0 and confidence 0.

        At the ends of the search there is no confidence either: the peak itself may lie beyond.
        """
        offsets = float(STEP_S) * (np.arange(_NUM_OFFSETS) - _NUM_OFFSETS // 2)
        # The offset nearest to 0 wins a tie.
        order = np.argsort(np.abs(offsets), kind="stable")
        best = int(order[np.argmax(self.corr[order])])
        rival = self.corr[np.abs(offsets - offsets[best]) > float(_PEAK_S) + 1e-9].max()
        # As many seconds as are searched are what it takes to tell one offset from another at all.
        useful_s = max(self.seconds - 2 * float(MAX_OFFSET_S), 0.0)
        is_inside = 0 < best < _NUM_OFFSETS - 1
        confidence = max(float(self.corr[best] - rival), 0.0) * useful_s**0.5 if is_inside else 0.0
        return Sync(offset_s=float(offsets[best]), corr=float(self.corr[best]), confidence=confidence)


def sync_curve(opening: F64, at_s: F64, speech: Speech) -> SyncCurve:
    """Of a mouth `opening` at the moments `at_s`; `speech`, on that clock, had better go on for `MAX_OFFSET_S`."""
    moments = np.arange(at_s[0], at_s[-1] + 1e-9, _LIPS_STEP * float(STEP_S)) if len(at_s) else np.empty(0)
    if len(moments) < _LEAST_MOMENTS:
        return SyncCurve(corr=np.zeros(_NUM_OFFSETS), seconds=0.0)
    lips = np.gradient(np.log(np.interp(moments, at_s, opening) + _CLOSED))
    steps = _LIPS_STEP * (len(moments) - 1) + 1
    first = Fraction(float(at_s[0])).limit_denominator(1_000_000) - MAX_OFFSET_S - _LIPS_STEP * STEP_S
    levels = band_levels(speech, first, steps + _NUM_OFFSETS - 1 + 2 * _LIPS_STEP)
    sound = levels[2 * _LIPS_STEP :] - levels[: -2 * _LIPS_STEP]
    corr = [_correlation(lips, sound[k : k + steps : _LIPS_STEP]) for k in range(_NUM_OFFSETS)]
    return SyncCurve(corr=np.array(corr), seconds=len(moments) * _LIPS_STEP * float(STEP_S))


def pooled(curves: Iterable[SyncCurve]) -> SyncCurve:
    """One curve of all, each counted by its length."""
    total, seconds = np.zeros(_NUM_OFFSETS), 0.0
    for curve in curves:
        total += curve.seconds * curve.corr
        seconds += curve.seconds
    return SyncCurve(corr=total / max(seconds, 1e-9), seconds=seconds)


def source_sync(tracks: Iterable[Track], times: FrameTimes, speech: Speech) -> Sync:
    """Of a whole source, its clips pooled. `speech` has its zero at the source's first frame."""
    at = times.seconds() - float(times.at(0).seconds)
    return pooled(
        sync_curve(mouth_opening(track.landmarks), at[track.start : track.stop], speech) for track in tracks
    ).peak()


def _correlation(lips: F64, sound: F64) -> float:
    """Pearson's, mean over the (N, bands); 0 where either does not move."""
    a, b = lips - lips.mean(), sound - sound.mean(axis=0)
    size = np.linalg.norm(a) * np.linalg.norm(b, axis=0)
    return float(np.where(size > 1e-6, a @ b / np.maximum(size, 1e-6), 0.0).mean())


def band_levels(speech: Speech, first_s: Fraction, count: int) -> F64:
    """(count, bands) dB around `first_s + k * STEP_S`."""
    rate, width = speech.rate_hz, round(_WINDOW_S * speech.rate_hz)
    edges = np.searchsorted(np.fft.rfftfreq(width, 1 / rate), _EDGES_HZ)
    window, hop = hann(width, sym=False), STEP_S * rate
    # Sound of a low rate lacks the upper bands.
    bands = [(a, b) for a, b in itertools.pairwise(edges) if a < b]
    power = np.empty((count, len(bands)))
    for block in range(0, count, _BLOCK):
        stop = min(block + _BLOCK, count)
        starts = [round((first_s - speech.origin_s) * rate + k * hop) - width // 2 for k in range(block, stop)]
        heard = stretch(speech.samples, starts[0], starts[-1] + width).astype(np.float64) / 32768.0
        rows = np.lib.stride_tricks.sliding_window_view(heard, width)[np.array(starts) - starts[0]]
        spectrum = np.abs(np.fft.rfft(rows * window, axis=1)) ** 2
        power[block:stop] = np.stack([spectrum[:, a:b].mean(axis=1) for a, b in bands], axis=1)
    level = 10 * np.log10(power + 1e-9)
    out: F64 = np.maximum(level, np.percentile(level, _LOUD, axis=0) - _RANGE_DB)
    return out
