"""A recorded line of the sample's speech as the model hears it, with what is said when."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from shards.schema import Speech

_FOLDER = Path(__file__).parents[2] / "examples" / "speech"
RATE_HZ = 16_000


def spoken(stem: str = "hello.en") -> tuple[Speech, list[tuple[str, float, float]]]:
    """(speech, [(IPA symbol, start, end in seconds)]); the empty symbol is a pause."""
    samples, rate_hz = soundfile.read(_FOLDER / f"{stem}.flac")
    common = np.gcd(rate_hz, RATE_HZ)
    resampled = resample_poly(samples, RATE_HZ // common, rate_hz // common)
    sound = np.clip(np.round(resampled * 32768), -32768, 32767).astype(np.int16)
    said = json.loads((_FOLDER / f"{stem}.json").read_text(encoding="utf-8"))["phonemes"]
    return Speech(samples=sound, rate_hz=RATE_HZ, origin_s=Fraction(0)), [(s, a, b) for s, a, b in said]
