"""The audio-feature door: speech in, columns on the same clock out. One file per feature; a registry line adds one.

A feature is asked for by name: `mel`, `phones`, `ear`, or an encoder whose weights are brought along, whose full name
is `family[-digest][@place]`:

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
from typing import Any, Protocol, TypeVar, cast

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
    def hop_s(self) -> Fraction:
        """Seconds from column to column, whole samples; of an encoder known after `setup`."""
        ...

    def setup(self) -> None: ...

    def extract(self, speech: Speech, first: int = 0, stop: int | None = None) -> AudioFeatures:
        """Columns [first, stop) of the recording, by default all of them, on the speech's own clock.

        Column i is the same whichever others are asked for. Digital silence gives the `silence` column.
        """
        ...

    def close(self) -> None: ...


FEATURES: dict[str, str] = {
    "mel": "preprocessing.audio.mel:MelSpectrogram",
    "phones": "preprocessing.audio.phones:PhoneActivity",
    "ear": "preprocessing.audio.ear:Ear",
    "hubert": "preprocessing.audio.encoders:Hubert",
    "wavlm": "preprocessing.audio.encoders:WavLM",
    "whisper": "preprocessing.audio.encoders:Whisper",
}
"""name -> module:class."""
ENCODERS = ("hubert", "wavlm", "whisper")
"""Those whose weights somebody must bring."""


def audio_feature(name: str) -> AudioFeatureExtractor:
    """A feature extractor, not yet set up; refuses an unknown name, and an encoder that nobody says where to find."""
    pinned, _, place = name.partition("@")
    family, _, digest = pinned.partition("-")
    made = _extractor_class(family, name)
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


def feature_version(name: str) -> str:
    """The version that this installation gives the feature; needs no weights."""
    return cast(str, _extractor_class(name.partition("@")[0].partition("-")[0], name).version)


def _extractor_class(family: str, name: str) -> Any:
    if family not in FEATURES or (family not in ENCODERS and name != family):
        raise RequestError("unknown audio feature", field="audio.features", value=name, choices=FEATURES)
    module, attribute = FEATURES[family].split(":")
    return getattr(importlib.import_module(module), attribute)


def num_columns(speech: Speech, hop: int) -> int:
    """How many columns `hop` samples apart a recording has: one on its first sample, none beyond its end."""
    return len(speech.samples) // hop + 1


def extract_between(
    extractor: AudioFeatureExtractor, speech: Speech, start_s: Fraction, end_s: Fraction
) -> AudioFeatures:
    """The recording's own columns whose time lies in [start, end], with `start` as the new zero.

    Not those of `speech.between(start_s, end_s)`, whose edges would not know what was said around the cut, and whose
    columns would lie between the recording's: training on clips sees what dubbing sees of whole speeches. Where the
    recording has no column there is silence.
    """
    hop_s = extractor.hop_s
    first, last = math.ceil((start_s - speech.origin_s) / hop_s), math.floor((end_s - speech.origin_s) / hop_s)
    count = num_columns(speech, int(hop_s * speech.rate_hz))
    begin, stop = min(max(first, 0), count), min(max(last + 1, 0), count)
    found = extractor.extract(speech, begin, max(begin, stop))
    values = np.broadcast_to(found.silence, (max(last + 1 - first, 0), len(found.silence))).copy()
    values[begin - first : begin - first + len(found.values)] = found.values
    return dataclasses.replace(found, values=values, origin_s=speech.origin_s + first * hop_s - start_s)


def stretch(samples: NDArray[_Sample], start: int, stop: int) -> NDArray[_Sample]:
    """Samples [start, stop), zeros beyond the ends."""
    inside = samples[max(start, 0) : max(stop, 0)]
    left = min(max(-start, 0), stop - start)
    return np.pad(inside, (left, stop - start - left - len(inside)))
