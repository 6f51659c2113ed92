"""When a voice is heard, however seldom: `audio/activity.py` a window at a time.

That measures against the quiet and the loud of all it is given, and a word in a minute of silence is neither. Here it
is given two seconds at a time, so that a word is loud among them and a quiet scene keeps its voices; and an hour needs
no more memory than a minute.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from preprocessing.audio.activity import HOP_S, level_dbfs, voiced
from shards.schema import Speech

_WINDOW_S, _STEP_S = 2.0, 1.0
"""Every moment lies in two windows: what begins at the end of one is whole in the other."""
_AROUND_S = 10.0
_BELOW_LOUD_DB = 40.0
"""What is quieter than the loud of ten seconds around by more is breath, room or echo: alone in a window it is its
loudest."""


def voice_of(speech: Speech) -> NDArray[np.bool_]:
    """(N,) bool, every `HOP_S` from the sound's first sample on."""
    window, step = (round(s * speech.rate_hz) for s in (_WINDOW_S, _STEP_S))
    hops = -(-len(speech.samples) // round(HOP_S * speech.rate_hz))
    active, level = np.zeros(hops, dtype=np.bool_), np.full(hops, -np.inf)
    for start in range(0, len(speech.samples), step):
        part = dataclasses.replace(speech, samples=speech.samples[start : start + window])
        first = round(start / speech.rate_hz / HOP_S)
        found = voiced(part)[: hops - first]
        active[first : first + len(found)] |= found
        loud = level_dbfs(part)[: hops - first]
        level[first : first + len(loud)] = np.maximum(level[first : first + len(loud)], loud)
    around = maximum_filter1d(level, 2 * round(_AROUND_S / HOP_S) + 1)
    out: NDArray[np.bool_] = active & (level > around - _BELOW_LOUD_DB)
    return out
