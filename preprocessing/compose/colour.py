"""Brings the generated picture to the light of the frame it is put into.

Owns one gain and one offset a channel, measured where both pictures show the same thing: in the ring around the mask.
Only low frequencies are compared; grain and sharpness are not colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shards.schema import F32

_LEAST_PIXELS = 64
"""A smaller ring (a face at the frame's edge) proves nothing: colours are then left as they are."""
_GAIN_LIMITS = (0.8, 1.25)
_PRIOR_STEPS = 8.0
"""Grey levels of contrast in the ring from which on its gain is believed; a flat ring only moves the offset."""

_COARSE_ROWS = 96
"""Larger regions are compared at this height: it is only low frequencies we look for."""
_COARSE_SIGMA = 1.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColourMatch:
    """generated * gain + offset looks like the source."""

    gain: F32
    """(3,) float32."""
    offset: F32
    """(3,) float32, in grey levels of 255."""

    def apply(self, rgb: F32) -> F32:
        out: F32 = rgb * self.gain + self.offset
        return out


def match_colours(generated: F32, source: F32, ring: F32) -> ColourMatch:
    """Fits `source = gain * generated + offset` over the ring; all are (H, W, ...) over the same pixels."""
    chosen = ring > 0.5
    if int(chosen.sum()) < _LEAST_PIXELS:
        return ColourMatch(gain=np.ones(3, np.float32), offset=np.zeros(3, np.float32))
    a, b = _low(generated, chosen), _low(source, chosen)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    covariance = ((a - mean_a) * (b - mean_b)).mean(axis=0)
    variance = ((a - mean_a) ** 2).mean(axis=0)
    # Ridge towards a gain of 1: with little contrast the quotient is noise.
    prior = _PRIOR_STEPS**2
    gain = np.clip((covariance + prior) / (variance + prior), *_GAIN_LIMITS).astype(np.float32)
    return ColourMatch(gain=gain, offset=(mean_b - gain * mean_a).astype(np.float32))


def _low(rgb: F32, chosen: NDArray[np.bool_]) -> F32:
    """(N, 3) the ring, coarse and smoothed within itself only: neither mouth may leak in."""
    weight = chosen.astype(np.float32)
    coarse = min(1.0, _COARSE_ROWS / len(weight))
    size = tuple(max(1, round(n * coarse)) for n in weight.shape[::-1])
    sums = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (rgb * weight[..., None], weight))
    total, share = (cv2.GaussianBlur(part, (0, 0), _COARSE_SIGMA) for part in sums)
    there = share > 0.05
    low: F32 = np.asarray(total[there] / share[there][:, None], dtype=np.float32)
    return low
