"""Who is heard? For every frame of every track, how surely it is this face that speaks in the source's own sound.

Two things are looked at, in a window of about a second around each frame, and only where a voice is heard at all:

- does this mouth move as a speaking one does (a still mouth does not speak, whatever is heard);
- does it open when the sound grows (`quality/sync.py` at one offset): of two mouths that move, the one that goes with
  the sound speaks, the other chews, smiles or listens.

It measures. Who has the turn is decided in `choose.py`, what follows from that for a dub in `flows/casting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d

from preprocessing.audio.activity import HOP_S
from preprocessing.faces.base import Heard, Track
from preprocessing.quality.mouth import mouth_opening
from preprocessing.quality.sync import STEP_S, band_levels, source_sync
from preprocessing.speakers.voices import voice_of
from shards.schema import F32, F64, FrameTimes, Speech

MOMENT_S = 2 * STEP_S
"""Between the moments at which lips and sound are compared: 25 Hz, whatever the picture's rate."""
_SIGMA_S = 0.4
"""Of the Gaussian window: about a second is seen."""
_SYLLABLE_S = 0.4
"""A speaking mouth opens and closes within this."""
_STILL, _SPOKEN = 0.02, 0.05
"""Eye units between open and closed within a syllable: below the first a mouth rests, above the second it speaks."""
_CLOSED = 0.03
"""Eye units: openings are compared by their logarithm, and below this the landmarks tremble."""
_MOVES_ALONE, _IN_TIME = 0.65, 1.5
"""What movement is worth when lips and sound do not go together at all, and how much the correlation adds. A mouth that
moves without any relation to the sound is still more likely to speak than nobody; the border 0.5 is reached at a
correlation of -0.1. Real speakers lie between 0.05 and 0.5, other people's voices within 0.15 of 0."""
_LEAST_LIPS, _LEAST_DB = 1e-4, 4.0
"""Variances of lips and sound below which there is nothing to correlate."""
_LEAST_VOICE = 0.05
"""Share of the window with voice, below which the evidence fades: too little is heard to say whose it is."""
_SURE_SYNC = 0.3
"""Confidence from which sound that is late in all of the source is moved before it is compared."""


def listen(tracks: Sequence[Track], times: FrameTimes, speech: Speech) -> Heard:
    """Evidence for all tracks of a source; `speech` is its own sound, zero at its first frame."""
    at = times.seconds() - float(times.at(0).seconds)
    sync = source_sync(tracks, times, speech)
    late_s = Fraction(sync.offset_s).limit_denominator(1000) if sync.confidence >= _SURE_SYNC else Fraction(0)
    active = voice_of(speech).astype(np.float64)
    return Heard(
        voice=_voice_at(active, at, speech, late_s).astype(np.float32),
        speaking=tuple(_speaking(track, at[track.start : track.stop], active, speech, late_s) for track in tracks),
    )


def _voice_at(active: F64, at_s: F64, speech: Speech, late_s: Fraction) -> F64:
    """(N,) 1 where a voice is heard at these moments of the picture, 0 where none is."""
    if not len(active):
        return np.zeros(len(at_s))
    place = np.round((at_s + float(late_s) - float(speech.origin_s)) / HOP_S).astype(int)
    inside = (place >= 0) & (place < len(active))
    return np.where(inside, active[np.clip(place, 0, len(active) - 1)], 0.0)


def _speaking(track: Track, at_s: F64, active: F64, speech: Speech, late_s: Fraction) -> F32:
    """(T,) in [0, 1]; 0 where nobody is heard, NaN where the face is not seen."""
    moments = np.arange(at_s[0], at_s[-1] + float(MOMENT_S), float(MOMENT_S))
    opening = np.interp(moments, at_s, mouth_opening(track.landmarks))
    voice = _voice_at(active, moments, speech, late_s)
    heard = _windowed(voice)
    moves = _windowed(voice * _movement(opening)) / np.maximum(heard, _LEAST_VOICE)
    found = np.clip(moves * (_MOVES_ALONE + _IN_TIME * _in_time(opening, moments, speech, late_s)), 0.0, 1.0)
    out: F32 = np.interp(at_s, moments, found).astype(np.float32)
    out[~track.landmarks.seen()] = np.nan
    return out


def _movement(opening: F64) -> F64:
    """(M,) in [0, 1]: 1 where the mouth opens and closes as far as a speaking one does."""
    width = round(_SYLLABLE_S / float(MOMENT_S)) | 1
    stroke = maximum_filter1d(opening, width) - minimum_filter1d(opening, width)
    out: F64 = np.clip((stroke - _STILL) / (_SPOKEN - _STILL), 0.0, 1.0)
    return out


def _in_time(opening: F64, moments: F64, speech: Speech, late_s: Fraction) -> F64:
    """(M,) correlation of the lips' velocity with that of the sound, within the window around each moment."""
    lips = np.gradient(np.log(opening + _CLOSED)) if len(opening) > 1 else np.zeros(1)
    begin = Fraction(float(moments[0])).limit_denominator(1_000_000) + late_s - MOMENT_S
    levels = band_levels(speech, begin, 2 * len(moments) + 3)
    sound = (levels[4:] - levels[:-4])[: 2 * len(moments) : 2]
    weight = _windowed(np.ones(len(moments)))

    def mean(values: F64) -> F64:
        out: F64 = (_windowed(values).T / weight).T
        return out

    mean_lips, mean_sound = mean(lips), mean(sound)
    both = mean(lips[:, None] * sound) - mean_lips[:, None] * mean_sound
    size = np.maximum(mean(lips**2) - mean_lips**2, _LEAST_LIPS)[:, None] * np.maximum(
        mean(sound**2) - mean_sound**2, _LEAST_DB
    )
    out: F64 = (both / np.sqrt(size)).mean(axis=1)
    return out


def _windowed(values: F64) -> F64:
    out: F64 = gaussian_filter1d(values, _SIGMA_S / float(MOMENT_S), axis=0, mode="constant", truncate=3.0)
    return out
