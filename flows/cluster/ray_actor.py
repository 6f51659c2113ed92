"""The far side of a Ray pool: the actor around one worker, in a process of its own."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import ray

from flows.cluster.boundary import Done, Failed, made, perform, put_away, set_up
from flows.cluster.failures import Failure
from flows.cluster.work import Item, Result, Worker

STACKS_SIGNAL = signal.SIGUSR1
"""Makes a worker's process write its threads' stacks to stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A worker that can take items."""

    pid: int
    node_id: str


class WorkerHost(Generic[Item, Result]):
    """Lives in the actor; every method answers with plain values, a failure among them."""

    def __init__(self, factory: Callable[[], Worker[Item, Result]]) -> None:
        self._factory = factory
        self._worker: Worker[Item, Result] | None = None

    def set_up(self) -> Ready | Failure:
        _known_state()
        worker = made(self._factory)
        if isinstance(worker, Failure):
            return worker
        if failure := set_up(worker):
            return failure
        self._worker = worker
        return Ready(pid=os.getpid(), node_id=ray.get_runtime_context().get_node_id())

    def perform(self, item: Item) -> Done[Result] | Failed:
        if self._worker is None:
            raise RuntimeError("an item came before the worker was ready")
        return perform(self._worker, item)

    def put_away(self) -> Failure | None:
        return put_away(self._worker) if self._worker is not None else None


def _known_state() -> None:
    # In C, so it answers while native code holds the interpreter lock: a hang can say where it hangs.
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    # Ray's workers block SIGINT, and children inherit that: an ffmpeg asked to stop politely would never hear it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
