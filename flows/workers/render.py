"""Dubbing's second worker: clips of a face and what it hears -> the same clips, speaking it.

Several units at once share the model's batches, whatever title or language they are of. Models, analyses, sound and
the references of a person are kept between units, because the clips of one title come one after the other. Where the
sound is silent the mouth is closed, or stays the source's (`preprocessing/speakers/silence.py`).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flows.adapting import load_adapted
from flows.casting import runs
from flows.hearing import Slice, Sound, Speeches
from flows.workers.fragments import SourceChanged, read_clip, write_fragment
from flows.workers.scene import Scene, completed, scene_of
from model.choice import References
from model.errors import NonFinitePicture
from model.pipeline import DubbingPipeline
from model.shot import Sampling, Take
from preprocessing.analysis import decode_analysis
from preprocessing.audio.base import AudioFeatureExtractor, audio_feature
from preprocessing.compose.light import matched
from preprocessing.faces.base import Analysis
from preprocessing.landmarks.crops import TOPOLOGY as CROP_TOPOLOGY
from preprocessing.landmarks.crops import CropFaces
from preprocessing.quality.dubbed import dubbed_scores
from preprocessing.speakers.silence import closed, closing_weight, silent_at, stays_closed
from shards.commit import Claim, Ledger, Receipt
from shards.schema import U8, ClipSample, Landmarks, Speech
from shards.store import open_store

RENDERED_JPEG_QUALITY = 98
"""Rendered crops are kept as ordinary clips; at 98 the loss is far below what the model itself loses."""
MODELS_KEPT = 2
"""Rows may name models of their own; rows of one model mostly come together."""
ADAPTED_KEPT = 4
"""Only completion is a title's own, the rest is its model's."""
FRAMES_AT_ONCE = 8
SILENT_CLOSED = {
    "code": "silent_closed",
    "detail": "the new speech is silent here and the source's mouth is closed: it stays as it is",
}
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """A unit, ready to be drawn."""

    claim: Claim
    pipe: DubbingPipeline
    clip: ClipSample
    """The source's."""
    take: Take
    """Its target is NaN in every row that is not drawn."""
    kept: Mask
    """(T,) rows left as they are for the sake of silence."""
    heard: Speech
    """The new speech on the clip's clock."""


class RenderWorker:
    """The models, loaded once, and what a title's clips share."""

    def __init__(self, store_uri: str, checkpoint: str) -> None:
        self._store_uri, self._checkpoint = store_uri, checkpoint
        self._frames_at_once = FRAMES_AT_ONCE

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))
        self._speeches = Speeches()
        self._extractors: dict[str, AudioFeatureExtractor] = {}
        self._pipe = lru_cache(maxsize=MODELS_KEPT)(self._pipe_of)
        self._adapted = lru_cache(maxsize=ADAPTED_KEPT)(self._adapted_of)
        self._analysis = lru_cache(maxsize=2)(self._analysis_of)
        self._references = lru_cache(maxsize=16)(self._references_of)
        self._finder = CropFaces()
        self._finder.setup()
        self._pipe(self._checkpoint)

    def process(self, item: Claim) -> Receipt:
        (answer,) = self.process_batch([item])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def process_batch(self, items: Sequence[Claim]) -> list[Receipt | Exception]:
        """A face that the model cannot draw fails its own unit; what else goes wrong, the engine finds in halves."""
        jobs = [self._job(item) for item in items]
        drawn: dict[str, U8 | NonFinitePicture] = {}
        for pipe, steps in {(id(j.pipe), _steps(j)): (j.pipe, _steps(j)) for j in jobs}.values():
            takes = [j.take for j in jobs if j.pipe is pipe and _steps(j) == steps]
            drawn |= _draw(pipe, takes, Sampling(steps=steps, batch_size=self._frames_at_once))
        return [
            picture if isinstance(picture := drawn[job.take.name], NonFinitePicture) else self._commit(job, picture)
            for job in jobs
        ]

    def shrink(self) -> bool:
        """Fewer frames at once, when memory is short."""
        self._frames_at_once, before = max(1, self._frames_at_once // 2), self._frames_at_once
        return self._frames_at_once < before

    def close(self) -> None:
        self._finder.close()
        for extractor in self._extractors.values():
            extractor.close()

    # -- what units share

    def _pipe_of(self, checkpoint: str) -> DubbingPipeline:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        pipe = DubbingPipeline.from_pretrained(checkpoint, device=device)
        for name in pipe.condition.features:
            if name not in self._extractors:
                extractor = audio_feature(name)
                extractor.setup()
                self._extractors[name] = extractor
        # This machine's, which need not be those of the machine that planned.
        pipe.condition.check(feature_versions={n: self._extractors[n].version for n in pipe.condition.features})
        return pipe

    def _adapted_of(self, checkpoint: str, adapted: str) -> DubbingPipeline:
        return load_adapted(self._pipe(checkpoint), self._ledger.store, adapted)

    def _analysis_of(self, path: str) -> Analysis:
        return decode_analysis(self._ledger.store.read(path))

    def _references_of(self, checkpoint: str, entries: tuple[tuple[tuple[str, Any], ...], ...]) -> References:
        clips = [read_clip(self._ledger.store, dict(entry)) for entry in entries]
        landmarks = Landmarks(
            points=np.concatenate([c.landmarks.points for c in clips]),
            confidence=np.concatenate([c.landmarks.confidence for c in clips]),
            topology_name=clips[0].landmarks.topology_name,
            space="crop",
        )
        return self._pipe(checkpoint).choose_references(np.concatenate([c.frames for c in clips]), landmarks)

    # -- one unit

    def _job(self, claim: Claim) -> _Job:
        payload = claim.unit.payload
        pipe = self._pipe(payload["checkpoint"])
        if pipe.digest != payload["voice"]:
            raise SourceChanged(f"the model in {payload['checkpoint']} changed after it was planned; run again")
        if payload["adapted"] is not None:
            pipe = self._adapted(payload["checkpoint"], payload["adapted"])
        clip = read_clip(self._ledger.store, payload["clip"])
        analysis, windows = self._analysis(payload["analysis"]), pipe.config_.completion
        scene = scene_of(
            analysis,
            payload["track"],
            payload["first"],
            len(clip.frames),
            windows.window_frames,
            windows.overlap_frames,
        )
        references = self._references(payload["checkpoint"], tuple(map(_frozen, payload["reference_clips"])))
        first_s = clip.provenance.span.start.seconds - analysis.times.at(0).seconds
        return self._taken(claim, pipe, clip, scene, first_s, references)

    def _taken(
        self,
        claim: Claim,
        pipe: DubbingPipeline,
        clip: ClipSample,
        scene: Scene,
        first_s: Fraction,
        references: References,
    ) -> _Job:
        # What planning named the unit by.
        sounds = [Sound.of_payload(values) for values in claim.unit.payload["voices"]]
        speech = self._speeches.heard(Slice.around(sounds, first_s, first_s + clip.times.at(-1).seconds))
        features = [self._extractors[name].extract(speech) for name in pipe.condition.features]
        silent = silent_at(speech, scene.times_s)
        made = dataclasses.replace(scene.landmarks, points=completed(pipe, scene, features, references))
        faces = references.faces(scene.landmarks.topology_name)
        points = closed(made, faces, closing_weight(silent, scene.times_s))[scene.clip].copy()
        cast = _rows(claim.unit.payload["rows"], len(clip.frames)) & clip.landmarks.seen()
        kept = cast & stays_closed(scene.landmarks, faces, silent, scene.times_s)[scene.clip]
        points[~cast | kept] = np.nan
        take = Take(
            frames=clip.frames,
            target=dataclasses.replace(clip.landmarks, points=points),
            references=references,
            seed=claim.unit.payload["seed"],
            times_s=scene.times_s[scene.clip],
            features=features,
            name=claim.unit.unit_id,
        )
        on_clip = dataclasses.replace(speech, origin_s=speech.origin_s - first_s)
        return _Job(claim=claim, pipe=pipe, clip=clip, take=take, kept=kept, heard=on_clip)

    def _commit(self, job: _Job, frames: U8) -> Receipt:
        clip, made = job.clip, job.take.target
        frames = matched(frames, clip.frames, clip.landmarks, made, clip.transform.window)
        drawn = made.seen()
        rows = runs(drawn)
        points = np.where(drawn[:, None, None], made.points, clip.landmarks.points)
        landmarks = dataclasses.replace(clip.landmarks, points=points)
        finder = self._finder if landmarks.topology_name == CROP_TOPOLOGY else None
        scores = dubbed_scores(clip, frames, landmarks, rows, job.heard, finder)
        rendered = dataclasses.replace(clip, frames=frames, landmarks=landmarks, scores=scores)
        details = {
            "start_pts": clip.provenance.span.start.pts,
            "rows": [list(run) for run in rows],
            "kept": [{"rows": [list(run) for run in runs(job.kept)], **SILENT_CLOSED}] if job.kept.any() else [],
        }
        return self._keep(job.claim, rendered, details)

    def _keep(self, claim: Claim, rendered: ClipSample, details: Mapping[str, Any]) -> Receipt:
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
                    details=details,
                ),
            )


def _draw(pipe: DubbingPipeline, takes: Iterable[Take], sampling: Sampling) -> dict[str, U8 | NonFinitePicture]:
    """By the takes' names: the pictures, or why there are none. One that cannot be drawn does not stop the others."""
    found: dict[str, U8 | NonFinitePicture] = {}
    waiting = list(takes)
    while waiting:
        try:
            pictures = pipe.render_all(waiting, sampling)
        except NonFinitePicture as error:
            found[error.shot] = error
            waiting = [take for take in waiting if take.name != error.shot]
        else:
            return found | {take.name: made for take, made in zip(waiting, pictures, strict=True)}
    return found


def _rows(ranges: Sequence[Sequence[int]], count: int) -> Mask:
    flags = np.zeros(count, dtype=bool)
    for start, stop in ranges:
        flags[start:stop] = True
    return flags


def _steps(job: _Job) -> int:
    return int(job.claim.unit.payload["steps"])


def _frozen(entry: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(entry.items()))
