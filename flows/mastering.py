"""How a row's picture is cut into chunks, and the units that encode them and finish the file.

    picture   per chunk  -> an encoded piece of the picture
    master    per row    -> the finished file

A picture unit is named by what its bytes depend on: the source, its frames, the rendered mouths in them, and how it is
encoded. So a changed line encodes only the chunks that it is seen in, and two rows that differ in sound alone share all
of them. What is copied from the source is no unit at all.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.casting import runs
from flows.title import Title, Voice
from flows.version import stage_version
from flows.workers.fragments import clip_address
from flows.workers.master import finished_times
from flows.workers.mouths import FADE_FRAMES
from flows.workers.picture import source_range
from preprocessing.faces.base import Analysis
from preprocessing.media.base import VideoStream
from preprocessing.media.chunks import Chunk, copying, plan_chunks
from preprocessing.media.encode import EncodeConfig
from preprocessing.media.gops import Structure
from preprocessing.media.probe import picture
from preprocessing.media.tracks import container_for
from shards.commit import Receipt, Unit
from shards.fingerprint import fingerprint, plain
from shards.schema import FrameTimes

if TYPE_CHECKING:
    from flows.dubbing.config import DubConfig

STRUCTURE = "structure"
"""Under this name the receipt of an analysis keeps `Structure.plain()`."""
_SHAPES_BYTES = {"h264_crf", "hevc_crf", "review_crf", "preset"}
"""Of `EncodeConfig`; the rest is patience."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturePlan:
    """What is to become of a row's frames."""

    chunks: tuple[Chunk, ...]
    why_not_copied: str | None
    """None where something is copied."""
    stretches: tuple[dict[str, Any], ...]
    """Rendered clips, as `workers/mouths.Stretch` reads them."""
    shown: Mapping[str, NDArray[np.bool_]]
    """Face -> (n,) the source's frames in which it is rendered; n is what the output shows of them."""
    cuts: tuple[int, ...]
    structure: Structure

    @property
    def generated(self) -> list[tuple[int, int]]:
        """Ranges of the output's frames in which something is rendered; a held last frame is as it was."""
        if not self.shown:
            return []
        flags = np.any(list(self.shown.values()), axis=0)
        held = np.full(self.chunks[-1].stop - len(flags), flags[-1])
        return runs(np.concatenate([flags, held]))

    def faces(self, first: int, stop: int) -> dict[str, list[list[int]]]:
        """Where each face is rendered around these frames: as far as the fade of one of them can reach."""
        low = max(first - FADE_FRAMES, 0)
        near = {face: flags[low : stop + FADE_FRAMES] for face, flags in self.shown.items()}
        return {face: [[a + low, b + low] for a, b in runs(flags)] for face, flags in near.items() if flags.any()}


def picture_plan(title: Title, analysis: Analysis, analysed: Receipt, rendered: Sequence[Receipt]) -> PicturePlan:
    """`analysed` is the commit of the analysis, `rendered` those of the clips that were drawn."""
    row, video, times = title.row, picture(title.info), analysis.times
    num_frames = len(_output_times(title, times))
    structure = Structure.of(analysed.details.get(STRUCTURE, {"gops": [], "sets": []}))
    stretches = tuple(_stretch(receipt, analysed, times) for receipt in rendered)
    shown = _shown(stretches, min(num_frames, len(times)))
    touched = np.zeros(num_frames, dtype=bool)
    for flags in shown.values():
        touched[: len(flags)] |= flags
    cuts = tuple(shot.start for shot in analysis.shots if shot.start > 0)
    is_untouched = num_frames == len(times) and not touched.any()
    container = container_for(Path(row.output))
    why = copying(title.info, row.codec_policy, container, structure, is_untouched=is_untouched)
    chunks = plan_chunks(touched, cuts, structure.gops, may_copy=why is None, least_copied=_frames_a_second(video))
    if why is None and not any(chunk.is_copied for chunk in chunks):
        why = "no second of untouched frames begins with a closed group of pictures and ends with a whole one"
    return PicturePlan(
        chunks=chunks, why_not_copied=why, stretches=stretches, shown=shown, cuts=cuts, structure=structure
    )


def picture_units(
    title: Title, analysis: Analysis, analysed: Receipt, rendered: Sequence[Receipt], encode: EncodeConfig
) -> list[Unit]:
    """One unit for each chunk that is encoded, in the order of the picture."""
    plan = picture_plan(title, analysis, analysed, rendered)
    return [
        _picture_unit(title, plan, chunk, encode, len(analysis.times)) for chunk in plan.chunks if not chunk.is_copied
    ]


def master_unit(
    title: Title,
    voice: Voice,
    analysis: Analysis,
    analysed: Receipt,
    rendered: Sequence[Receipt],
    encoded: Sequence[Receipt],
    config: DubConfig,
    edition: int = 0,
    *,
    stems: Sequence[Mapping[str, str]] = (),
    adapted: str | None = None,
) -> Unit:
    """The finished file: this picture, this speech, whatever else the row asks for.

    `stems` ({name, sha256}) were heard by single speakers, `adapted` is the object with what the title taught the
    model: neither changes the file, but it must be told what it was made from.
    `encoded` are the commits of `picture_units`, in their order. A commit holds for ever and the file it made does not:
    one that was deleted or changed is made again as a unit of its own, the next edition.
    """
    plan = picture_plan(title, analysis, analysed, rendered)
    pieces = iter(encoded)
    chunks = [
        {"start": c.start, "stop": c.stop, "object": None if c.is_copied else next(pieces).objects[0].path}
        for c in plan.chunks
    ]
    columns = _columns(title)
    told = {
        "provenance": title.row.provenance,
        "consent_ref": title.row.consent_ref,
        "models": [voice.digest, *([adapted] if adapted else [])] if plan.stretches else [],
        "speech": [{"name": title.row.audio.name, "sha256": title.audio_sha256}, *stems],
        "generated": [list(each) for each in plan.generated],
        "signing": plain(config.signing.model_dump(exclude_none=True)) if title.row.provenance == "c2pa" else {},
    }
    made_from = {"video": title.video_sha256, "audio": title.audio_sha256, "chunks": chunks}
    return Unit(
        unit_id=fingerprint(stage_version("master"), made_from, columns, told, edition),
        stage="master",
        payload={
            **columns,
            **told,
            "video": str(title.row.video.resolve()),
            "video_sha256": title.video_sha256,
            "audio": str(title.row.audio.resolve()),
            "audio_sha256": title.audio_sha256,
            "chunks": chunks,
            "seams": [seam for receipt in encoded for seam in receipt.details.get("seams", ())],
            "why_not_copied": plan.why_not_copied,
            "stretches": list(plan.stretches),
            "faces": plan.faces(0, len(analysis.times)),
            "cuts": list(plan.cuts),
            "habits": asdict(plan.structure.habits),
            "sets": [each.hex() for each in plan.structure.sets],
        },
    )


def _picture_unit(title: Title, plan: PicturePlan, chunk: Chunk, encode: EncodeConfig, num_frames: int) -> Unit:
    first, stop = source_range(chunk.start, chunk.stop, num_frames)
    made_from = {
        "video_sha256": title.video_sha256,
        "start": chunk.start,
        "stop": chunk.stop,
        "stretches": [part for each in plan.stretches if (part := _within(each, first, stop)) is not None],
        "faces": plan.faces(first, stop),
        "cuts": [cut for cut in plan.cuts if first - FADE_FRAMES < cut < stop + FADE_FRAMES],
        "codec_policy": title.row.codec_policy,
        "habits": asdict(plan.structure.habits),
    }
    how = encode.model_dump(include=_SHAPES_BYTES)
    return Unit(
        unit_id=fingerprint(stage_version("picture"), made_from, how),
        stage="picture",
        payload={**made_from, "video": str(title.row.video.resolve())},
    )


def _columns(title: Title) -> dict[str, Any]:
    """What the row asks of the file."""
    row = title.row
    tracks = {"keep_audio": row.keep_audio, "dub_default": row.dub_default, "subtitles": row.subtitle_policy}
    return {
        "title_id": row.title_id,
        "language": row.language,
        "output": row.output,
        "codec_policy": row.codec_policy,
        "tracks": tracks,
        **_sound_columns(title),
    }


def _sound_columns(title: Title) -> dict[str, Any]:
    row = title.row
    return {
        "audio_stream": row.audio_stream,
        "audio_offset_ms": row.audio_offset_ms,
        "duration_policy": row.duration_policy,
    }


def _output_times(title: Title, times: FrameTimes) -> FrameTimes:
    """Of titles whose length follows the speech, the speech is measured once a run."""
    row = title.row
    if row.duration_policy in ("cut", "freeze"):
        return _measured(title.audio_sha256, row.audio, tuple(_sound_columns(title).items()), _Times(times))
    return times


class _Times:
    """Frame times as a key: equal where the frames are."""

    def __init__(self, times: FrameTimes) -> None:
        self.times = times
        self._key = (times.base, times.pts.tobytes())

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Times) and self._key == other._key


@functools.lru_cache(maxsize=64)
def _measured(audio_sha256: str, audio: Path, columns: tuple[tuple[str, Any], ...], times: _Times) -> FrameTimes:
    return finished_times(times.times, audio, dict(columns))


def _stretch(receipt: Receipt, analysed: Receipt, times: FrameTimes) -> dict[str, Any]:
    """A rendered clip, and the source's own of the same frames."""
    entry = receipt.samples[0]
    own = next((clip_address(analysed, each) for each in analysed.samples if each.key == entry.key), None)
    return {
        "face": entry.identity,
        "clip": clip_address(receipt, entry),
        "seen": own,
        "start": int(np.searchsorted(times.pts, receipt.details["start_pts"])),
        "rows": receipt.details["rows"],
    }


def _shown(stretches: Sequence[Mapping[str, Any]], num_frames: int) -> dict[str, NDArray[np.bool_]]:
    found: dict[str, NDArray[np.bool_]] = {}
    for each in stretches:
        flags = found.setdefault(each["face"], np.zeros(num_frames, dtype=bool))
        for start, stop in each["rows"]:
            flags[each["start"] + start : each["start"] + stop] = True
    return {face: flags for face, flags in sorted(found.items()) if flags.any()}


def _within(stretch: Mapping[str, Any], first: int, stop: int) -> dict[str, Any] | None:
    """The stretch as far as it is seen in source frames [first, stop); None where it is not."""
    at = stretch["start"]
    rows = [[max(a, first - at), min(b, stop - at)] for a, b in stretch["rows"]]
    rows = [[a, b] for a, b in rows if a < b]
    return {**stretch, "rows": rows} if rows else None


def _frames_a_second(video: VideoStream) -> int:
    return max(1, round(video.frame_rate))
