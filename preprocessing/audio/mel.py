"""The mel spectrogram of Wav2Lip and IP-LAP: 80 columns a second, values in [-4, 4]. numpy alone.

Column i is centred on `origin_s + i / 80`. Before and after the recording there is digital silence, which is sound
like any other: it gives the lowest value in every channel.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal.windows import hann

from preprocessing.audio.base import num_columns, stretch
from shards.errors import RequestError
from shards.schema import F32, F64, AudioFeatures, Speech

RATE_HZ = 16_000
WINDOW = 800
"""Samples per column: n_fft and window alike."""
HOP = 200
NUM_MELS = 80
LOW_HZ, HIGH_HZ = 55.0, 7600.0
PRE_EMPHASIS = 0.97
REF_DB, MIN_DB = 20.0, -100.0
CLIP = 4.0
_BLOCK = 4096
"""Columns computed at once: an hour of speech needs no more memory than a minute."""


class MelSpectrogram:
    """The audio feature `mel`."""

    name = "mel"
    version = "1"
    dim = NUM_MELS
    hop_s = Fraction(HOP, RATE_HZ)

    def setup(self) -> None:
        """Nothing to load."""

    def extract(self, speech: Speech, first: int = 0, stop: int | None = None) -> AudioFeatures:
        if speech.rate_hz != RATE_HZ:
            raise RequestError(f"mel needs sound of {RATE_HZ} Hz", field="audio_rate_hz", value=speech.rate_hz)
        stop = num_columns(speech, HOP) if stop is None else stop
        values = np.empty((stop - first, NUM_MELS), dtype=np.float32)
        for begin in range(first, stop, _BLOCK):
            block = values[begin - first :][:_BLOCK]
            block[:] = _columns(_emphasised(speech, begin * HOP - WINDOW // 2, len(block)), len(block))
        return AudioFeatures(
            name=self.name,
            version=self.version,
            values=values,
            hop_s=self.hop_s,
            origin_s=speech.origin_s + first * self.hop_s,
            silence=_normalised(np.zeros((1, NUM_MELS)))[0],
        )

    def close(self) -> None:
        """Nothing to free."""


def _emphasised(speech: Speech, start: int, columns: int) -> F64:
    """The pre-emphasised sound under so many columns, the first of which begins at sample `start`."""
    stop = start + (columns - 1) * HOP + WINDOW
    x = stretch(speech.samples, start - 1, stop).astype(np.float64) / 32768.0
    emphasised: F64 = x[1:] - PRE_EMPHASIS * x[:-1]
    # Beyond the end is silence, not the echo that pre-emphasis makes of the last sample.
    emphasised[max(len(speech.samples) - start, 0) :] = 0.0
    return emphasised


def _columns(samples: F64, count: int) -> F32:
    """(count, 80) of windows that start at multiples of HOP."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP][:count]
    magnitude = np.abs(np.fft.rfft(windows * _HANN, axis=1))
    return _normalised(magnitude @ _FILTERS.T)


def _normalised(mel: F64) -> F32:
    """Magnitude -> dB -> [-4, 4], where -4 is `MIN_DB` and 4 is the reference level."""
    db = 20.0 * np.log10(np.maximum(mel, 1e-5)) - REF_DB
    out: F32 = np.clip(2 * CLIP * (db - MIN_DB) / -MIN_DB - CLIP, -CLIP, CLIP).astype(np.float32)
    return out


def _hz_to_mel(hz: F64) -> F64:
    """Slaney's scale: linear to 1 kHz, 27 steps per factor 6.4 above."""
    return np.where(hz < 1000.0, hz * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / np.log(6.4))


def _mel_to_hz(mel: F64) -> F64:
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))


def mel_filters(low_hz: float, high_hz: float, bands: int, window: int) -> F64:
    """(bands, window / 2 + 1) triangles over the spectrum; of unit area in Hz (Slaney's norm, librosa's default)."""
    ends = _hz_to_mel(np.array([low_hz, high_hz]))
    edges = _mel_to_hz(np.linspace(ends[0], ends[1], bands + 2))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hz = np.fft.rfftfreq(window, 1 / RATE_HZ)
    rising, falling = (hz - low) / (middle - low), (high - hz) / (high - middle)
    triangles: F64 = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (high - low)
    return triangles


_HANN: F64 = hann(WINDOW, sym=False)
_FILTERS: F64 = mel_filters(LOW_HZ, HIGH_HZ, NUM_MELS, WINDOW)
