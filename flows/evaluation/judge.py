"""One clip dubbed three times - with its speech turned round, with its own, with silence - and all that is told of it.

The landmarks of every generated and every real crop are found by the same code, so that what it errs cancels out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.evaluation import measures
from flows.evaluation.config import EvaluationConfig
from flows.evaluation.measures import Figures, clip_features, closure, motion, named
from flows.evaluation.shift import cut, shift_of, shifted_features, shifted_landmarks, silent_features
from flows.sync_expert import num_windows
from model.choice import References
from model.metrics import mouth_weight, opening_speed
from model.pipeline import DubbingPipeline
from model.shot import DubbedClip, Sampling, Shot, Take
from model.sync import LEAST_WINDOWS, SyncExpert, score_clip
from model.training.sync import load_expert
from preprocessing.landmarks.crops import CropFaces
from preprocessing.speakers.silence import closed
from shards.schema import U8, ClipSample, Landmarks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A clip, what was made of it under the turned speech, and its figures."""

    clip: ClipSample
    """As far as it was dubbed, with the landmarks found again."""
    made: ClipSample
    """The generated frames and the faces in them."""
    truth: ClipSample
    """Row for row the frames whose mouth `made` should have."""
    figures: Figures


class Judge:
    """The backend that finds faces again and, if there is one, the sync expert. The model is given with each clip."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self._faces = CropFaces()
        self._expert: SyncExpert | None = None

    def setup(self) -> None:
        self._faces.setup()
        if self.config.expert is not None:
            self._expert = load_expert(Path(self.config.expert))

    def close(self) -> None:
        self._faces.close()

    def judge(self, pipe: DubbingPipeline, clip: ClipSample) -> Judged:
        """All figures of a clip; refuses one that is too short, or of another condition than the model's."""
        pipe.condition.check_sample(clip)
        clip = cut(clip, 0, min(len(clip.frames), self.config.max_frames))
        by = shift_of(clip)
        shifted = clip_features(clip, shifted_features(clip, by))
        references = pipe.choose_references(clip.frames, clip.landmarks)
        turned, own, silent = self._dub(pipe, clip, shifted, references)

        real = self._faces.found_in(clip.frames, clip)
        made = self._faces.found_in(turned.frames, clip)
        figures = {
            **self._shifted(clip, shifted, by, real, made, turned, len(references.landmarks)),
            **self._rebuilt(clip, own, real),
            **named("silent", measures.silence(self._faces.found_in(silent.frames, _middle(clip, self.config)))),
            **self._timing(clip, shifted, turned.frames),
        }
        rows = np.roll(np.arange(len(clip.frames)), -by)
        return Judged(
            clip=dataclasses.replace(clip, landmarks=real),
            made=dataclasses.replace(clip, frames=turned.frames, landmarks=made),
            truth=dataclasses.replace(clip, frames=clip.frames[rows], landmarks=shifted_landmarks(real, by)),
            figures=figures,
        )

    def _dub(
        self, pipe: DubbingPipeline, clip: ClipSample, shifted: ClipSample, references: References
    ) -> list[DubbedClip]:
        told = {"references": references, "seed": self.config.seed}
        shots = [Shot.of(shifted, **told), Shot.of(clip, **told)]
        dubbed = pipe(shots, steps=self.config.steps, batch_size=self.config.batch_size)
        return [*dubbed, self._silenced(pipe, _middle(clip, self.config), references)]

    def _silenced(self, pipe: DubbingPipeline, clip: ClipSample, references: References) -> DubbedClip:
        """Under silence, as dubbing does it: what completion makes, closed as this person closes the mouth."""
        times_s = clip.times.seconds()
        made = pipe.predict_landmarks(silent_features(clip), times_s, clip.landmarks, references)
        points = closed(made, references.faces(clip.landmarks.topology_name), np.ones(len(times_s)))
        target = dataclasses.replace(made, points=points)
        take = Take(
            frames=clip.frames,
            target=target,
            references=references,
            seed=self.config.seed,
            times_s=times_s,
            features=silent_features(clip),
        )
        (frames,) = pipe.render_all([take], Sampling(steps=self.config.steps, batch_size=self.config.batch_size))
        return DubbedClip(frames=frames, landmarks=target)

    def _shifted(
        self,
        clip: ClipSample,
        shifted: ClipSample,
        by: int,
        real: Landmarks,
        made: Landmarks,
        turned: DubbedClip,
        num_faces: int,
    ) -> Figures:
        truth, times_s = shifted_landmarks(real, by), clip.times.seconds()
        mask = clip.transform.window.mask(clip.transform.size_px)
        still = motion(measures.neutral(real, num_faces), truth)
        moved = motion(measures.carried(truth, real, clip.transform.size_px), truth)
        return {
            **named("made", motion(made, truth) | closure(made, shifted.features, times_s)),
            # What completion asks for is held against the landmarks that it learned from, not those found again.
            **named("asked", motion(turned.landmarks, shifted_landmarks(clip.landmarks, by))),
            **named("undubbed", motion(real, truth) | closure(real, shifted.features, times_s)),
            **named("neutral", {name: still[name] for name in ("lips", "lips_jaw")}),
            **named("carried", {name: moved[name] for name in ("lips", "lips_jaw")}),
            **named("real", {"speed": opening_speed(real)} | closure(real, clip.features, times_s)),
            "made.outside_change": measures.outside_change(turned.frames, clip.frames, mask),
        }

    def _rebuilt(self, clip: ClipSample, own: DubbedClip, real: Landmarks) -> Figures:
        size = clip.transform.size_px
        mask, mouth = clip.transform.window.mask(size), mouth_weight(real, size)
        found = motion(self._faces.found_in(own.frames, clip), real)
        alike = measures.likeness(own.frames, clip.frames, mask, mouth)
        return named("own", {name: found[name] for name in ("lips", "lips_jaw", "correlation")} | alike)

    def _timing(self, clip: ClipSample, shifted: ClipSample, made: U8) -> Figures:
        """The sync expert's word on the generated frames, on the real clip and on the undubbed one."""
        if self._expert is None or num_windows(clip, self._expert.config.frames) < LEAST_WINDOWS:
            return {}
        subjects = {"made": dataclasses.replace(shifted, frames=made), "undubbed": shifted, "real": clip}
        told: Figures = {}
        for subject, each in subjects.items():
            score = score_clip(self._expert, each)
            fits = {
                "sync_distance": score.distance_at_zero,
                "sync_confidence": score.confidence,
                "sync_offset": float(score.offset_frames),
            }
            told |= named(subject, fits)
        return told


def _middle(clip: ClipSample, config: EvaluationConfig) -> ClipSample:
    """The frames that are dubbed with silence: where the source speaks, if it does anywhere."""
    count = min(config.silent_frames, len(clip.frames))
    start = (len(clip.frames) - count) // 2
    return cut(clip, start, start + count)
