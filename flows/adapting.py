"""Adapting a title, as the run sees it: whether it is worth trying, the unit of work, and the model that comes of it.

The unit is named by the title's clips and the voice, and by nothing of a row: all languages of a title share it. How
completion is adapted and judged is `model/adapt.py`'s, the work itself `workers/adapt.py`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError

from flows.casting import UNITS, runs
from flows.title import Title, Voice
from flows.version import stage_version
from flows.workers.fragments import clip_address
from model.adapt import AdaptSettings, adapted
from model.pipeline import DubbingPipeline
from preprocessing.audio.base import feature_version
from preprocessing.faces.base import Analysis
from preprocessing.pieces import Piece, pieces_of
from preprocessing.speakers.choose import BORDER, frame_seconds
from shards.commit import Receipt, SampleEntry, Unit
from shards.errors import ObjectDamaged
from shards.fingerprint import fingerprint
from shards.store import Store

VOICED = 0.5
"""Of a frame with more voice than this it must be known whose mouth speaks; in a pause every mouth is at rest."""
LEAST_SPEECH_S = 1.0
"""A clip in which its face speaks for less is not read."""


class AdaptConfig(BaseModel):
    """Which titles are adapted, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["off", "auto", "always"] = Field(
        "auto", description="auto: titles in which one person speaks long enough; always: whatever speech there is"
    )
    least_speech_s: float = Field(20.0, ge=0, description="auto: seconds of speech of one person, pauses left out")
    most_s: float = Field(600.0, gt=0, description="seconds of a title that are read, spread over all of it")
    seed: int = Field(0, ge=0, description="not the row's: all languages of a title share the work")
    how: AdaptSettings = AdaptSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """A clip whose face speaks in the title's own sound."""

    entry: SampleEntry
    rows: list[tuple[int, int]]
    """In which nobody else speaks: a face that listens would teach the wrong mouth."""
    speech_s: float


def adapt_unit(title: Title, voice: Voice, analysis: Analysis, receipt: Receipt, config: AdaptConfig) -> Unit | None:
    """The unit that adapts the voice to the title, or None where `why_not` has a reason."""
    lessons = _lessons(title, analysis, receipt)
    if _why_not(lessons, config) is not None:
        return None
    clips = [{**clip_address(receipt, each.entry), "rows": [list(r) for r in each.rows]} for each in lessons]
    made_with = {name: feature_version(name) for name in voice.features}
    taught: dict[str, Any] = {
        "clips": _spread(clips, [each.entry.duration_s for each in lessons], config.most_s),
        "seed": config.seed,
        "settings": config.how.model_dump(mode="json"),
    }
    return Unit(
        unit_id=fingerprint(stage_version("adapt"), voice.digest, made_with, taught),
        stage="adapt",
        payload={**taught, "checkpoint": voice.checkpoint},
    )


def why_not(title: Title, analysis: Analysis, receipt: Receipt, config: AdaptConfig) -> str | None:
    """Why the title is not adapted, for its report; None: it is worth trying."""
    return _why_not(_lessons(title, analysis, receipt), config)


def load_adapted(pipe: DubbingPipeline, store: Store, object_path: str) -> DubbingPipeline:
    """The pipeline with an adaptation's completion; all its other weights are those of `pipe`, in the same memory."""
    try:
        networks = adapted(pipe.networks, safetensors.torch.load(store.read(object_path)))
    except (SafetensorError, RuntimeError) as error:
        raise ObjectDamaged(f"{store.uri}/{object_path} is not a completion of this model: {error}") from error
    digest = fingerprint(pipe.digest, object_path)
    return DubbingPipeline(networks, pipe.scheduler, card=pipe.card, trained=pipe.trained, digest=digest)


def _why_not(lessons: Sequence[_Lesson], config: AdaptConfig) -> str | None:
    if config.mode == "off":
        return "adapting is off"
    if not lessons:
        return "nobody is seen speaking in the title's own sound"
    speech_s: dict[str, float] = defaultdict(float)
    for lesson in lessons:
        speech_s[lesson.entry.identity] += lesson.speech_s
    if config.mode == "auto" and (most := max(speech_s.values())) < config.least_speech_s:
        return f"nobody is seen speaking for more than {most:.0f} s; `auto` asks for {config.least_speech_s:.0f} s"
    return None


def _lessons(title: Title, analysis: Analysis, receipt: Receipt) -> list[_Lesson]:
    """In order of time; none where nobody has listened to the title's own sound."""
    entries = {entry.key: entry for entry in receipt.samples}
    found = []
    for piece in pieces_of(analysis.tracks, UNITS):
        entry = entries.get(piece.key(title.video_sha256, analysis.times))
        if entry is not None and (lesson := _lesson(entry, piece, analysis)).speech_s >= LEAST_SPEECH_S:
            found.append(lesson)
    return found


def _lesson(entry: SampleEntry, piece: Piece, analysis: Analysis) -> _Lesson:
    if analysis.heard is None:
        return _Lesson(entry=entry, rows=[], speech_s=0.0)
    is_voiced = analysis.heard.voice[piece.start : piece.stop] > VOICED
    speaks = analysis.speaking(piece.number)[piece.rows()] > BORDER  # not where it is unknown: NaN is not more
    seconds = frame_seconds(analysis.times)[piece.start : piece.stop]
    return _Lesson(entry=entry, rows=runs(speaks | ~is_voiced), speech_s=float(seconds[is_voiced & speaks].sum()))


def _spread(clips: Sequence[dict[str, Any]], seconds: Sequence[float], most_s: float) -> list[dict[str, Any]]:
    """As many as last `most_s`, evenly spaced."""
    count = max(1, int(len(clips) * min(1.0, most_s / sum(seconds))))
    return [clips[i] for i in np.linspace(0, len(clips) - 1, count).round().astype(int)]
