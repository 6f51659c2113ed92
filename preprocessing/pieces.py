"""Pieces: the stretches of tracks that become clips, with the crops that the first read kept, or from a second read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from preprocessing.config import ClipConfig
from preprocessing.errors import Unusable
from preprocessing.faces.base import AlignedTrack
from preprocessing.faces.crop import crop_frame
from preprocessing.faces.keep import CropStore
from preprocessing.faces.stretches import span_of
from preprocessing.media.base import FrameSource
from shards.fingerprint import fingerprint
from shards.schema import U8, FrameTimes, Rejection


@dataclass(slots=True, kw_only=True)
class Piece:
    """A stretch of a track that becomes one clip: frames [start, stop) of the source."""

    number: int
    """Of the track in the analysis."""
    aligned: AlignedTrack
    start: int
    stop: int
    crops: list[U8] = field(default_factory=list)

    def rows(self) -> slice:
        return slice(self.start - self.aligned.track.start, self.stop - self.aligned.track.start)

    def key(self, source_sha256: str, times: FrameTimes) -> str:
        """Of the clip that it becomes: whoever has the analysis knows its clips by name."""
        return fingerprint(source_sha256, span_of(times, self.start, self.stop), self.number)[:32]


def pieces_of(tracks: Sequence[AlignedTrack], config: ClipConfig) -> list[Piece]:
    """Every track in equal pieces of at most `max_frames`, in order of time: an even cut leaves no short remainder."""
    pieces = []
    for number, aligned in enumerate(tracks):
        start, stop = aligned.track.start, aligned.track.stop
        count = -(-(stop - start) // config.max_frames)
        bounds = [start + (stop - start) * i // count for i in range(count + 1)]
        pieces += [Piece(number=number, aligned=aligned, start=a, stop=b) for a, b in itertools.pairwise(bounds)]
    return sorted(pieces, key=lambda p: (p.start, p.number))


def cropped(pieces: Sequence[Piece], source: FrameSource, kept: CropStore | None = None) -> Iterator[Piece | Rejection]:
    """Each piece with its crops; only pieces that overlap in time are in memory together."""
    to_read: list[Piece] = []
    for piece in pieces:
        if kept is None or not kept.has(piece.number):
            to_read.append(piece)
            continue
        rows = piece.rows()
        piece.crops += kept.rows(piece.number, rows.start, rows.stop, piece.aligned.transform.size_px)
        yield piece
        piece.crops.clear()
    yield from _read(to_read, source)


def _read(pieces: Sequence[Piece], source: FrameSource) -> Iterator[Piece | Rejection]:
    """Each piece once its crops are complete, from one read of the pictures."""
    if not pieces:
        return
    waiting = list(pieces)
    try:
        for frame in source.frames(waiting[0].start, max(p.stop for p in waiting)):
            for piece in [p for p in waiting if p.start <= frame.index]:
                transform = piece.aligned.transform
                matrix = transform.matrices[frame.index - piece.aligned.track.start]
                piece.crops.append(crop_frame(frame.rgb, matrix, transform.size_px))
                if frame.index + 1 == piece.stop:
                    waiting.remove(piece)
                    yield piece
                    # The caller's list of pieces lives on: their crops must not.
                    piece.crops.clear()
        if waiting:
            raise RuntimeError(f"{source.info.path.name} ended before frame {waiting[0].stop}, and gave no reason")
    except Unusable as unusable:
        for piece in waiting:
            yield dataclasses.replace(unusable.rejection, span=span_of(source.times, piece.start, piece.stop))


def people_at_once(tracks: Sequence[AlignedTrack], start: int, stop: int) -> int:
    """The most tracks that any of the source's frames [start, stop) belongs to."""
    present = np.zeros(stop - start, dtype=np.int64)
    for aligned in tracks:
        present[max(aligned.track.start - start, 0) : max(aligned.track.stop - start, 0)] += 1
    return int(present.max())


def too_short(piece: Piece, times: FrameTimes, min_frames: int) -> Rejection:
    count = piece.stop - piece.start
    return Rejection(
        code="too_short",
        detail=f"the face is followed for {count} frames only, {min_frames} are needed",
        value=count,
        threshold=min_frames,
        span=span_of(times, piece.start, piece.stop),
    )
