"""Dubbing's second worker: one stretch of a face and the new speech -> the same stretch, speaking it.

Loads the model once. Speech features of a track and the references of a person are kept between units, because the
stretches of one title come one after the other.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.workers.fragments import need_planned, read_clip, write_fragment
from model.choice import References
from model.pipeline import DubbingPipeline
from model.shot import Sampling, Take
from preprocessing.audio.base import audio_feature
from preprocessing.media.speech import read_speech
from shards.commit import Claim, Ledger, Receipt
from shards.schema import AudioFeatures, ClipSample, Landmarks
from shards.store import open_store

RENDERED_JPEG_QUALITY = 98
"""Rendered crops are kept as ordinary clips; at 98 the loss is far below what the model itself loses."""


class RenderWorker:
    """The model, loaded once, and what a title's stretches share."""

    def __init__(self, store_uri: str, checkpoint: str) -> None:
        self._store_uri, self._checkpoint = store_uri, checkpoint

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))
        self._pipe = DubbingPipeline.from_pretrained(self._checkpoint)
        self._extractors = [audio_feature(name) for name in self._pipe.condition.features]
        for extractor in self._extractors:
            extractor.setup()
        # This machine's, which need not be those of the machine that planned.
        self._pipe.condition.check(feature_versions={e.name: e.version for e in self._extractors})
        self._features = lru_cache(maxsize=8)(self._features_of)
        self._references = lru_cache(maxsize=16)(self._references_of)

    def process(self, item: Claim) -> Receipt:
        payload = item.unit.payload
        clip = self._clip(payload["clip"])
        # The features are on the title's clock and the clip on its own: move them by where the clip begins.
        begin_s = clip.provenance.span.start.seconds - Fraction(payload["zero_s"])
        features = [
            dataclasses.replace(f, origin_s=f.origin_s - begin_s)
            for f in self._features(payload["audio"], payload["audio_sha256"])
        ]
        references = self._references(tuple(map(_frozen, payload["reference_clips"])))
        times_s = clip.times.seconds()
        target = self._pipe.predict_landmarks(features, times_s, clip.landmarks, references)
        take = Take(
            frames=clip.frames,
            target=target,
            references=references,
            seed=payload["seed"],
            times_s=times_s,
            features=features,
            name=f"clip {clip.key}",
        )
        frames = self._pipe.render_all([take], Sampling(steps=payload["steps"]))[0]
        return self._commit(item, dataclasses.replace(clip, frames=frames, landmarks=target, scores={}))

    def close(self) -> None:
        for extractor in self._extractors:
            extractor.close()

    def _clip(self, entry: Mapping[str, Any]) -> ClipSample:
        return read_clip(self._ledger.store, entry)

    def _features_of(self, audio: str, sha256: str) -> list[AudioFeatures]:
        """The whole track's features on the title's clock: the speech begins with the first frame."""
        need_planned(Path(audio), sha256)
        speech = read_speech(Path(audio))
        return [extractor.extract(speech) for extractor in self._extractors]

    def _references_of(self, entries: tuple[tuple[tuple[str, Any], ...], ...]) -> References:
        clips = [self._clip(dict(entry)) for entry in entries]
        landmarks = Landmarks(
            points=np.concatenate([c.landmarks.points for c in clips]),
            confidence=np.concatenate([c.landmarks.confidence for c in clips]),
            topology_name=clips[0].landmarks.topology_name,
            space="crop",
        )
        return self._pipe.choose_references(np.concatenate([c.frames for c in clips]), landmarks)

    def _commit(self, claim: Claim, rendered: ClipSample) -> Receipt:
        with tempfile.TemporaryDirectory(prefix="dubwright-render-") as scratch:
            fragment, _ = write_fragment([rendered], Path(scratch, "rendered.tar"), jpeg_quality=RENDERED_JPEG_QUALITY)
            if fragment is None:
                raise RuntimeError(f"clip {rendered.key} was rendered and not written")
            return self._ledger.commit(
                claim,
                Receipt(
                    unit_id=claim.unit.unit_id,
                    stage=claim.unit.stage,
                    objects=(self._ledger.put_object(claim, fragment.path, ".tar"),),
                    samples=fragment.entries,
                    details={
                        "start_pts": rendered.provenance.span.start.pts,
                        "rows": [list(rows) for rows in runs(rendered.landmarks.seen())],
                    },
                ),
            )


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The half-open ranges in which `flags` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _frozen(entry: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(entry.items()))
