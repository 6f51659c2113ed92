"""Dubbing's worker that adapts the model to a title: its clips and their own speech -> completion's weights, or none.

Loads a model once. Whether what was learned is kept is decided by figures, in `model/adapt.py`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from flows.workers.fragments import read_clip
from model.adapt import Adaptation, AdaptSettings, adapt
from model.networks import Networks
from model.pretrained import load
from preprocessing.audio.base import AudioFeatureExtractor, audio_feature
from shards.commit import Claim, Ledger, ObjectRef, Receipt
from shards.schema import ClipSample, Rejection
from shards.store import open_store

MODELS_KEPT = 2
"""Rows may name models of their own; rows of one model mostly come together."""
NOT_ADAPTED = "not_adapted"
"""The rejection of a title whose model stays as it is."""


class AdaptWorker:
    """The models, and what computes the features that they hear."""

    def __init__(self, store_uri: str, checkpoint: str) -> None:
        self._store_uri, self._checkpoint = store_uri, checkpoint

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))
        self._extractors: dict[str, AudioFeatureExtractor] = {}
        self._networks = lru_cache(maxsize=MODELS_KEPT)(self._networks_of)
        self._networks(self._checkpoint)

    def process(self, item: Claim) -> Receipt:
        payload = item.unit.payload
        networks = self._networks(payload["checkpoint"])
        names = networks.config.condition.features
        clips = (self._lesson(entry, names) for entry in payload["clips"])
        settings = AdaptSettings.model_validate(payload["settings"])
        return self._commit(item, adapt(networks, clips, settings, payload["seed"]))

    def close(self) -> None:
        for extractor in self._extractors.values():
            extractor.close()

    def _networks_of(self, checkpoint: str) -> Networks:
        networks, record = load(Path(checkpoint))
        condition = record.config.condition
        for name in set(condition.features) - set(self._extractors):
            self._extractors[name] = audio_feature(name)
            self._extractors[name].setup()
        # This machine's, which need not be those of the machine that planned.
        condition.check(feature_versions={name: self._extractors[name].version for name in condition.features})
        return networks

    def _lesson(self, entry: Mapping[str, Any], features: Sequence[str]) -> ClipSample:
        """The clip with the features of its own speech, which an analysis for dubbing does not keep.

        Where somebody else speaks its face counts as not seen, and no loss and no judge looks at it.
        """
        clip = read_clip(self._ledger.store, entry)
        points = np.full_like(clip.landmarks.points, np.nan)
        for start, stop in entry["rows"]:
            points[start:stop] = clip.landmarks.points[start:stop]
        return dataclasses.replace(
            clip,
            landmarks=dataclasses.replace(clip.landmarks, points=points),
            features=tuple(self._extractors[name].extract(clip.speech) for name in features),
        )

    def _commit(self, claim: Claim, made: Adaptation) -> Receipt:
        objects: tuple[ObjectRef, ...] = ()
        if made.weights is not None:
            with tempfile.TemporaryDirectory(prefix="dubwright-adapt-") as scratch:
                path = Path(scratch, "completion.safetensors")
                save_file({name: value.cpu().contiguous() for name, value in made.weights.items()}, path)
                objects = (self._ledger.put_object(claim, path, ".safetensors"),)
        return self._ledger.commit(
            claim,
            Receipt(
                unit_id=claim.unit.unit_id,
                stage=claim.unit.stage,
                objects=objects,
                rejections=() if objects else (Rejection(code=NOT_ADAPTED, detail=made.why),),
                details=made.told(),
            ),
        )
