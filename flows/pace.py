"""How long work takes, from what the store's own records say of work that is done."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import PurePosixPath

from shards.commit import Ledger, Receipt, attempt_path
from shards.place import Entry

LOOKED_AT = 50
"""The latest decisions tell today's pace."""
MOST_READ = 1000
"""A store of many stages is looked through for the rare ones no further than this."""


@dataclass(frozen=True, slots=True)
class Took:
    """What some units took; of how many frames, where their receipts tell."""

    seconds: float = 0.0
    frames: int = 0
    units: int = 0

    def __add__(self, other: Took) -> Took:
        return Took(self.seconds + other.seconds, self.frames + other.frames, self.units + other.units)

    def seconds_for(self, frames: int, units: int) -> float:
        """What so much would take one after the other: by the frame where frames were told, else by the unit."""
        return self.seconds * (frames / self.frames if self.frames else units / self.units)


def estimated_seconds(ledger: Ledger, footage_s: float, units: int, fps: int) -> float | None:
    """How long so much footage in so many units takes on the cores of this machine; None where nothing is done yet."""
    measured = (took for _, took in _measured(ledger) if took.frames)
    total = sum(islice(measured, LOOKED_AT), Took())
    return at_once(total.seconds_for(round(footage_s * fps), units), units) if total.frames else None


def paces(ledger: Ledger, stages: Collection[str]) -> dict[str, Took]:
    """What the latest units of each of these stages took; without those of which none is done."""
    found: dict[str, Took] = {}
    for stage, took in islice(_measured(ledger), MOST_READ):
        so_far = found.get(stage, Took())
        if stage in stages and so_far.units < LOOKED_AT:
            found[stage] = so_far + took
        elif len(found) == len(stages) and all(pace.units == LOOKED_AT for pace in found.values()):
            break
    return found


def at_once(seconds: float, units: int) -> float:
    """How long work takes on this machine, which does as many units at a time as it has cores."""
    return round(seconds / max(1, min(units, len(os.sched_getaffinity(0)))), 1)


def _measured(ledger: Ledger) -> Iterator[tuple[str, Took]]:
    """(stage, what it took from the start of the try to its commit) of kept units, the latest first."""
    commits = sorted(ledger.store.entries("commits/"), key=lambda entry: entry.modified, reverse=True)
    for entry in commits:
        if (found := _unit(ledger, entry)) is not None:
            yield found


def _unit(ledger: Ledger, entry: Entry) -> tuple[str, Took] | None:
    decision = ledger.decision(PurePosixPath(entry.path).name.partition(".")[0])
    if decision is None or not isinstance(decision.result, Receipt):
        return None
    attempt = ledger.attempt_at(attempt_path(decision.unit_id, decision.epoch, decision.number))
    if attempt is None:
        return None
    took = entry.modified - datetime.fromisoformat(attempt.started_at)
    seconds = max(took.total_seconds(), 0.0)
    return decision.result.stage, Took(seconds, _frames(decision.result), units=1)


def _frames(receipt: Receipt) -> int:
    """Of the footage a unit went through, or the rows of a clip it drew."""
    if "frames" in receipt.details:
        return int(receipt.details["frames"])
    return sum(stop - start for start, stop in receipt.details.get("rows", ()))
