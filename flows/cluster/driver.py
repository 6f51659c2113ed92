"""Runs items through a pool: the same loop whether the workers are Ray actors or this very process.

The driver owns the items: how many are out, what a failure means for one, when to stop. It knows neither Ray nor
what an item is. Callbacks run here, one at a time; an exception in one of them ends the run, since it is the caller's
record keeping that broke.
"""

from __future__ import annotations

import dataclasses
import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic

from flows.cluster.boundary import Done
from flows.cluster.config import EngineConfig
from flows.cluster.engine import Engine
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.pool import Finished, Pool, Returned
from flows.cluster.resources import plan_pool
from flows.cluster.work import Item, Result, WorkerSpec

log = logging.getLogger(__name__)

TICK_S = 0.25
"""How long the driver looks away from `should_stop`."""
MAX_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a run went."""

    done: int
    failed: int
    stopped: bool
    """It was asked to stop before the items were through."""
    abandoned: int
    """Items begun and not finished when it stopped; they are neither done nor failed."""
    seconds: float
    busy_seconds: float
    """Time spent in `process`, over all workers."""


def run(
    items: Iterable[Item],
    spec: WorkerSpec[Item, Result],
    *,
    engine: Engine,
    config: EngineConfig,
    key: Callable[[Item], str],
    on_start: Callable[[Item, int], None],
    on_done: Callable[[Item, Result], None],
    on_failed: Callable[[Item, Failure], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Works through `items`, taking each only when a worker has room for it.

    `on_start(item, attempt)` comes before an item is handed to a worker, with attempts counted from 1; then exactly one
    of `on_done` and `on_failed` closes the item, unless the run is stopped.
    """
    workers = plan_pool(spec, engine.cpus, engine.gpus, engine.memory_bytes)
    pool = engine.open_pool(spec, min(workers, config.max_workers or workers), config)
    try:
        return _Run(items, pool, config, key, on_start, on_done, on_failed, should_stop).through()
    finally:
        pool.close()


@dataclass(slots=True)
class _Ticket(Generic[Item]):
    """An item under way."""

    item: Item
    key: str
    handed: int = 0
    """Times it was given to a worker."""
    charged: int = 0
    uncharged: int = 0


class _Run(Generic[Item, Result]):
    """The state of one run: what is out, what waits to be tried again, what is over."""

    def __init__(
        self,
        items: Iterable[Item],
        pool: Pool[Item, Result],
        config: EngineConfig,
        key: Callable[[Item], str],
        on_start: Callable[[Item, int], None],
        on_done: Callable[[Item, Result], None],
        on_failed: Callable[[Item, Failure], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.items: Iterator[Item] = iter(items)
        self.pool, self.config, self.key = pool, config, key
        self.on_start, self.on_done, self.on_failed, self.should_stop = on_start, on_done, on_failed, should_stop
        self.tickets: dict[int, _Ticket[Item]] = {}
        self.out: set[int] = set()
        self.waiting: list[tuple[float, int]] = []
        """A heap of (when, ticket): items to be tried again."""
        self.exhausted = False
        self.next_number = 0
        self.done = self.failed = 0
        self.busy_s = 0.0

    def through(self) -> RunSummary:
        begun = time.monotonic()
        stopped = False
        while self._work_left() and not (stopped := self.should_stop()):
            self._hand_out()
            if self._work_left():
                self._take_in(self._pause_s())
        if stopped:
            self._let_finish()
        return RunSummary(
            done=self.done,
            failed=self.failed,
            stopped=stopped,
            abandoned=len(self.tickets),
            seconds=time.monotonic() - begun,
            busy_seconds=self.busy_s,
        )

    def _work_left(self) -> bool:
        return bool(self.tickets) or not self.exhausted

    def _hand_out(self) -> None:
        """Fills the pool's room: items whose time has come again first, then new ones."""
        while self.pool.room() > 0:
            number = self._due()
            if number is None:
                number = self._next_item()
            if number is None:
                return
            ticket = self.tickets[number]
            ticket.handed += 1
            self.on_start(ticket.item, ticket.handed)
            self.out.add(number)
            self.pool.submit(number, ticket.item)

    def _due(self) -> int | None:
        if self.waiting and self.waiting[0][0] <= time.monotonic():
            return heapq.heappop(self.waiting)[1]
        return None

    def _next_item(self) -> int | None:
        # When everything fails (a store that is away), waiting items must not pile up until the source is used up.
        if self.exhausted or len(self.waiting) >= 4 * self.pool.num_workers * self.config.in_flight_per_worker:
            return None
        try:
            item = next(self.items)
        except StopIteration:
            self.exhausted = True
            return None
        self.next_number += 1
        self.tickets[self.next_number] = _Ticket(item=item, key=self.key(item))
        return self.next_number

    def _pause_s(self) -> float:
        left = self.waiting[0][0] - time.monotonic() if self.waiting else TICK_S
        # An item that is due and still here found no room: an event makes room, looking again at once does not.
        return min(TICK_S, left) if left > 0 else TICK_S

    def _take_in(self, timeout_s: float) -> None:
        for event in self.pool.wait(timeout_s):
            self.out.discard(event.ticket)
            if isinstance(event, Returned):
                heapq.heappush(self.waiting, (time.monotonic(), event.ticket))
            else:
                self._close_attempt(event)

    def _close_attempt(self, event: Finished[Result]) -> None:
        outcome, ticket = event.outcome, self.tickets[event.ticket]
        self.busy_s += outcome.busy_s
        if isinstance(outcome, Done):
            del self.tickets[event.ticket]
            self.done += 1
            self.on_done(ticket.item, outcome.result)
            return
        retry = self._charge(ticket, outcome.failure.kind)
        failure = dataclasses.replace(outcome.failure, attempts=ticket.charged + ticket.uncharged)
        if retry:
            delay_s = self._backoff_s(failure.attempts)
            log.warning("%s: %s, again in %.1f s: %s", ticket.key, failure.kind, delay_s, failure.message)
            heapq.heappush(self.waiting, (time.monotonic() + delay_s, event.ticket))
            return
        log.warning("%s: %s, given up: %s", ticket.key, failure.kind, failure.message)
        del self.tickets[event.ticket]
        self.failed += 1
        self.on_failed(ticket.item, failure)

    def _charge(self, ticket: _Ticket[Item], kind: FailureKind) -> bool:
        """Books a failure; whether the item is tried again."""
        if kind is FailureKind.TRANSIENT:
            ticket.uncharged += 1
            return ticket.uncharged <= self.config.max_transient
        ticket.charged += 1
        return kind is not FailureKind.INPUT and ticket.charged < self.config.max_attempts

    def _backoff_s(self, failures: int) -> float:
        return min(MAX_BACKOFF_S, self.config.backoff_s * 2.0 ** (failures - 1))

    def _let_finish(self) -> None:
        """Takes in what is already out, for a while; what is not through by then is abandoned with its worker."""
        until = time.monotonic() + self.config.grace_s
        while self.out and (left := until - time.monotonic()) > 0:
            self._take_in(min(TICK_S, left))
