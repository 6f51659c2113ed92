"""The engine that is a loop: one worker of a kind, in this process. For tests, and for `--address none`.

It cannot end a worker: a deadline that passes is only logged, and code that crashes takes the run with it. Everything
else, retries and classes of failure among it, is as with Ray.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic

from flows.cluster.boundary import Failed, made, perform, put_away, set_up
from flows.cluster.config import EngineConfig
from flows.cluster.failures import Failure, setup_error
from flows.cluster.pool import Broken, Event, Finished, Pool, batch_deadline_s
from flows.cluster.resources import available_cpus, available_gpus, available_memory_bytes
from flows.cluster.work import Item, Result, Worker, WorkerSpec

log = logging.getLogger(__name__)


class PlainEngine:
    """Runs everything here, one item after the other."""

    is_isolated = False

    def __init__(self) -> None:
        self.cpus = float(available_cpus())
        self.gpus = float(available_gpus())
        self.memory_bytes = available_memory_bytes()
        self._at_work: list[PlainPool[Any, Any]] = []

    def open_pool(
        self, spec: WorkerSpec[Item, Result], num_workers: int, config: EngineConfig
    ) -> PlainPool[Item, Result]:
        """One worker, however many are asked for."""
        return PlainPool(spec, config, self._at_work)

    def wait(self, pools: Sequence[Pool[Any, Any]], timeout_s: float) -> None:
        """What was handed over is done by `poll`; without any, only time passes."""
        if not self._at_work:
            time.sleep(timeout_s)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> PlainEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlainPool(Generic[Item, Result]):
    """One worker and a queue; `poll` is where the work is done."""

    start_s = 0.0

    def __init__(
        self, spec: WorkerSpec[Item, Result], config: EngineConfig, at_work: list[PlainPool[Any, Any]]
    ) -> None:
        self._spec, self._config = spec, config
        self._at_work = at_work
        """The pool of the engine that has something to do: the others have no room until it is through."""
        self._queue: deque[tuple[int, Sequence[Item]]] = deque()
        self._worker: Worker[Item, Result] | None = self._started()

    @property
    def num_workers(self) -> int:
        return int(self._worker is not None)

    @property
    def num_held(self) -> int:
        return self.num_workers

    def room(self) -> int:
        if self._worker is None or (self._at_work and self._at_work[0] is not self):
            return 0
        return self._config.in_flight_per_worker - len(self._queue)

    def choose(self, near: Sequence[str | None]) -> int:
        return 0

    def submit(self, ticket: int, items: Sequence[Item], near: str | None = None) -> None:
        self._queue.append((ticket, items))
        self._at_work[:] = [self]

    def poll(self) -> Sequence[Event[Result]]:
        if not self._queue or self._worker is None:
            return []
        ticket, items = self._queue.popleft()
        if not self._queue:
            self._at_work.clear()
        begun = time.monotonic()
        outcome = perform(self._worker, items)
        took_s = time.monotonic() - begun
        if took_s > batch_deadline_s(self._config.deadline_s, len(items)):
            log.warning("%s: an item took %.1f s, past its deadline", self._spec.name, took_s)
        return [Broken(ticket, outcome) if isinstance(outcome, Failed) else Finished(ticket, outcome)]

    def resize(self, num_workers: int) -> None:
        if num_workers and self._worker is None:
            self._worker = self._started()
        elif not num_workers and not self._queue:
            self.close()

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and (failure := put_away(worker)):
            log.warning("%s did not close: %s", self._spec.name, failure.message)
        if self._at_work and self._at_work[0] is self:
            self._at_work.clear()

    def _started(self) -> Worker[Item, Result]:
        worker = made(self._spec)
        if isinstance(worker, Failure):
            raise setup_error(self._spec.name, worker)
        if failure := set_up(worker):
            raise setup_error(self._spec.name, failure)
        return worker
