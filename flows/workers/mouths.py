"""The new mouths of a title's frames: which are shown, how strongly, and the clips they come from.

Made for a stretch of the title, and asked for its frames in order: in memory are only the clips of the faces that are
on screen just then. Pasting is `preprocessing/compose`, who speaks is casting.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.workers.fragments import read_clip
from preprocessing.compose.mask import steady
from preprocessing.compose.paste import Mouth
from shards.schema import F32, F64, ClipSample
from shards.store import Store

FADE_FRAMES = 4
"""Frames over which a new mouth comes and goes where its turn meets frames in which the face is left as it is."""
Runs = Iterable[Sequence[int]]
"""Half-open ranges of frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A rendered clip in the title, known before it is read."""

    face: str
    clip: Mapping[str, Any]
    seen: Mapping[str, Any] | None
    """The source's own clip, for where its mouth was."""
    start: int
    """Source frame of row 0."""
    rows: tuple[tuple[int, int], ...]
    """Row ranges that were rendered; in the others the face is left as it is."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Stretch:
        rows = tuple((int(a), int(b)) for a, b in entry["rows"])
        return cls(face=entry["face"], clip=entry["clip"], seen=entry["seen"], start=entry["start"], rows=rows)

    @property
    def stop(self) -> int:
        """Source frame after its last rendered row."""
        return self.start + (self.rows[-1][1] if self.rows else 0)

    def has(self, frame: int) -> bool:
        return any(first <= frame - self.start < stop for first, stop in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Open:
    """A stretch that is on screen."""

    stretch: Stretch
    clip: ClipSample
    made: F32
    seen: F32 | None


class Mouths:
    """The mouths of source frames [first, stop)."""

    def __init__(
        self,
        store: Store,
        stretches: Iterable[Mapping[str, Any]],
        faces: Mapping[str, Runs],
        cuts: Iterable[int],
        first: int,
        stop: int,
    ) -> None:
        """`faces` are the frames in which each is rendered, FADE_FRAMES around included; `cuts` begin shots."""
        self._store, self.first = store, first
        self._ahead = deque(sorted(map(Stretch.of, stretches), key=lambda s: (s.start, s.face)))
        self._open: list[_Open] = []
        low, high = first - FADE_FRAMES, stop + FADE_FRAMES
        inside = [cut - low for cut in cuts if low < cut < high]
        fades = {face: fade(_flags(runs, low, high), inside) for face, runs in faces.items()}
        self._opacity = {face: whole[FADE_FRAMES : FADE_FRAMES + stop - first] for face, whole in fades.items()}
        self.opacity: F64 = np.max([np.zeros(stop - first), *self._opacity.values()], axis=0)
        """(stop - first,) of the face that is shown most; 0 where a frame stays as it is."""

    def on(self, frame: int) -> list[tuple[Stretch, Mouth]]:
        """The faces rendered in this frame; frames are asked for in order."""
        self._open = [each for each in self._open if frame < each.stretch.stop]
        while self._ahead and self._ahead[0].start <= frame:
            stretch = self._ahead.popleft()
            if frame < stretch.stop:
                self._open.append(self._read(stretch))
        return [(each.stretch, self._mouth(each, frame)) for each in self._open if each.stretch.has(frame)]

    def box(self, frame: int) -> F64:
        """(4,) left, top, right, bottom around the crops of the faces in this frame, source px; NaN without any."""
        shown = [mouth for _, mouth in self.on(frame)]
        if not shown:
            return np.full(4, np.nan)
        side = len(shown[0].crop_rgb) - 1
        corners = np.array([[0, 0], [side, 0], [0, side], [side, side]], dtype=np.float64)
        points = np.concatenate([(corners - m.matrix[:, 2]) @ np.linalg.inv(m.matrix[:, :2]).T for m in shown])
        return np.concatenate([points.min(axis=0), points.max(axis=0)])

    def _read(self, stretch: Stretch) -> _Open:
        clip = read_clip(self._store, stretch.clip)
        own = None if stretch.seen is None else steady(read_clip(self._store, stretch.seen).landmarks.points)
        return _Open(stretch=stretch, clip=clip, made=steady(clip.landmarks.points), seen=own)

    def _mouth(self, shown: _Open, frame: int) -> Mouth:
        row, clip = frame - shown.stretch.start, shown.clip
        return Mouth(
            crop_rgb=clip.frames[row],
            matrix=clip.transform.matrices[row],
            window=clip.transform.window,
            seen=None if shown.seen is None else shown.seen[row],
            made=shown.made[row],
            topology=clip.landmarks.topology,
            opacity=float(self._opacity[shown.stretch.face][frame - self.first]),
        )


def fade(shown: NDArray[np.bool_], cuts: Sequence[int] = ()) -> F64:
    """(T,) opacity: 0 outside, rising over FADE_FRAMES from every border to an untouched frame.

    A cut to another shot is no such border, and neither are the ends.
    """
    bounds = [0, *sorted(set(cuts)), len(shown)]
    return np.concatenate([_faded(shown[a:b]) for a, b in itertools.pairwise(bounds)])


def _faded(shown: NDArray[np.bool_]) -> F64:
    frames = np.arange(len(shown), dtype=np.float64)
    untouched = np.flatnonzero(~shown)
    if len(untouched) == 0:
        return np.ones(len(shown))
    after = np.searchsorted(untouched, frames)
    before = np.where(after > 0, frames - untouched[np.maximum(after - 1, 0)], np.inf)
    behind = np.where(after < len(untouched), untouched[np.minimum(after, len(untouched) - 1)] - frames, np.inf)
    opacity: F64 = np.minimum(np.minimum(before, behind) / (FADE_FRAMES + 1), 1.0) * shown
    return opacity


def _flags(runs: Runs, low: int, high: int) -> NDArray[np.bool_]:
    flags = np.zeros(high - low, dtype=bool)
    for start, stop in runs:
        flags[max(start - low, 0) : max(stop - low, 0)] = True
    return flags
