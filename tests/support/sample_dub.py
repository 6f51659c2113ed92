"""A checkpoint's work on the sample's face, measured: for the tests of the one that ships, and for its model card."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from flows.titles import analysis_config
from flows.voice import read_voice
from model.choice import References
from model.metrics import psnr_db
from model.pipeline import DubbingPipeline
from preprocessing.audio.base import AudioFeatureExtractor, audio_feature
from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from preprocessing.sample.motion import motion_for
from preprocessing.sample.script import LEAD_IN_S
from preprocessing.sample.speech import SpokenLine
from shards.schema import F32, F64, ClipSample, Landmarks, Speech

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES = {"es": "hello.es", "en": "morning.en"}
"""The new speech of the sample, by language; no checkpoint of ours is trained on it."""
SILENCE = Speech(samples=np.zeros(8 * 16_000, np.int16), rate_hz=16_000, origin_s=Fraction(0))


class SampleDub:
    """The sample's picture, as dubbing sees it, and a checkpoint."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.pipe = DubbingPipeline.from_pretrained(checkpoint)

    @cached_property
    def clip(self) -> ClipSample:
        config = analysis_config(read_voice(str(self.checkpoint)))
        path = EXAMPLES / "hopper.mp4"
        source = FfmpegSource(path, probe(path))
        with ClipTools(config) as tools:
            found = analyse(source, tools.backend, config)
            about = {"source_sha256": "0" * 64, "source_name": path.name, "code_version": "sample"}
            clip = next(iter(cut_clips(found, source, None, tools, config, **about)))
        source.close()
        if not isinstance(clip, ClipSample):
            raise TypeError(f"the sample gives no clip: {clip}")
        return clip

    @cached_property
    def references(self) -> References:
        return self.pipe.choose_references(self.clip.frames, self.clip.landmarks)

    def saying(self, speech: Speech) -> Landmarks:
        """The face, saying that."""
        features = [extractor.extract(speech) for extractor in self.extractors]
        return self.pipe.predict_landmarks(features, self.clip.times.seconds(), self.clip.landmarks, self.references)

    @cached_property
    def extractors(self) -> list[AudioFeatureExtractor]:
        """What this checkpoint hears."""
        found = [audio_feature(name) for name in self.pipe.condition.features]
        for extractor in found:
            extractor.setup()
        return found

    def correlation(self, language: str) -> float:
        """Of the predicted mouth opening with the one that the generator would have shown for the same line."""
        speech = read_speech(EXAMPLES / f"hopper.{language}.m4a")
        return float(np.corrcoef(gap(self.saying(speech)), self.commanded(language, speech.duration_s))[0, 1])

    def commanded(self, language: str, seconds: float) -> F64:
        """(T,) how far the generator opens the mouth for that line."""
        line = SpokenLine.load(EXAMPLES / "speech" / LINES[language]).with_silence(before_s=LEAD_IN_S, until_s=seconds)
        motion = motion_for(line, seconds, seed=0)
        return np.array([motion.opening(t) for t in self.clip.times.seconds().tolist()])

    def reconstruction_db(self, every: int = 10) -> float:
        """PSNR in the generated region when the face says what it says in the source."""
        rows = np.arange(0, len(self.clip.frames), every)
        own = dataclasses.replace(
            self.clip.landmarks,
            points=self.clip.landmarks.points[rows],
            confidence=self.clip.landmarks.confidence[rows],
        )
        made = self.pipe.render(self.clip.frames[rows], own, self.references, seed=0)
        mask = self.clip.transform.window.mask(self.clip.transform.size_px)
        return float(psnr_db(made, self.clip.frames[rows], mask))


def gap(landmarks: Landmarks) -> F32:
    """(T,) between the inner lips, crop px."""
    upper, lower = landmarks.topology.inner_lip_mid
    return landmarks.points[:, lower, 1] - landmarks.points[:, upper, 1]
