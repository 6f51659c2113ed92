"""Which frames of an output are encoded together, and which runs of packets are taken from the source as they are.

Owns the two decisions, as pure functions of what is known before anything is encoded: so a plan made again is the same
plan, and only the chunks that a change touches are made anew. `gops.py` says where a source can be cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.encode import PRORES_PROFILES, CodecPolicy
from preprocessing.media.gops import Gop, Structure
from preprocessing.media.nal import free_id
from preprocessing.media.native import FORMATS
from preprocessing.media.probe import picture
from preprocessing.media.tracks import Container

MOST_FRAMES = 250
"""The longest chunk that is encoded, retried and resumed as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Frames [start, stop) of the output."""

    start: int
    stop: int
    is_copied: bool

    def __len__(self) -> int:
        return self.stop - self.start


def plan_chunks(
    touched: NDArray[np.bool_],
    cuts: Sequence[int],
    gops: Sequence[Gop],
    *,
    may_copy: bool,
    most: int = MOST_FRAMES,
    least_copied: int = 25,
) -> tuple[Chunk, ...]:
    """Chunks that cover the output's frames, in order.

    `touched` is (T,): the frame is not the source's; `cuts` are the first frames of shots. Encoded chunks have at most
    `most` frames and end at cuts where one is near. Copied are runs of at least `least_copied` untouched frames (a
    second or so) that begin with a closed group and end with a whole one; all of a title, however its groups are.
    """
    num_frames = len(touched)
    if may_copy and gops and gops[-1].stop == num_frames and not touched.any():
        return (Chunk(start=0, stop=num_frames, is_copied=True),)
    chunks: list[Chunk] = []
    reached = 0
    for start, stop in _copied(touched, gops, least_copied) if may_copy else ():
        chunks += _encoded(reached, start, cuts, most)
        chunks.append(Chunk(start=start, stop=stop, is_copied=True))
        reached = stop
    return (*chunks, *_encoded(reached, num_frames, cuts, most))


def copying(
    info: MediaInfo, policy: CodecPolicy, container: Container, structure: Structure, *, is_untouched: bool
) -> str | None:
    """Why no packet of this title can be taken as it is; None when some may.

    `is_untouched`: the output shows every frame of the source and nothing else. Then nothing has to fit beside it.
    """
    video = picture(info)
    if policy != "match":
        return f"the codec policy {policy} asks for another encode of every frame"
    if video.codec not in container.video:
        return f"{container.muxer} carries no {video.codec}"
    if not structure.gops:
        return "the source's packets and frames are not one to one"
    if is_untouched:
        return None
    if video.pix_fmt not in FORMATS:
        return f"{video.pix_fmt} pictures are written in another layout"
    beside = {"h264": _beside_h264, "hevc": _beside_hevc, "prores": _beside_prores}
    return beside[video.codec](video, structure)


def _beside_h264(video: VideoStream, structure: Structure) -> str | None:
    if video.is_interlaced:
        return "interlaced pictures of two encoders do not stand side by side"
    if not structure.sets:
        return "no parameter sets were found in the source's header or packets"
    if structure.has_changing_sets:
        return "the source's own parameter sets change within the title"
    if free_id(structure.sets) is None:
        return "the source uses every number a parameter set can have"
    return None


def _beside_hevc(video: VideoStream, structure: Structure) -> str | None:
    return "HEVC packets of two encoders cannot share a track: x265 numbers its parameter sets as the source does"


def _beside_prores(video: VideoStream, structure: Structure) -> str | None:
    return None if video.profile in PRORES_PROFILES else f"ProRes of profile {video.profile} is written as another"


def _copied(touched: NDArray[np.bool_], gops: Sequence[Gop], least: int) -> Iterator[tuple[int, int]]:
    """Runs of untouched groups: the first closed, and then whatever follows, as what it refers to is there too."""
    changed = np.concatenate([[0], np.cumsum(touched)])
    run: tuple[int, int] | None = None
    for gop in gops:
        is_free = gop.stop <= len(touched) and changed[gop.stop] == changed[gop.start]
        if is_free and run is not None:
            run = (run[0], gop.stop)
            continue
        if run is not None and run[1] - run[0] >= least:
            yield run
        run = (gop.start, gop.stop) if is_free and gop.is_closed else None
    if run is not None and run[1] - run[0] >= least:
        yield run


def _encoded(start: int, stop: int, cuts: Sequence[int], most: int) -> Iterator[Chunk]:
    """[start, stop) in chunks of at most `most`: up to the last cut that is near enough, else in equal pieces."""
    at = start
    while at < stop:
        end = _end(at, stop, cuts, most)
        yield Chunk(start=at, stop=end, is_copied=False)
        at = end


def _end(at: int, stop: int, cuts: Sequence[int], most: int) -> int:
    if stop - at <= most:
        return stop
    # A cut so near that the chunk would be a scrap is no reason to end there.
    ahead = [cut for cut in cuts if at + most // 4 < cut < stop]
    if near := [cut for cut in ahead if cut <= at + most]:
        return max(near)
    length = min(ahead, default=stop) - at
    pieces = -(-length // most)
    return at + -(-length // pieces)
