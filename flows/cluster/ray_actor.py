"""The far side of a Ray pool: the actor around one worker, in a process of its own."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import ray

from flows.cluster.boundary import Failed, Outcomes, made, perform, put_away, set_up
from flows.cluster.failures import Failure
from flows.cluster.remains import STACKS_SIGNAL
from flows.cluster.work import Item, Result, Worker, WorkerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Where a worker's process is."""

    pid: int
    node_id: str
    stderr: Path | None
    """The file on its node that takes what the process writes to stderr."""


class WorkerHost(Generic[Item, Result]):
    """Lives in the actor; every method answers with plain values, a failure among them."""

    def __init__(self) -> None:
        self._worker: Worker[Item, Result] | None = None
        _known_state()

    def here(self) -> Here:
        """Answers at once unless an item is at work: also the way to ask whether the worker is still there."""
        stderr = Path("/proc/self/fd/2")
        return Here(
            pid=os.getpid(),
            node_id=ray.get_runtime_context().get_node_id(),
            stderr=stderr.resolve() if stderr.is_file() else None,
        )

    def set_up(self, spec: WorkerSpec[Item, Result]) -> Failure | None:
        worker = made(spec)
        if isinstance(worker, Failure):
            return worker
        if failure := set_up(worker):
            return failure
        self._worker = worker
        return None

    def perform(self, items: Sequence[Item]) -> Outcomes[Result] | Failed:
        if self._worker is None:
            raise RuntimeError("an item came before the worker was ready")
        return perform(self._worker, items)

    def put_away(self) -> Failure | None:
        return put_away(self._worker) if self._worker is not None else None


def _known_state() -> None:
    # In C, so it answers while native code holds the interpreter lock: a hang can say where it hangs.
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    # Ray's workers block SIGINT, and children inherit that: an ffmpeg asked to stop politely would never hear it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
