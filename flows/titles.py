"""What a catalogue comes down to: titles, and the units of work behind each of its outputs.

    analyse   once per picture        -> face crops and analysis
    render    per stretch and speech  -> the same crops, speaking
    master    per row                 -> the finished file

Each unit is named by everything its result depends on, so a second language reuses the analysis, a changed line
renders only what it touches, and an unchanged row is up to date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.manifest import TitleRow
from flows.version import pinned, stage_version
from flows.workers.fragments import clip_address
from preprocessing.config import ClipConfig, CropConfig, FaceConfig, PreprocessConfig
from preprocessing.media.base import MediaInfo
from shards.commit import Receipt, Unit
from shards.fingerprint import fingerprint

MAX_UNIT_FRAMES = 250
"""The longest stretch rendered, retried and resumed as one."""
BACKENDS = {"mediapipe131": "mediapipe", "ibug68": "face-alignment"}
"""Who finds the landmarks that a checkpoint was trained on."""
MAX_REFERENCE_CLIPS = 8
"""How many stretches of a person are looked through for references, spread evenly over the title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """A row whose files were found, read and named by content."""

    row: TitleRow
    info: MediaInfo
    video_sha256: str
    audio_sha256: str

    @property
    def num_frames(self) -> int:
        return self.info.video.num_frames if self.info.video else 0

    @property
    def least_units(self) -> int:
        """Units to render and master it, as far as can be known before its picture is analysed."""
        return -(-self.num_frames // MAX_UNIT_FRAMES) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What renders: the checkpoint, as far as results depend on it."""

    checkpoint: str
    digest: str
    crop_px: int
    window: str
    topology: str
    features: tuple[str, ...]
    description: str


def analysis_config(voice: Voice) -> PreprocessConfig:
    """Preprocessing as dubbing wants it: every frame at its own time, nothing left out for being short or silent."""
    return PreprocessConfig(
        faces=FaceConfig(backend=BACKENDS[voice.topology]),
        crop=CropConfig(size_px=voice.crop_px, window=voice.window),
        clip=ClipConfig(max_frames=MAX_UNIT_FRAMES, min_frames=1, jpeg_quality=98),
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


def render_units(title: Title, voice: Voice, analysis: Receipt) -> list[Unit]:
    """One unit for each stretch of the face that is to speak."""
    addresses = [clip_address(analysis, entry) for entry in analysis.samples]
    references: dict[str, list[dict[str, Any]]] = {}
    for entry, address in zip(analysis.samples, addresses, strict=True):
        references.setdefault(entry.identity, []).append(address)
    zero_s = str(analysis.details["zero_s"])
    return [
        _render_unit(title, voice, address, spread(references[entry.identity]), zero_s)
        for entry, address in zip(analysis.samples, addresses, strict=True)
    ]


def _render_unit(
    title: Title, voice: Voice, clip: Mapping[str, Any], references: Sequence[Mapping[str, Any]], zero_s: str
) -> Unit:
    row = title.row
    picture = {"clip": clip, "references": references}
    how = {"voice": voice.digest, "seed": row.seed, "steps": row.steps}
    return Unit(
        unit_id=fingerprint(stage_version("render"), title.audio_sha256, picture, how),
        stage="render",
        payload={
            "clip": clip,
            "reference_clips": references,
            "zero_s": zero_s,
            "audio": str(row.audio.resolve()),
            "audio_sha256": title.audio_sha256,
            "seed": row.seed,
            "steps": row.steps,
        },
    )


def spread(clips: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most MAX_REFERENCE_CLIPS of them, evenly spaced."""
    if len(clips) <= MAX_REFERENCE_CLIPS:
        return list(clips)
    picks = np.linspace(0, len(clips) - 1, MAX_REFERENCE_CLIPS).round().astype(int)
    return [clips[i] for i in picks]


def master_unit(title: Title, renders: Sequence[Receipt], edition: int = 0) -> Unit:
    """The finished file: this picture, these rendered stretches, this speech.

    A commit holds for ever and the file it made does not: one that was deleted or changed is made again as a unit of
    its own, the next edition.
    """
    row = title.row
    stretches = [
        {
            "clip": clip_address(receipt, receipt.samples[0]),
            "start_pts": receipt.details["start_pts"],
            "rows": receipt.details["rows"],
        }
        for receipt in renders
    ]
    made_from = {"video": title.video_sha256, "audio": title.audio_sha256, "stretches": stretches}
    return Unit(
        unit_id=fingerprint(stage_version("master"), made_from, row.language, row.output, edition),
        stage="master",
        payload={
            "title_id": row.title_id,
            "video": str(row.video.resolve()),
            "video_sha256": title.video_sha256,
            "audio": str(row.audio.resolve()),
            "audio_sha256": title.audio_sha256,
            "language": row.language,
            "output": row.output,
            "stretches": stretches,
        },
    )
