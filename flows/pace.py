"""How long footage takes, from what the store's own records say of footage that is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import PurePosixPath

from shards.commit import Ledger, Receipt, attempt_path
from shards.place import Entry

LOOKED_AT = 50
"""The latest decisions tell today's pace."""


def estimated_seconds(ledger: Ledger, footage_s: float, units: int, fps: int) -> float | None:
    """How long so much footage in so many units takes on the cores of this machine; None where nothing is done yet."""
    frames, seconds = 0, 0.0
    for of_unit, took_s in islice(_measured(ledger), LOOKED_AT):
        frames, seconds = frames + of_unit, seconds + took_s
    if not frames:
        return None
    return round(footage_s * fps * seconds / frames / max(1, min(units, len(os.sched_getaffinity(0)))), 1)


def _measured(ledger: Ledger) -> Iterator[tuple[int, float]]:
    """(frames, seconds from the start of the try to its commit) of kept units, the latest first."""
    commits = sorted(ledger.store.entries("commits/"), key=lambda entry: entry.modified, reverse=True)
    for entry in commits:
        if (found := _unit(ledger, entry)) is not None:
            yield found


def _unit(ledger: Ledger, entry: Entry) -> tuple[int, float] | None:
    decision = ledger.decision(PurePosixPath(entry.path).name.partition(".")[0])
    if decision is None or not isinstance(decision.result, Receipt) or "frames" not in decision.result.details:
        return None
    attempt = ledger.attempt_at(attempt_path(decision.unit_id, decision.epoch, decision.number))
    if attempt is None:
        return None
    took = entry.modified - datetime.fromisoformat(attempt.started_at)
    return int(decision.result.details["frames"]), max(took.total_seconds(), 0.0)
