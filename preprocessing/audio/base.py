"""The audio-feature door: speech in, columns on the same clock out. One file per feature; a registry line adds one.

A feature is asked for by name: `mel`, `phones`, or an encoder with weights, whose full name is
`family[-digest][@place]`:

- `hubert@/models/hubert-base`  the folder, or a name on the hub; without `@place` the environment says where
  (`DUBWRIGHT_HUBERT`, `DUBWRIGHT_WAVLM`, `DUBWRIGHT_WHISPER`);
- `hubert-3f9a2c1b`             only weights with this digest will do. `AudioFeatures.name` is of this form, so data and
  checkpoints name the weights and never a machine's path, and two sets of weights are two features.

In a config whose data are to be kept, write the pinned form: then the config's hash moves with the weights and not with
their place.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
from fractions import Fraction
from typing import Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from shards.errors import RequestError
from shards.schema import AudioFeatures, Speech

_Sample = TypeVar("_Sample", bound=np.generic)


class AudioFeatureExtractor(Protocol):
    """Turns speech into feature columns. Heavy imports happen in `setup`."""

    @property
    def name(self) -> str:
        """What data and checkpoints call it; of an encoder complete after `setup`."""
        ...

    @property
    def version(self) -> str: ...

    @property
    def dim(self) -> int:
        """C, channels per column; of an encoder known after `setup`."""
        ...

    @property
    def context_s(self) -> Fraction:
        """How much sound on each side a column wants to hear; whole columns."""
        ...

    def setup(self) -> None: ...

    def extract(self, speech: Speech) -> AudioFeatures:
        """Columns on the speech's own clock; digital silence gives the `silence` column."""
        ...

    def close(self) -> None: ...


FEATURES: dict[str, str] = {
    "mel": "preprocessing.audio.mel:MelSpectrogram",
    "phones": "preprocessing.audio.phones:PhoneActivity",
    "hubert": "preprocessing.audio.encoders:Hubert",
    "wavlm": "preprocessing.audio.encoders:WavLM",
    "whisper": "preprocessing.audio.encoders:Whisper",
}
"""name -> module:class."""
ENCODERS = ("hubert", "wavlm", "whisper")
"""Those that need weights."""


def audio_feature(name: str) -> AudioFeatureExtractor:
    """A feature extractor, not yet set up; refuses an unknown name, and an encoder that nobody says where to find."""
    pinned, _, place = name.partition("@")
    family, _, digest = pinned.partition("-")
    if family not in FEATURES or (family not in ENCODERS and name != family):
        raise RequestError("unknown audio feature", field="audio.features", value=name, choices=FEATURES)
    module, attribute = FEATURES[family].split(":")
    made = getattr(importlib.import_module(module), attribute)
    if family not in ENCODERS:
        return cast(AudioFeatureExtractor, made())
    variable = f"DUBWRIGHT_{family.upper()}"
    place = place or os.environ.get(variable, "")
    if not place:
        raise RequestError(
            f"where are its weights? Write `{pinned}@FOLDER` (or a name on the hub), or set {variable}",
            field="audio.features",
            value=name,
        )
    return cast(AudioFeatureExtractor, made(place, digest or None))


def extract_between(
    extractor: AudioFeatureExtractor, speech: Speech, start_s: Fraction, end_s: Fraction
) -> AudioFeatures:
    """The columns of [start, end), heard in their context, with `start` as the new zero.

    As `extract(speech.between(start_s, end_s))`, but its first and last columns know what was said around the cut: a
    clip has the columns that the whole recording has there, so training sees what dubbing sees.
    """
    heard = speech.between(start_s - extractor.context_s, end_s + extractor.context_s)
    found = extractor.extract(heard)
    first = extractor.context_s / found.hop_s
    if first.denominator != 1:
        raise ValueError(f"{found.name}: a context of {extractor.context_s} s is not a whole number of columns")
    count = math.floor((end_s - start_s - heard.origin_s) / found.hop_s) + 1
    values = found.values[int(first) : int(first) + count]
    return dataclasses.replace(found, values=values, origin_s=heard.origin_s)


def stretch(samples: NDArray[_Sample], start: int, stop: int) -> NDArray[_Sample]:
    """Samples [start, stop), zeros beyond the ends."""
    inside = samples[max(start, 0) : max(stop, 0)]
    left = min(max(-start, 0), stop - start)
    return np.pad(inside, (left, stop - start - left - len(inside)))
