"""Soft phone activity: for every column how much it sounds like each of 42 phones, by pocketsphinx's acoustic model.

80 columns a second, those of `mel`, so that both can be laid side by side. A column is a distribution: values in
[0, 1] that add up to 1. There is no language model and no path through the phones: a ridge regression from 0.2 s of a
feature to the mouth's opening, tried on people it was not fitted to, reaches on 40 real clips and 159 of GRID r = 0.27
and 0.66 from these columns, 0.20 and 0.50 from the decoder's best path, 0.15 and 0.59 from the mel. Visemes are sums of
these channels, which a linear layer finds by itself.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from preprocessing.audio.base import num_columns, stretch
from preprocessing.audio.cepstra import RATE_HZ, cepstra
from preprocessing.audio.phone_model import PHONES, PhoneModel, load_phone_model
from shards.errors import RequestError
from shards.schema import F32, F64, AudioFeatures, Speech

HOP = 200
"""Samples from column to column; the mel's."""
SILENCE = PHONES.index("SIL")
_NORMALISED_OVER = 240
"""Columns on each side over which the recording's own level and colour are averaged: 3 s."""
_LEAST_LEVEL = 25.0
"""Nothing softer than 20 dB below ordinary speech is taken for a recording's speech, or its hiss would become phones.
In units of the first cepstrum, 0.87 dB each; real clips average 48."""
_SHARPNESS = 0.2
"""Exponent on the likelihoods, which neighbouring frames share: 1 would be sure of almost every column."""
_TICK = 40
"""Samples; both the column's hop and the model's 10 ms between frames are multiples of it."""
_MODEL_FRAME = 160 // _TICK
_MARGIN = 3 * 160 + 320
"""Samples beyond a column's place that its slopes and its window look at, and some."""
_BLOCK = 2048
"""Columns done at once: an hour needs no more memory than a minute."""


class PhoneActivity:
    """The audio feature `phones`."""

    name = "phones"
    version = "1"
    dim = len(PHONES)
    hop_s = Fraction(HOP, RATE_HZ)

    def __init__(self) -> None:
        self._model: PhoneModel | None = None

    def setup(self) -> None:
        self._model = load_phone_model()

    def extract(self, speech: Speech, first: int = 0, stop: int | None = None) -> AudioFeatures:
        if self._model is None:
            raise RuntimeError("PhoneActivity.extract before setup()")
        if speech.rate_hz != RATE_HZ:
            raise RequestError(f"phones need sound of {RATE_HZ} Hz", field="audio_rate_hz", value=speech.rate_hz)
        silence = np.eye(1, self.dim, SILENCE, dtype=np.float32)[0]
        stop = num_columns(speech, HOP) if stop is None else stop
        values = np.empty((stop - first, self.dim), dtype=np.float32)
        for begin in range(first, stop, _BLOCK):
            block = values[begin - first :][:_BLOCK]
            block[:] = _activity(speech, begin, len(block), self._model)
            block[~_heard(speech, begin, len(block))] = silence
        return AudioFeatures(
            name=self.name,
            version=self.version,
            values=values,
            hop_s=self.hop_s,
            origin_s=speech.origin_s + first * self.hop_s,
            silence=silence,
        )

    def close(self) -> None:
        self._model = None


def _activity(speech: Speech, first: int, count: int, model: PhoneModel) -> F32:
    """(count, 42) columns from `first` on; what lies outside the recording is silence."""
    halo = _NORMALISED_OVER * HOP + _MARGIN
    start = first * HOP - halo
    sound = stretch(speech.samples, start, (first + count) * HOP + halo).astype(np.float64)
    likelihood = model.log_likelihood(_streams(sound, first * HOP - start, count))
    # A phone is its likeliest states together, softened before they are compared.
    soft = _SHARPNESS * (likelihood - likelihood.max(axis=(1, 2), keepdims=True))
    share = np.exp(soft).sum(axis=2)
    out: F32 = share / share.sum(axis=1, keepdims=True)
    return out


def _streams(sound: F64, first: int, count: int) -> tuple[F64, F64, F64]:
    """Per column the cepstra less their mean, their slope, and the slope's: the model's three streams."""
    reach = 3 * _MODEL_FRAME
    stride = HOP // _TICK
    fine = cepstra(sound, first - reach * _TICK, _TICK, (count - 1) * stride + 1 + 2 * reach)

    def frames_on(frames: int) -> F64:
        """The cepstra so many of the model's frames after each column."""
        begin = reach + frames * _MODEL_FRAME
        return fine[begin : begin + (count - 1) * stride + 1 : stride]

    slope_of_slope = (frames_on(3) - frames_on(-1)) - (frames_on(1) - frames_on(-3))
    return frames_on(0) - _mean(sound, first, count), frames_on(2) - frames_on(-2), slope_of_slope


def _mean(sound: F64, first: int, count: int) -> F64:
    """(count, 13): the average over the columns around each in which anything is heard."""
    each = cepstra(sound, first - _NORMALISED_OVER * HOP, HOP, count + 2 * _NORMALISED_OVER)
    heard = (each[:, :1] >= 0).astype(np.float64)
    width = 2 * _NORMALISED_OVER + 1
    inside = slice(_NORMALISED_OVER, _NORMALISED_OVER + count)
    total, number = (uniform_filter1d(x, width, axis=0, mode="constant")[inside] for x in (each * heard, heard))
    mean: F64 = total / np.maximum(number, 0.5 / width)
    mean[:, 0] = np.maximum(mean[:, 0], _LEAST_LEVEL)
    return mean


def _heard(speech: Speech, first: int, count: int) -> NDArray[np.bool_]:
    """(count,) bool: there is anything but digital silence in the column's own window."""
    reach = RATE_HZ // 80
    sound = stretch(speech.samples, first * HOP - reach, (first + count) * HOP + reach)
    windows = np.lib.stride_tricks.sliding_window_view(sound != 0, 2 * reach + 1)[::HOP]
    return np.asarray(windows[:count].any(axis=1))
