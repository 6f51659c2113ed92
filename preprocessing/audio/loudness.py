"""How loud a recording is to a listener: integrated loudness and true peak by ITU-R BS.1770-4. Others judge.

Of one channel, at the rate it is given in. The model's 16 kHz copy lacks what is above 8 kHz, so for a delivered track
measure the track itself.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import resample_poly, sosfilt

from shards.schema import F64, Speech

_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_LUFS = -0.691
"""So that a full-scale tone of 1 kHz in one channel is -3.01 LUFS."""
_STEPS_PER_S, _STEPS_PER_BLOCK = 10, 4
"""Blocks are 0.4 s long and begin every 0.1 s."""
_OVERSAMPLE = 4
_CHUNK_S = 20
_EDGE = 64
"""Samples a peak between samples may be formed by, on each side."""


def integrated_lufs(speech: Speech) -> float | None:
    """Gated loudness in LUFS; None for what is shorter than 0.4 s or nowhere louder than -70 LUFS."""
    steps = _step_powers(speech)
    if len(steps) < _STEPS_PER_BLOCK:
        return None
    blocks = np.lib.stride_tricks.sliding_window_view(steps, _STEPS_PER_BLOCK).mean(axis=1)
    heard = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
    if not len(heard):
        return None
    # The second gate leaves out the pauses: what is 10 LU softer than all that passed the first.
    loud = heard[heard > heard.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
    return _OFFSET_LUFS + 10 * math.log10(loud.mean())


def true_peak_dbtp(speech: Speech) -> float | None:
    """The highest level between samples too, in dB of full scale; None for digital silence."""
    peak, chunk = 0.0, _CHUNK_S * speech.rate_hz
    for first in range(0, len(speech.samples), chunk):
        part = speech.samples[max(first - _EDGE, 0) : first + chunk + _EDGE].astype(np.float64) / 32768.0
        between = resample_poly(np.pad(part, _EDGE), _OVERSAMPLE, 1)
        peak = max(peak, float(np.abs(between).max()))
    return 20 * math.log10(peak) if peak > 0 else None


def _step_powers(speech: Speech) -> F64:
    """(N,) mean square of the K-weighted sound in each whole tenth of a second."""
    step = round(speech.rate_hz / _STEPS_PER_S)
    weighting = _k_weighting(speech.rate_hz)
    state = np.zeros((len(weighting), 2))
    whole = len(speech.samples) // step * step
    powers = [np.empty(0)]
    for first in range(0, whole, _CHUNK_S * _STEPS_PER_S * step):
        part = speech.samples[first : min(first + _CHUNK_S * _STEPS_PER_S * step, whole)]
        weighted, state = sosfilt(weighting, part.astype(np.float64) / 32768.0, zi=state)
        powers.append((weighted**2).reshape(-1, step).mean(axis=1))
    return np.concatenate(powers)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LUFS) / 10))


def _k_weighting(rate_hz: int) -> F64:
    """(2, 6) second-order sections: the head's shelf, then the low cut.

    The standard tabulates them for 48 kHz; these are the analogue filters behind the table, bilinear at any rate.
    """
    shelf_hz, shelf_db, shelf_q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    cut_hz, cut_q = 38.13547087602444, 0.5003270373238773
    high = 10 ** (shelf_db / 20)
    middle = high**0.4996667741545416
    k = np.tan(np.pi * shelf_hz / rate_hz)
    shelf = [high + middle * k / shelf_q + k * k, 2 * (k * k - high), high - middle * k / shelf_q + k * k]
    poles = [1 + k / shelf_q + k * k, 2 * (k * k - 1), 1 - k / shelf_q + k * k]
    c = np.tan(np.pi * cut_hz / rate_hz)
    cut_poles = [1 + c / cut_q + c * c, 2 * (c * c - 1), 1 - c / cut_q + c * c]
    # The table's low cut has the zeros (1, -2, 1) as they are, not scaled by its own gain.
    cut = [cut_poles[0], -2 * cut_poles[0], cut_poles[0]]
    out: F64 = np.array([[*shelf, *poles], [*cut, *cut_poles]]) / np.array([[poles[0]], [cut_poles[0]]])
    return out
