"""A lane at work: what is out, and what the end of a try means for its item."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Sequence
from typing import Generic

from flows.cluster.agenda import Agenda, Batch, Entry
from flows.cluster.boundary import Done, Outcomes
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.lane import Lane, Task
from flows.cluster.pool import Broken, Event, Finished, Pool, Returned
from flows.cluster.work import Item, Result

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
_MEMORY_OF_PACE = 20
"""Items over which the measured pace is averaged: long enough to be calm, short enough to follow the footage."""


class LaneRun(Generic[Item, Task, Result]):
    """The state of one lane in one run. It asks for no workers: its pool is given to it, and sized, from outside."""

    def __init__(self, lane: Lane[Item, Task, Result]) -> None:
        self.lane = lane
        self.pool: Pool[Task, Result] | None = None
        self.done = self.failed = 0
        self.busy_s = 0.0
        self.item_s: float | None = None
        """Seconds of one worker that an item takes of late."""
        self._agenda = Agenda(lane.feed, lane.key, lane.near, lane.spec.batch)
        self._out: dict[int, Batch[Item]] = {}
        self._tickets = itertools.count(1)
        self._measured = 0

    @property
    def num_out(self) -> int:
        """Items that are with a worker."""
        return sum(map(len, self._out.values()))

    @property
    def num_begun(self) -> int:
        """Items begun and not closed yet."""
        return self.num_out + self._agenda.num_waiting

    @property
    def backlog(self) -> int:
        """Items not closed yet, as far as that is known."""
        return self.num_out + self._agenda.num_left

    @property
    def is_over(self) -> bool:
        return not self._out and self._agenda.is_over

    @property
    def due_in_s(self) -> float:
        """Seconds until a failed item's time has come again; one that is due and still here waits for room."""
        left_s = self._agenda.due_in_s
        return left_s if left_s is not None and left_s > 0 else math.inf

    def hand_out(self) -> None:
        """Fills the pool's room: items whose time has come again first, then new ones."""
        pool = self.pool
        for _ in range(pool.room() if pool else 0):
            if pool is None or not (batch := self._agenda.next_due() or self._new(pool)):
                return
            tasks = [self._prepared(entry) for entry in batch]
            ticket = next(self._tickets)
            self._out[ticket] = batch
            pool.submit(ticket, tasks, batch[0].near)

    def take_in(self) -> None:
        for event in self.pool.poll() if self.pool else ():
            self._close(event)

    def abandon(self) -> None:
        """Says of what is out that its try does not count."""
        for batch in self._out.values():
            self._do_not_count(batch)

    def _new(self, pool: Pool[Task, Result]) -> Batch[Item]:
        # When everything fails (a store that is away), waiting items must not pile up until the source is used up.
        in_flight = pool.num_workers * self.lane.config.in_flight_per_worker
        if self._agenda.num_waiting >= 4 * in_flight * self._agenda.batch:
            return ()
        # The last items are spread over the workers rather than given to the first that is free.
        share = math.ceil(self._agenda.num_left / max(1, pool.num_workers))
        return self._agenda.next_new(max(1, share), pool.choose)

    def _prepared(self, entry: Entry[Item]) -> Task:
        entry.handed += 1
        return self.lane.prepare(entry.item, entry.handed)

    def _close(self, event: Event[Result]) -> None:
        batch = self._out.pop(event.ticket)
        if isinstance(event, Returned):
            self._do_not_count(batch)
            self._agenda.again(batch)
        elif isinstance(event, Finished):
            self._answered(batch, event.outcomes)
        elif len(batch) == 1:
            self._answered(batch, (event.failed,))
        else:
            self._broken(batch, event)

    def _answered(self, batch: Batch[Item], outcomes: Outcomes[Result]) -> None:
        for entry, outcome in zip(batch, outcomes, strict=True):
            self.busy_s += outcome.busy_s
            if isinstance(outcome, Done):
                self._measure(outcome.busy_s)
                self.done += 1
                self.lane.on_done(entry.item, outcome.result)
            else:
                self._fail(entry, outcome.failure, is_alone=len(batch) == 1)

    def _broken(self, batch: Batch[Item], event: Broken) -> None:
        """A batch failed and nobody knows which item it was: halves are tried, until the one at fault is alone."""
        failure = event.failed.failure
        self.busy_s += event.failed.busy_s
        if failure.kind is FailureKind.TRANSIENT:
            for entry in batch:
                self._fail(entry, failure, is_alone=False)
            return
        half = (len(batch) + 1) // 2
        if failure.kind is FailureKind.OUT_OF_MEMORY:
            self._agenda.batch = min(self._agenda.batch, half)
        names = f"{batch[0].key} and {len(batch) - 1} more"
        log.warning("%s: %s as a batch, again in halves: %s", names, failure.kind, failure.message)
        self._do_not_count(batch)
        self._agenda.again(batch[:half])
        self._agenda.again(batch[half:])

    def _fail(self, entry: Entry[Item], failure: Failure, *, is_alone: bool) -> None:
        """Books a failed try of one item; from here on it is tried alone, where it can harm no other."""
        counts = failure.kind is not FailureKind.TRANSIENT and (
            is_alone or failure.kind is not FailureKind.OUT_OF_MEMORY
        )
        entry.charged += counts
        entry.uncharged += not counts
        failure = dataclasses.replace(failure, attempts=entry.charged + entry.uncharged)
        if not self._may_go_on(entry, failure.kind):
            log.warning("%s: %s, given up: %s", entry.key, failure.kind, failure.message)
            self.failed += 1
            self.lane.on_failed(entry.item, failure)
            return
        if not counts:
            self._do_not_count((entry,))
        delay_s = self._backoff_s(failure.attempts)
        log.warning("%s: %s, again in %.1f s: %s", entry.key, failure.kind, delay_s, failure.message)
        self._agenda.again((entry,), delay_s)

    def _may_go_on(self, entry: Entry[Item], kind: FailureKind) -> bool:
        config = self.lane.config
        return (
            kind is not FailureKind.INPUT
            and entry.charged < config.max_attempts
            and entry.uncharged <= config.max_transient
        )

    def _do_not_count(self, batch: Sequence[Entry[Item]]) -> None:
        for entry in batch:
            self.lane.on_abandoned(entry.item)

    def _backoff_s(self, failures: int) -> float:
        return min(MAX_BACKOFF_S, self.lane.config.backoff_s * 2.0 ** (failures - 1))

    def _measure(self, busy_s: float) -> None:
        self._measured = min(self._measured + 1, _MEMORY_OF_PACE)
        self.item_s = busy_s if self.item_s is None else self.item_s + (busy_s - self.item_s) / self._measured
