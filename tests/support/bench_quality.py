"""What the quality scores cost and how often the A/V offset is right, on the clips of a folder.

Each function takes what it measures and returns what `make bench` prints.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.errors import Unusable
from preprocessing.faces.base import Analysis
from preprocessing.faces.keep import CropStore
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech
from preprocessing.quality.scores import picture_scores, sound_scores
from preprocessing.quality.sync import source_sync
from shards.schema import ClipSample, Speech

SHIFTS = (-7, -3, 0, 7)
"""Frames of 25 a second by which the sound is made late."""
BOUNDS = (0.0, 0.05, 0.1, 0.2, 0.3, float("inf"))
"""Of the confidence, between the rows of the table."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One source with its sound moved by a known amount."""

    shift: int
    offset_s: float
    unshifted_s: float
    """What was found without the shift."""
    confidence: float

    @property
    def is_right(self) -> bool:
        """To one frame, of a source that is in sync."""
        return abs(self.offset_s - self.shift / 25) <= 0.0401

    @property
    def has_followed(self) -> bool:
        """The finding moved by what the sound was moved by, whether or not the source is in sync."""
        return abs(self.offset_s - self.unshifted_s - self.shift / 25) <= 0.0401


def av_accuracy(folder: Path, limit: int = 200) -> str:
    """A table: share of sources found within a frame, and share that followed a shift, by confidence."""
    findings = [finding for video in sorted(folder.iterdir())[:limit] for finding in _findings(video)]
    rows = [f"{folder}: {len(findings) // len(SHIFTS)} sources, sound late by {SHIFTS} frames"]
    for low, high in itertools.pairwise(BOUNDS):
        of = [f for f in findings if low <= f.confidence < high]
        if of:
            right, followed = sum(f.is_right for f in of) / len(of), sum(f.has_followed for f in of) / len(of)
            rows.append(f"  confidence {low:.2f}-{high:.2f}: {len(of)}, right {right:.2f}, followed {followed:.2f}")
    return "\n".join(rows)


def scoring_cost(video: Path) -> str:
    """Processor time of scoring against that of everything else, in one run."""
    with ClipTools(_config()) as tools, CropStore() as crops:
        begun = time.process_time()
        analysis, _, clips = _clips(video, tools, crops)
        whole = time.process_time() - begun
    begun = time.process_time()
    for clip in clips:
        picture_scores(clip.frames, clip.landmarks, clip.transform, width=analysis.width, height=analysis.height)
        sound_scores(clip.landmarks, clip.times, clip.speech)
    scoring = time.process_time() - begun
    return f"scoring {len(clips)} clips: {scoring:.2f} s of {whole:.2f} s ({scoring / whole:.0%})"


def _config() -> PreprocessConfig:
    return PreprocessConfig.model_validate({"clip": {"min_frames": 10}, "sync": {"correct": False}})


def _findings(video: Path) -> Iterator[Finding]:
    try:
        with ClipTools(_config()) as tools:
            analysis, speech, _ = _clips(video, tools, None)
    except Unusable:
        return
    tracks = [aligned.track for aligned in analysis.tracks]
    base = source_sync(tracks, analysis.times, speech).offset_s
    for shift in SHIFTS:
        moved = dataclasses.replace(speech, origin_s=speech.origin_s + Fraction(shift, 25))
        found = source_sync(tracks, analysis.times, moved)
        yield Finding(shift=shift, offset_s=found.offset_s, unshifted_s=base, confidence=found.confidence)


def _clips(video: Path, tools: ClipTools, crops: CropStore | None) -> tuple[Analysis, Speech, list[ClipSample]]:
    config = _config()
    source = FfmpegSource.normalised(video, probe(video), fps=config.media.fps, max_side_px=config.media.max_side_px)
    try:
        speech = read_speech(video, zero_s=source.times.at(0).seconds)
        analysis = analyse(source, tools.backend, config, crops=crops)
        if crops is None:
            return analysis, speech, []
        names = {"source_sha256": "0" * 64, "source_name": video.name, "code_version": "bench"}
        parts = list(cut_clips(analysis, source, speech, tools, config, crops=crops, **names))
    finally:
        source.close()
    return analysis, speech, [part for part in parts if isinstance(part, ClipSample)]
