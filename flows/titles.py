"""What a catalogue comes down to: titles, and the units of work behind each of its outputs.

    analyse   once per picture                                  -> face crops and analysis
    render    per clip of a face that speaks and what it hears  -> the same crops, speaking

Each unit is named by everything its result depends on, so a second language reuses the analysis and a changed line
renders only its shots. What becomes of rendered clips is `mastering.py`'s, what a title teaches the model
`adapting.py`'s, and who speaks `casting.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.casting import UNITS, Part, cast_of
from flows.hearing import Slice, Speeches
from flows.title import Title, Voice
from flows.version import pinned, stage_version
from flows.workers.fragments import clip_address
from preprocessing.config import CropConfig, FaceConfig, PreprocessConfig
from preprocessing.faces.base import Analysis
from shards.commit import Receipt, Unit
from shards.fingerprint import fingerprint

MAX_FACES = 4
"""Faces followed at once: who speaks is seen beside those who listen."""
BACKENDS = {"mediapipe131": "mediapipe", "ibug68": "face-alignment"}
"""Who finds the landmarks that a checkpoint was trained on."""
MAX_REFERENCE_CLIPS = 8
"""How many stretches of a person are looked through for references, spread evenly over the title."""


def analysis_config(voice: Voice) -> PreprocessConfig:
    """Preprocessing as dubbing wants it: every frame at its own time, nothing left out for being short or silent."""
    return PreprocessConfig(
        faces=FaceConfig(backend=BACKENDS[voice.topology], max_faces=MAX_FACES),
        crop=CropConfig(size_px=voice.crop_px, window=voice.window),
        clip=UNITS,
        on_missing_speech="keep",
    )


def analysis_unit(title: Title, config: PreprocessConfig) -> Unit:
    version = stage_version("analyse")
    config, tools = pinned(config)
    return Unit(
        unit_id=fingerprint(version, tools, title.video_sha256, config.measured()),
        stage="analyse",
        payload={
            "video": str(title.row.video.resolve()),
            "video_sha256": title.video_sha256,
            "code_version": version,
        },
    )


def render_units(
    title: Title,
    voice: Voice,
    analysis: Analysis,
    receipt: Receipt,
    speeches: Speeches,
    *,
    adapted: str | None = None,
) -> list[Unit]:
    """One unit for each clip in which a face speaks; `receipt` is the commit of the analysis.

    `adapted` is the object with the completion that this title's people taught, where there is one.
    """
    references: dict[str, list[dict[str, Any]]] = {}
    for entry in receipt.samples:
        references.setdefault(entry.identity, []).append(clip_address(receipt, entry))
    parts = cast_of(title, analysis, receipt, speeches).parts
    heard = [_slice_of(part, analysis) for part in parts]
    return [
        _render_unit(title, voice, part, wanted, name, receipt, spread(references[part.entry.identity]), adapted)
        for part, wanted, name in zip(parts, heard, speeches.names(heard), strict=True)
    ]


def _slice_of(part: Part, analysis: Analysis) -> Slice:
    times, zero_s = analysis.times, analysis.times.at(0).seconds
    first_s, last_s = (times.at(i).seconds - zero_s for i in (part.piece.start, part.piece.stop - 1))
    return Slice.around(part.sounds, first_s, last_s)


def _render_unit(
    title: Title,
    voice: Voice,
    part: Part,
    heard: Slice,
    heard_name: str,
    receipt: Receipt,
    references: Sequence[Mapping[str, Any]],
    adapted: str | None,
) -> Unit:
    row, shot = title.row, part.piece.aligned.track.shot
    picture = {
        "clip": clip_address(receipt, part.entry),
        "analysis": receipt.objects[-1].path,
        "track": part.piece.number,
        "first": part.piece.rows().start,
        "rows": [list(rows) for rows in part.rows],
        "reference_clips": references,
    }
    # One noise for all clips of a shot: what changes from one to the next is the mouth alone.
    seed = (row.seed + shot.index) % 2**63
    how = {"voice": voice.digest, "adapted": adapted, "seed": seed, "steps": row.steps}
    return Unit(
        unit_id=fingerprint(stage_version("render"), heard_name, picture, how),
        stage="render",
        payload={
            **picture,
            **how,
            "checkpoint": voice.checkpoint,
            "voices": [sound.as_payload() for sound in heard.sounds],
        },
    )


def spread(clips: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most MAX_REFERENCE_CLIPS of them, evenly spaced."""
    if len(clips) <= MAX_REFERENCE_CLIPS:
        return list(clips)
    picks = np.linspace(0, len(clips) - 1, MAX_REFERENCE_CLIPS).round().astype(int)
    return [clips[i] for i in picks]
