"""Who is who within one source: tracks of later shots get the name of the person they look like.

A look is a map of the upper face's edges: gradient directions in small cells of the mean aligned picture (Dalal and
Triggs 2005). Light and colour change it little. It is no face recognition: alike make-up and hair join people in a
large studio cast, and strong turns or years split one person. A recognition net can replace this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from preprocessing.faces.crop import crop_frame
from preprocessing.faces.pose import head_pose
from shards.crop import CropWindow
from shards.schema import F32, F64, U8
from shards.topology import topology

_LOOK_PX, _CELL_PX, _DIRECTIONS = 48, 6, 8
# Hair line to upper lip, ear to ear: neither talking nor the background changes the look much.
_UPPER_FACE = CropWindow(name="look", centre=(0.0, 0.1), side=1.9, mask_box=(-1.0, -1.0, 1.0, 1.0), mask_radius=0.0)
_FLAT = 20.0
"""Gradient (grey levels) that a cell must exceed to count as more than flat skin."""
_EVERY = 5
"""Only every so many seen frames are looked at; a look changes slowly."""
SAME_PERSON = 0.82
"""Correlation of looks from which two tracks are one person. Chosen on halves of clips, nothing held out: of 11 GRID
speakers none were joined and one was split in two; of 74 files 6 groups were joined, most of them one person by eye,
and one file was split. Footage unlike that will do worse."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What a face looks like, apart from its mouth."""

    edges: F32
    """(8 * 8 * 8,) float32: share of each gradient direction in each cell; mean 0 and length 1, or all 0."""

    def likeness(self, other: Look) -> float:
        """Correlation in [-1, 1]."""
        return float(self.edges @ other.edges)


class LookBuilder:
    """Gathers one track's look while its frames pass; of the upper face, which talking does not change."""

    def __init__(self, topology_name: str, window: CropWindow = _UPPER_FACE) -> None:
        self._topology, self._window = topology(topology_name), window
        self._sum: F64 = np.zeros((_LOOK_PX, _LOOK_PX))
        self._offered = self._added = 0

    def add(self, rgb: U8, points: F32) -> None:
        self._offered += 1
        if self._offered % _EVERY != 1:
            return
        pose = head_pose(points[None], self._topology)
        a = complex(1 / pose.c[0])
        b = -a * complex(pose.d[0])
        if not np.isfinite(a):
            return
        to_look = self._window.matrix(_LOOK_PX)
        matrix = to_look[:, :2] @ np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
        matrix[:, 2] += to_look[:, 2]
        self._sum += cv2.cvtColor(crop_frame(rgb, matrix, _LOOK_PX), cv2.COLOR_RGB2GRAY)
        self._added += 1

    def look(self) -> Look:
        return Look(edges=_unit(_edges(self._sum / max(self._added, 1))))


def _edges(grey: F64) -> F64:
    """(512,): of each cell, the root of each direction's share of its gradient."""
    picture = grey.astype(np.float32)
    dx, dy = cv2.Sobel(picture, cv2.CV_32F, 1, 0), cv2.Sobel(picture, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    place = np.arctan2(dy, dx) % (2 * np.pi) / (2 * np.pi) * _DIRECTIONS
    low = np.floor(place)
    cells = _LOOK_PX // _CELL_PX
    maps = np.zeros((_DIRECTIONS, _LOOK_PX, _LOOK_PX))
    y, x = np.mgrid[:_LOOK_PX, :_LOOK_PX]
    # A gradient between two directions counts for both, or a small turn would move it from bin to bin.
    for step, share in ((0, 1 - (place - low)), (1, place - low)):
        np.add.at(maps, ((low.astype(int) + step) % _DIRECTIONS, y, x), strength * share)
    sums = maps.reshape(_DIRECTIONS, cells, _CELL_PX, cells, _CELL_PX).sum(axis=(2, 4)) / _CELL_PX**2
    out: F64 = np.sqrt(sums / (sums.sum(axis=0) + _FLAT)).reshape(-1)
    return out


def _unit(values: F64 | F32) -> F32:
    flat = values - values.mean()
    length = float(np.linalg.norm(flat))
    out: F32 = (flat / length if length > 1e-9 else flat * 0).astype(np.float32)
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Appearance:
    """One track, as far as identity goes."""

    start: int
    stop: int
    size: float
    """Height in px times frames: how much of this face there is."""
    look: Look


def identify(tracks: Sequence[Appearance]) -> list[str]:
    """A name per track, in their order: `person-0` is who is seen most. Faces seen at once never share a name."""
    people: list[list[Appearance]] = []
    owner: dict[int, int] = {}
    for index in sorted(range(len(tracks)), key=lambda i: (-tracks[i].size, i)):
        person = _best_person(tracks[index], people)
        if person is None:
            person = len(people)
            people.append([])
        people[person].append(tracks[index])
        owner[index] = person
    by_amount = sorted(range(len(people)), key=lambda p: (-sum(t.size for t in people[p]), p))
    name = {person: f"person-{rank}" for rank, person in enumerate(by_amount)}
    return [name[owner[i]] for i in range(len(tracks))]


def _best_person(track: Appearance, people: Sequence[Sequence[Appearance]]) -> int | None:
    best, best_likeness = None, SAME_PERSON
    for number, theirs in enumerate(people):
        if any(track.start < t.stop and t.start < track.stop for t in theirs):
            continue
        # Against the mean of a person's looks: one odd look of theirs does not let a stranger in.
        mean = Look(edges=_unit(np.mean([t.look.edges for t in theirs], axis=0)))
        likeness = track.look.likeness(mean)
        if likeness >= best_likeness:
            best, best_likeness = number, likeness
    return best
