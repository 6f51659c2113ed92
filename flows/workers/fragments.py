"""From a video file to a committed fragment of clips: the part that preprocessing and dubbing share.

Training footage is read normalised (25 fps, limited size); a title to be dubbed is read as it is. All else is the same
code, which is what makes training and dubbing agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis
from preprocessing.faces.keep import CropStore
from preprocessing.media.base import FrameSource, MediaInfo
from preprocessing.media.speech import read_speech
from shards.codec import decode_clip
from shards.commit import Receipt, SampleEntry
from shards.errors import DubwrightError
from shards.fingerprint import file_sha256
from shards.schema import ClipSample, Rejection, Speech
from shards.store import Store
from shards.tar import run_members
from shards.writer import Fragment, FragmentWriter

SOUND_AFTER_S = 2
"""Sound that is read after the last frame: as far as it may be out of step, and what features look ahead."""


class SourceChanged(DubwrightError):
    """A file is gone or another than was planned. Nothing is committed: the unit's content was never looked at."""


def need_planned(path: Path, sha256: str) -> None:
    """Refuses a file that is not, byte for byte, the one the unit was planned for."""
    if not path.is_file():
        raise SourceChanged(f"{path} is not there any more; put it back, or run again without it")
    if file_sha256(path) != sha256:
        raise SourceChanged(f"{path} changed after it was planned; run again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What one source gave."""

    analysis: Analysis
    fragment: Fragment | None
    """None when not one clip was cut."""
    rejections: tuple[Rejection, ...]


def original_speech(path: Path, info: MediaInfo, source: FrameSource, rate_hz: int) -> Speech | None:
    """The source's own sound on its picture's clock (zero at the first frame), or None when it has none."""
    if not info.audio:
        return None
    first, last = source.times.at(0).seconds, source.times.at(-1).seconds
    return read_speech(path, rate_hz=rate_hz, zero_s=first, end_s=last + SOUND_AFTER_S)


def extract(
    source: FrameSource,
    speech: Speech | None,
    tools: ClipTools,
    config: PreprocessConfig,
    *,
    source_sha256: str,
    source_name: str,
    code_version: str,
    out: Path,
    language: str | None = None,
    identity: str | None = None,
) -> Extracted:
    """Analyses `source` and writes its clips to the tar `out`; `identity` names who is seen in all of them."""
    with CropStore(out.parent) as crops:
        analysis = analyse(source, tools.backend, config, crops=crops)
        parts = cut_clips(
            analysis,
            source,
            speech,
            tools,
            config,
            source_sha256=source_sha256,
            source_name=source_name,
            code_version=code_version,
            language=language,
            crops=crops,
        )
        fragment, rejections = write_fragment(_named(parts, identity), out, jpeg_quality=config.clip.jpeg_quality)
    return Extracted(analysis=analysis, fragment=fragment, rejections=(*analysis.rejections, *rejections))


def _named(parts: Iterable[ClipSample | Rejection], identity: str | None) -> Iterator[ClipSample | Rejection]:
    """A person whom somebody named keeps that name in every source; a face is only known within its own."""
    for part in parts:
        yield dataclasses.replace(part, identity=identity) if identity and isinstance(part, ClipSample) else part


def write_fragment(
    parts: Iterable[ClipSample | Rejection], out: Path, *, jpeg_quality: int
) -> tuple[Fragment | None, list[Rejection]]:
    """Clips go to the tar as they come, one in memory at a time; rejections are gathered."""
    rejections: list[Rejection] = []
    with FragmentWriter(out, jpeg_quality=jpeg_quality) as writer:
        entries = 0
        for part in parts:
            if isinstance(part, Rejection):
                rejections.append(part)
            else:
                writer.add(part)
                entries += 1
        return (writer.seal() if entries else None), rejections


def read_clip(store: Store, entry: Mapping[str, Any]) -> ClipSample:
    """A clip of a committed fragment, by ranged read; `entry` is `clip_address`'s."""
    run = store.read_range(entry["object"], entry["offset"], entry["size_bytes"])
    return decode_clip(entry["key"], run_members(entry["key"], run))


def clip_address(receipt: Receipt, entry: SampleEntry) -> dict[str, Any]:
    """Where a committed clip lies, in plain values that fit a unit's payload."""
    return {
        "object": receipt.objects[0].path,
        "key": entry.key,
        "offset": entry.offset,
        "size_bytes": entry.size_bytes,
    }
