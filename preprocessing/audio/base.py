"""The audio-feature door: speech in, columns on the same clock out. One file per feature; a registry line adds one."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from shards.errors import RequestError
from shards.schema import AudioFeatures, Speech


class AudioFeatureExtractor(Protocol):
    """Turns speech into feature columns. Heavy imports happen in `setup`."""

    name: str
    version: str
    dim: int
    """C, channels per column."""

    def setup(self) -> None: ...

    def extract(self, speech: Speech) -> AudioFeatures:
        """Columns on the speech's own clock; digital silence gives the `silence` column."""
        ...

    def close(self) -> None: ...


FEATURES: dict[str, str] = {
    "mel": "preprocessing.audio.mel:MelSpectrogram",
}
"""name -> module:class."""


def audio_feature(name: str) -> AudioFeatureExtractor:
    """A feature extractor, not yet set up; refuses an unknown name."""
    if name not in FEATURES:
        raise RequestError("unknown audio feature", field="audio.features", value=name, choices=FEATURES)
    module, attribute = FEATURES[name].split(":")
    return cast(AudioFeatureExtractor, getattr(importlib.import_module(module), attribute)())
