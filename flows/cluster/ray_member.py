"""One worker of a Ray pool, as the driver sees it: how it is started, what it is at, and how its answers read."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import ray
import ray.exceptions as ray_errors

from flows.cluster.boundary import Failed
from flows.cluster.failures import TAIL_CHARS, Failure, FailureKind, failure_of
from flows.cluster.near import Place
from flows.cluster.ray_actor import Here, WorkerHost
from flows.cluster.remains import WORKER_MARK
from flows.cluster.resources import thread_environment
from flows.cluster.work import WorkerSpec


class Stage(Enum):
    """A worker's life, in order."""

    PLACING = auto()
    """Ray looks for a node with room and starts the process, which runs no code of the worker's yet."""
    STARTING = auto()
    """It loads what it needs."""
    SERVING = auto()
    LEAVING = auto()
    """It puts away what it holds."""


@dataclass(slots=True, kw_only=True)
class Parcel:
    """A batch that was handed over."""

    ticket: int
    answer: Any
    num_items: int


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One actor."""

    actor: Any
    mark: str
    answer: Any
    """What the present stage waits for; None while it serves."""
    since: float = field(default_factory=time.monotonic)
    """When what it does now began."""
    hired: float = field(default_factory=time.monotonic)
    stage: Stage = Stage.PLACING
    here: Here | None = None
    queue: deque[Parcel] = field(default_factory=deque)
    """In the order they were handed over; the first is the one at work."""
    is_retiring: bool = False
    """It takes no more items, and leaves after those it has."""
    heard: float = 0.0
    """When it answered anything last."""
    ping: Any = None
    """The pending answer to the question whether it is still there."""
    pinged: float = 0.0

    @property
    def pending(self) -> list[Any]:
        """Every answer that it owes."""
        owed = [self.answer, self.ping, *(parcel.answer for parcel in self.queue)]
        return [answer for answer in owed if answer is not None]

    @property
    def place(self) -> Place:
        return Place(self.mark, self.here.node_id if self.here else None)

    def moves_to(self, stage: Stage, answer: Any = None) -> None:
        self.stage, self.answer, self.since = stage, answer, time.monotonic()
        self.heard = self.since


def hire(spec: WorkerSpec[Any, Any], mark: str, python_path: str | None) -> Member:
    """Asks Ray for a worker. It is not restarted by Ray, which would run its item again without telling anybody."""
    environment = {WORKER_MARK: mark, **thread_environment(spec.cpus)}
    if python_path:
        environment["PYTHONPATH"] = python_path
    if not spec.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    host: Any = ray.remote(WorkerHost)
    actor = host.options(
        num_cpus=spec.cpus,
        num_gpus=spec.gpus,
        memory=spec.memory_bytes,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=1,
        runtime_env={"env_vars": environment},
    ).remote()
    return Member(actor=actor, mark=mark, answer=actor.here.remote())


def read(answer: Any) -> Any:
    """What the actor said. A bare `Failure` means that the actor is lost; `Failed`, that only this answer is."""
    try:
        return ray.get(answer)
    except ray_errors.RayTaskError as exc:
        # The boundary caught what the worker raised; this is the crossing itself: a result that cannot be pickled.
        return Failed(failure=failure_of(exc.cause if isinstance(exc.cause, Exception) else exc))
    except ray_errors.RayError as exc:
        text = str(exc)
        return Failure(
            kind=_kind_of_loss(exc),
            error_class=type(exc).__name__,
            message=text.partition("\n")[0],
            tail=text[-TAIL_CHARS:],
        )


def _kind_of_loss(exc: ray_errors.RayError) -> FailureKind:
    if isinstance(exc, ray_errors.OutOfMemoryError) or "running low on memory" in str(exc):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(exc, ray_errors.ActorDiedError | ray_errors.WorkerCrashedError):
        return FailureKind.CRASH
    # The network, the object store, the node: nothing that the item did.
    return FailureKind.TRANSIENT
