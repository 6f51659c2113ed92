"""How many workers each lane of a run gets: a pure function of what the lanes have left to do and what there is.

A worker goes where the longest work is left, so that all lanes end together. Moving one costs its start: a lane keeps
what it has unless the whole is through noticeably sooner. Where not every lane can have a worker, they take turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TURN_S = 60.0
"""How long a lane keeps its place when another waits for it."""
GAIN = 0.2
"""Share of the time left that a move of workers must save."""
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is to share out; `math.inf` where a bound is not known."""

    cpus: float
    gpus: float = 0.0
    memory_bytes: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One lane, as the balance sees it."""

    cpus: float
    """Share of one worker."""
    gpus: float = 0.0
    memory_bytes: float = 0.0
    backlog: int
    """Items not done yet that could be begun, or have been."""
    item_s: float | None = None
    """Measured mean of one item in one worker; None before there is one."""
    workers: int = 0
    """How many it has."""
    most: int
    """It must not have more."""
    since_s: float = 0.0
    """How long it has had workers without a break; when it has none, how long it has been waiting for them."""

    @property
    def wanted(self) -> int:
        """Workers it could make use of."""
        return min(self.most, self.backlog)


def balance(demands: Sequence[Demand], room: Room, *, start_s: float = 0.0) -> tuple[int, ...]:
    """Workers for each lane, in the order of `demands`; `start_s` is what starting one takes."""
    left_s = _left_s(demands)
    present = tuple(min(d.workers, d.wanted) for d in demands)
    ideal = _grown(_one_each(demands, room), demands, room, left_s)
    chosen = ideal
    if _fits(present, demands, room):
        kept = _grown(present, demands, room, left_s)
        if not _is_starved(kept, demands):
            longest_s = _longest_s(kept, left_s)
            saved_s = longest_s - _longest_s(ideal, left_s)
            chosen = ideal if saved_s > max(GAIN * longest_s, start_s) else kept
    return _with_surplus(chosen, demands, room)


def _left_s(demands: Sequence[Demand]) -> tuple[float, ...]:
    """Work left in each lane, in seconds of one worker; a lane that was not measured is like the others."""
    measured = [d.item_s for d in demands if d.item_s is not None]
    usual_s = sum(measured) / len(measured) if measured else 1.0
    return tuple(d.backlog * max(usual_s if d.item_s is None else d.item_s, _EPSILON) for d in demands)


def _one_each(demands: Sequence[Demand], room: Room) -> tuple[int, ...]:
    """A worker for each lane with work; where that is too much, for those whose turn it is."""
    counts = [0] * len(demands)
    for i in sorted(range(len(demands)), key=lambda i: _turn(demands[i])):
        if demands[i].wanted and _fits(_plus(counts, i), demands, room):
            counts[i] = 1
    return tuple(counts)


def _turn(demand: Demand) -> tuple[int, float]:
    """Sorts lanes: those in their turn, those that waited as long as a turn lasts, those after their turn, the rest."""
    is_long = demand.since_s >= TURN_S
    if demand.workers:
        return (2 if is_long else 0), 0.0
    return (1 if is_long else 3), -demand.since_s


def _grown(
    counts: tuple[int, ...], demands: Sequence[Demand], room: Room, left_s: tuple[float, ...]
) -> tuple[int, ...]:
    """Gives out what is free, each time to the lane that has longest to go."""
    open_lanes = set(range(len(demands)))
    while open_lanes:
        slowest = max(sorted(open_lanes), key=lambda i: left_s[i] / counts[i] if counts[i] else math.inf)
        if counts[slowest] < demands[slowest].wanted and _fits(_plus(counts, slowest), demands, room):
            counts = _plus(counts, slowest)
        else:
            # Room only shrinks from here on: what does not fit it now will not fit it later.
            open_lanes.remove(slowest)
    return counts


def _with_surplus(counts: tuple[int, ...], demands: Sequence[Demand], room: Room) -> tuple[int, ...]:
    """Leaves a lane the workers that it has no use for just now, where nobody else has either."""
    for i, demand in enumerate(demands):
        while counts[i] < min(demand.workers, demand.most) and _fits(_plus(counts, i), demands, room):
            counts = _plus(counts, i)
    return counts


def _is_starved(counts: tuple[int, ...], demands: Sequence[Demand]) -> bool:
    return any(d.wanted and not count for count, d in zip(counts, demands, strict=True))


def _longest_s(counts: tuple[int, ...], left_s: tuple[float, ...]) -> float:
    return max((left / count for count, left in zip(counts, left_s, strict=True) if count), default=0.0)


def _fits(counts: Sequence[int], demands: Sequence[Demand], room: Room) -> bool:
    def used(share: str) -> float:
        return sum(count * float(getattr(d, share)) for count, d in zip(counts, demands, strict=True))

    return all(used(share) <= getattr(room, share) + _EPSILON for share in ("cpus", "gpus", "memory_bytes"))


def _plus(counts: Sequence[int], lane: int) -> tuple[int, ...]:
    return tuple(count + (i == lane) for i, count in enumerate(counts))
