"""Is somebody speaking? By energy, against the recording's own quiet and loud: it measures, others judge.

It tells voice from pauses in a clean or evenly noisy recording. It cannot tell voice from music; loud music counts as
voice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, uniform_filter1d

from shards.schema import F64, Speech

HOP_S = 0.01
_WINDOW_S = 0.03
_QUIET_DBFS = -55.0
"""Nothing below this is voice, whatever surrounds it."""
_BELOW_PEAK_DB = 30.0
"""Speech's own loud and soft sounds lie about so far apart."""
_ABOVE_NOISE = 0.35
"""How far between the noise floor and the peak voice begins, where noise fills the pauses."""
_SYLLABLE_S = 0.1
_LEAST_RANGE_DB = 5.0
"""A recording whose syllables rise and fall by less is hum or a room, not speech. Over so long a steady room moves by
4 dB and speech without a pause by 7; from window to window a room moves as much as the speech."""
_HELD_RANGE_DB, _HELD_PERIODIC = 1.0, 0.5
"""Unless it has a pitch and moves at all: a vowel that is held, or speech pressed flat by a limiter. Two such, 1.9 and
4.1 dB, are periodic by 0.77 and 0.65, rooms by 0.2; a machine's hum is periodic by 0.9 and moves by 0.2 dB."""
_PITCH_HZ = (75, 400)
_BRIDGE_S = 0.15
"""Shorter pauses are the closures of p, t, k: still speech."""


def level_dbfs(speech: Speech) -> F64:
    """(N,) loudness around every `HOP_S`, in dB of full scale; value i is at `origin_s + i * HOP_S`."""
    window, hop = max(1, round(_WINDOW_S * speech.rate_hz)), HOP_S * speech.rate_hz
    if not len(speech.samples):
        return np.empty(0)
    power = uniform_filter1d(speech.as_float().astype(np.float64) ** 2, window, mode="constant")
    at = np.round(np.arange(0, len(power), hop)).astype(np.int64)
    out: F64 = 10.0 * np.log10(np.maximum(power[at[at < len(power)]], 1e-12))
    return out


def voiced(speech: Speech) -> NDArray[np.bool_]:
    """(N,) bool on the clock of `level_dbfs`."""
    level = level_dbfs(speech)
    if not len(level):
        return np.zeros(0, dtype=np.bool_)
    floor, peak = np.percentile(level, [5, 95])
    # Digital silence around a recording is no noise floor of it.
    floor = max(floor, peak - 2 * _BELOW_PEAK_DB)
    if peak < _QUIET_DBFS or not _moves(level, speech):
        return np.zeros(len(level), dtype=np.bool_)
    threshold = max(_QUIET_DBFS, peak - _BELOW_PEAK_DB, floor + _ABOVE_NOISE * (peak - floor))
    loud = level > threshold
    bridge = round(_BRIDGE_S / HOP_S)
    padded = np.pad(loud, bridge)
    closed: NDArray[np.bool_] = binary_closing(padded, np.ones(bridge, dtype=np.bool_))[bridge:-bridge]
    return closed


def _range_db(level: F64) -> float:
    """Between the loud and the soft syllables."""
    low, high = np.percentile(uniform_filter1d(level, round(_SYLLABLE_S / HOP_S)), [5, 95])
    return float(high - low)


def _moves(level: F64, speech: Speech) -> bool:
    """As a voice does, a held one included."""
    found = _range_db(level)
    return found >= _LEAST_RANGE_DB or (found >= _HELD_RANGE_DB and _periodicity(speech) >= _HELD_PERIODIC)


def _periodicity(speech: Speech) -> float:
    """How alike the sound is to itself a period of a voice's pitch later: correlation, median over the recording."""
    shortest, longest = (round(speech.rate_hz / hz) for hz in reversed(_PITCH_HZ))
    width = 3 * longest
    if len(speech.samples) < width + longest:
        return 0.0
    # Each window, and behind it as much as the longest period.
    heard = np.lib.stride_tricks.sliding_window_view(speech.as_float(), width + longest)[::width].astype(np.float64)
    spectrum = np.fft.rfft(heard, 2 * (width + longest))
    product = np.fft.irfft(np.conj(np.fft.rfft(heard[:, :width], 2 * (width + longest))) * spectrum)[:, : longest + 1]
    energy = np.cumsum(np.pad(heard**2, ((0, 0), (1, 0))), axis=1)
    later = energy[:, width : width + longest + 1] - energy[:, : longest + 1]
    alike = product / np.sqrt(np.maximum(later[:, :1] * later, 1e-12))
    return float(np.median(alike[:, shortest:].max(axis=1)))


def silence_share(speech: Speech) -> float:
    """Share of the recording without voice, in [0, 1]; 1 for an empty one."""
    active = voiced(speech)
    return 1.0 - float(active.mean()) if len(active) else 1.0
