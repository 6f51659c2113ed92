"""The engine that is a loop: one worker, in this process. For tests, and for `--address none`.

It cannot end a worker: a deadline that passes is only logged, and code that crashes takes the run with it. Everything
else, retries and classes of failure among it, is as with Ray.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from types import TracebackType
from typing import Generic

from flows.cluster.boundary import made, perform, put_away, set_up
from flows.cluster.config import EngineConfig
from flows.cluster.failures import Failure, setup_error
from flows.cluster.pool import Finished, Returned
from flows.cluster.resources import available_cpus, available_gpus, available_memory_bytes
from flows.cluster.work import Item, Result, Worker, WorkerSpec

log = logging.getLogger(__name__)


class PlainEngine:
    """Runs everything here, one item after the other."""

    def __init__(self) -> None:
        self.cpus = float(available_cpus())
        self.gpus = float(available_gpus())
        self.memory_bytes = available_memory_bytes()

    def open_pool(
        self, spec: WorkerSpec[Item, Result], num_workers: int, config: EngineConfig
    ) -> PlainPool[Item, Result]:
        """One worker, however many are asked for."""
        worker = made(spec.factory)
        if isinstance(worker, Failure):
            raise setup_error(spec.name, worker)
        if failure := set_up(worker):
            raise setup_error(spec.name, failure)
        return PlainPool(spec.name, worker, config)

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> PlainEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PlainPool(Generic[Item, Result]):
    """One worker and a queue; `wait` is where the work is done."""

    num_workers = 1

    def __init__(self, name: str, worker: Worker[Item, Result], config: EngineConfig) -> None:
        self._name, self._worker, self._config = name, worker, config
        self._queue: deque[tuple[int, Item]] = deque()

    def room(self) -> int:
        return self._config.in_flight_per_worker - len(self._queue)

    def submit(self, ticket: int, item: Item) -> None:
        self._queue.append((ticket, item))

    def wait(self, timeout_s: float) -> list[Finished[Result] | Returned]:
        if not self._queue:
            time.sleep(timeout_s)
            return []
        ticket, item = self._queue.popleft()
        outcome = perform(self._worker, item)
        if outcome.busy_s > self._config.deadline_s:
            log.warning("%s: an item took %.1f s, past its deadline", self._name, outcome.busy_s)
        return [Finished(ticket, outcome)]

    def close(self) -> None:
        if failure := put_away(self._worker):
            log.warning("%s did not close: %s", self._name, failure.message)
