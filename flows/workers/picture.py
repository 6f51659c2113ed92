"""Dubbing's encoders: a chunk of a title's frames, the rendered mouths in it -> an encoded piece of the picture.

Only the mouth region of rendered frames is touched, at the source's own depth. What is known of a source file is kept
between chunks, because those of one title come one after the other; putting them together is `master.py`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from flows.workers.fragments import need_planned
from flows.workers.mouths import Mouths, Stretch
from preprocessing.compose.paste import Mouth, compose
from preprocessing.compose.seam import seam_contrast
from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.encode import ChunkWriter, EncodeConfig, encoding_for
from preprocessing.media.gops import Habits
from preprocessing.media.native import NativeFrame, NativeSource, native_video
from preprocessing.media.probe import picture, probe_with_times
from shards.commit import Claim, Ledger, Receipt
from shards.schema import FrameTimes
from shards.store import open_store

PIECE_SUFFIX = ".mov"
SEAM_EVERY = 25
"""Frames of a stretch from one look at its border to the next."""
SOURCES_KEPT = 2


class PictureWorker:
    """Composes and encodes one chunk at a time, in constant memory."""

    def __init__(self, store_uri: str, config: Mapping[str, Any]) -> None:
        self._store_uri, self._config = store_uri, EncodeConfig.model_validate(config)

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))
        self._described = lru_cache(maxsize=SOURCES_KEPT)(_described)

    def process(self, item: Claim) -> Receipt:
        payload = item.unit.payload
        path = Path(payload["video"])
        found = path.stat() if path.is_file() else None
        stamp = (found.st_size, found.st_mtime_ns) if found else None
        info, times = self._described(path, payload["video_sha256"], stamp)
        with tempfile.TemporaryDirectory(prefix="dubwright-picture-") as scratch:
            made = self._encode(payload, info, times, Path(scratch, f"piece{PIECE_SUFFIX}"))
            piece = self._ledger.put_object(item, made.path, PIECE_SUFFIX)
        receipt = Receipt(unit_id=item.unit.unit_id, stage=item.unit.stage, objects=(piece,), details=made.details)
        return self._ledger.commit(item, receipt)

    def close(self) -> None:
        """Nothing is held between units but what is known of their sources."""

    def _encode(self, payload: Mapping[str, Any], info: MediaInfo, times: FrameTimes, out: Path) -> _Made:
        start, stop = payload["start"], payload["stop"]
        first, last = source_range(start, stop, len(times))
        mouths = Mouths(self._ledger.store, payload["stretches"], payload["faces"], payload["cuts"], first, last)
        encoding = encoding_for(info, self._config, payload["codec_policy"], Habits(**payload["habits"]))
        native = NativeSource(info.path, info, times=times)
        seams, video = _Seams(native_video(picture(info))), native_video(picture(info))
        with ChunkWriter(out, info, start, stop, encoding=encoding, config=self._config) as writer:
            for frame in _held((_composed(f, mouths, video, seams) for f in native.frames(first, last)), start, stop):
                writer.write(frame)
            writer.finish()
        details = {
            "frames": stop - start,
            "rendered_frames": int((mouths.opacity > 0).sum()),
            "codec": encoding.codec,
            "encoder": encoding.encoder,
            "notes": list(encoding.notes),
            "seams": seams.told(first, last),
        }
        return _Made(path=out, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A piece, and what its receipt says of it."""

    path: Path
    details: dict[str, Any]


@dataclass(slots=True)
class _Seams:
    """How visible the borders of the new mouths are, looked at now and then where they are whole."""

    video: VideoStream
    worst: dict[tuple[str, int], float] = field(default_factory=dict)
    stretches: dict[tuple[str, int], Stretch] = field(default_factory=dict)
    looked: dict[tuple[str, int], int] = field(default_factory=dict)

    def look(self, before: NativeFrame, after: NativeFrame, stretch: Stretch, mouth: Mouth) -> None:
        which = stretch.face, stretch.start
        if mouth.opacity < 1.0 or before.index - self.looked.get(which, -SEAM_EVERY) < SEAM_EVERY:
            return
        contrast = seam_contrast(before, after, mouth, self.video)
        self.worst[which] = max(contrast, self.worst.get(which, 0.0))
        self.stretches[which], self.looked[which] = stretch, before.index

    def told(self, first: int, stop: int) -> list[dict[str, Any]]:
        """The worst of each stretch, with the frames of this chunk that it was looked at in."""
        return [
            {
                "start": max(first, stretch.start + stretch.rows[0][0]),
                "stop": min(stop, stretch.stop),
                "contrast": round(self.worst[which], 3),
            }
            for which, stretch in self.stretches.items()
        ]


def source_range(start: int, stop: int, num_frames: int) -> tuple[int, int]:
    """The source's frames that the output's [start, stop) show: after its last, that one is held."""
    return min(start, num_frames - 1), min(stop, num_frames)


def _described(path: Path, sha256: str, stamp: tuple[int, int] | None) -> tuple[MediaInfo, FrameTimes]:
    """Read and checked against what was planned; `stamp` is size and time, with which a changed file is read again."""
    need_planned(path, sha256)
    info, times = probe_with_times(path)
    if times is None:
        raise ValueError(f"{path.name} was planned as a title and has no picture")
    return info, times


def _composed(frame: NativeFrame, mouths: Mouths, video: VideoStream, seams: _Seams) -> NativeFrame:
    shown = mouths.on(frame.index)
    after = compose(frame, [mouth for _, mouth in shown], video)
    for stretch, mouth in shown:
        seams.look(frame, after, stretch, mouth)
    return after


def _held(frames: Iterator[NativeFrame], start: int, stop: int) -> Iterator[NativeFrame]:
    """The output's frames [start, stop), each under its own number; the last one lasts."""
    last = None
    for number in range(start, stop):
        last = next(frames, last)
        if last is None:
            raise ValueError(f"there is no frame to show as {number}")
        yield dataclasses.replace(last, index=number)
