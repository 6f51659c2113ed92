"""Mel-frequency cepstra as pocketsphinx's acoustic model was trained on. The phone model's ear, and nobody else's.

The numbers are those of the model's own `feat.params`. Noise removal and mean normalisation are not done here: the
library's depend on all that was heard before, `phones.py` normalises over a window of its own.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct

from preprocessing.audio.base import stretch
from shards.schema import F64

RATE_HZ = 16_000
NUM_CEPSTRA = 13
_WINDOW = 410
_FFT = 512
_LOW_HZ, _HIGH_HZ, _NUM_FILTERS = 130.0, 6800.0, 25
_PRE_EMPHASIS = 0.97
_LIFTER = 22
_FLOOR = 1e-4
_BLOCK = 4096
"""Windows transformed at once."""


def cepstra(samples: F64, first: int, step: int, count: int) -> F64:
    """(count, 13) of windows centred on samples `first + i * step`, in units of int16; beyond the ends there is none.

    The first coefficient is below zero exactly where the window holds digital silence (or a stray bit of it).
    """
    out = np.empty((count, NUM_CEPSTRA))
    for done in range(0, count, _BLOCK):
        block = out[done : done + _BLOCK]
        start = first + done * step - _WINDOW // 2
        # One sample more in front: pre-emphasis looks back.
        sound = stretch(samples, start - 1, start + (len(block) - 1) * step + _WINDOW)
        windows = np.lib.stride_tricks.sliding_window_view(sound[1:] - _PRE_EMPHASIS * sound[:-1], _WINDOW)[::step]
        power = np.abs(np.fft.rfft(windows * _HAMMING, _FFT)) ** 2
        block[:] = dct(np.log(power @ _FILTERS.T + _FLOOR), norm="ortho")[:, :NUM_CEPSTRA] * _LIFTING
    return out


def _mel_filters() -> F64:
    """(25, 257) triangles of unit area, their corners rounded to the spectrum's lines as in the training."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (_LOW_HZ, _HIGH_HZ))
    line_hz = RATE_HZ / _FFT
    edges = 700 * (10 ** (np.linspace(low, high, _NUM_FILTERS + 2) / 2595) - 1)
    edges = np.floor(edges / line_hz + 0.5) * line_hz
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hz = np.arange(_FFT // 2 + 1) * line_hz
    triangles = np.minimum((hz - left) / (middle - left), (right - hz) / (right - middle))
    out: F64 = np.maximum(triangles, 0.0) * 2.0 / (right - left)
    return out


_HAMMING: F64 = np.hamming(_WINDOW)
_FILTERS: F64 = _mel_filters()
_LIFTING: F64 = 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(NUM_CEPSTRA) / _LIFTER)
