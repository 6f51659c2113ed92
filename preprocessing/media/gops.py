"""The groups of pictures of a source, from its packets: where it can be cut without decoding it.

Owns the reading of packets: which frame each of them shows, where a decoder may enter, and which parameter sets there
are. What is copied is decided by `chunks.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.errors import Unusable
from preprocessing.media.base import MediaInfo
from preprocessing.media.demux import WITH_UNITS, opened, packets
from preprocessing.media.nal import Framing, free_id, is_closed_entry, parameter_sets, set_id
from preprocessing.media.probe import picture
from shards.schema import I64, FrameTimes

logger = logging.getLogger(__name__)

INTRA = ("prores", "dnxhd", "mjpeg", "ffv1", "v210", "rawvideo")
"""Codecs in which every frame stands for itself."""
_NOT_SHOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gop:
    """Frames [start, stop) in display order, whose packets stand together."""

    start: int
    stop: int
    is_closed: bool
    """Begins with an IDR (or an intra codec's frame): neither it nor what follows refers to anything before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What an encode goes by whose packets are to stand beside the source's."""

    longest_group: int | None = None
    """Frames; None leaves it to the encoder."""
    set_number: int = 0
    """Which number our H.264 parameter sets take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What there is to know of a source for copying parts of it."""

    gops: tuple[Gop, ...]
    """In display order, covering every frame once; empty where packets and frames are not one to one."""
    sets: tuple[bytes, ...] = ()
    """The H.264 parameter sets of the header and of every packet, each once."""

    @property
    def habits(self) -> Habits:
        longest = max((g.stop - g.start for g in self.gops), default=None)
        return Habits(longest_group=longest, set_number=free_id(self.sets) or 0)

    @property
    def has_changing_sets(self) -> bool:
        """Two parameter sets share a number: the title was itself joined from several encodes."""
        return len({set_id(s) for s in self.sets}) != len(self.sets)

    def plain(self) -> dict[str, Any]:
        """As a record keeps it: runs of equal groups as [frames, is closed, how many]."""
        runs = groupby((g.stop - g.start, g.is_closed) for g in self.gops)
        return {"gops": [[*group, len(list(same))] for group, same in runs], "sets": [s.hex() for s in self.sets]}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Structure:
        """What `plain` said."""
        found, at = [], 0
        for length, is_closed, count in plain["gops"]:
            for _ in range(count):
                found.append(Gop(start=at, stop=at + length, is_closed=is_closed))
                at += length
        return cls(gops=tuple(found), sets=tuple(bytes.fromhex(s) for s in plain["sets"]))


@dataclass(slots=True, kw_only=True)
class _Heads:
    """What the packets showed as they went by."""

    pts: list[int | None] = field(default_factory=list)
    entries: list[tuple[int, bool]] = field(default_factory=list)
    """(packet, whether it is closed) of every key frame."""
    sets: dict[bytes, None] = field(default_factory=dict)


def gops(path: Path, info: MediaInfo, times: FrameTimes) -> tuple[Gop, ...]:
    """The source's groups of pictures in display order."""
    return read_structure(path, info, times).gops


def read_structure(path: Path, info: MediaInfo, times: FrameTimes) -> Structure:
    """Reads every packet once; nothing is decoded. A file that breaks off has frames, but no groups to copy."""
    try:
        heads = _read(path, info)
    except Unusable as unusable:
        logger.info("%s: nothing of it can be copied: %s", path.name, unusable)
        return Structure(gops=())
    places = _placed(heads.pts, times)
    return Structure(gops=_grouped(places, heads.entries, len(times)), sets=tuple(heads.sets))


def places(path: Path, info: MediaInfo, times: FrameTimes) -> I64:
    """For each packet in decoding order, the frame it shows; -1 for one that is not shown."""
    with opened(path) as container:
        return _placed([p.pts for p in packets(container, picture(info).index)], times)


def _read(path: Path, info: MediaInfo) -> _Heads:
    codec, heads = picture(info).codec, _Heads()
    with opened(path) as container:
        context = container.streams[picture(info).index].codec_context
        framing = Framing.of(codec, context.extradata) if codec in WITH_UNITS else None
        heads.sets.update(dict.fromkeys(framing.sets if framing else ()))
        for number, packet in enumerate(packets(container, picture(info).index)):
            heads.pts.append(packet.pts)
            units = list(framing.units(bytes(packet))) if framing else []
            if codec == "h264":
                heads.sets.update(dict.fromkeys(parameter_sets(units)))
            if packet.is_keyframe or codec in INTRA:
                heads.entries.append((number, codec in INTRA or is_closed_entry(codec, units)))
    return heads


def _placed(pts: Sequence[int | None], times: FrameTimes) -> I64:
    known = np.array([_NOT_SHOWN if p is None else p for p in pts], dtype=np.int64)
    found = np.minimum(np.searchsorted(times.pts, known), len(times) - 1).astype(np.int64)
    is_shown = np.array([p is not None for p in pts], dtype=bool) & (times.pts[found] == known)
    return np.where(is_shown, found, _NOT_SHOWN)


def _grouped(places: I64, entries: Sequence[tuple[int, bool]], num_frames: int) -> tuple[Gop, ...]:
    """Groups from entry to entry. One whose frames do not stand together in display order joins the one before."""
    if not np.array_equal(np.sort(places[places >= 0]), np.arange(num_frames)):
        return ()
    bounds = [*(number for number, _ in entries), len(places)]
    found: list[Gop] = []
    for (first, is_closed), stop in zip(entries, bounds[1:], strict=True):
        group = places[first:stop]
        shown = group[group >= 0]
        if not len(shown):
            continue
        begin, end = int(shown.min()), int(shown.max()) + 1
        reached = found[-1].stop if found else 0
        # A packet that is decoded and not shown would be shown in a copy: such a group is no place to enter.
        is_closed = is_closed and len(shown) == len(group)
        if begin == reached and end - begin == len(shown):
            found.append(Gop(start=begin, stop=end, is_closed=is_closed))
        else:
            before = found.pop() if found else Gop(start=0, stop=0, is_closed=False)
            found.append(Gop(start=before.start, stop=max(end, reached), is_closed=before.is_closed and is_closed))
    return tuple(found)
