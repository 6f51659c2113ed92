"""A pool of Ray actors that we look after ourselves: deadlines, replacement, and nothing left behind.

Ray is not asked to restart an actor (it would run the item again without anybody being told). An actor that passed its
deadline is ended by killing its processes: a call stuck in native code that holds the interpreter lock hears nothing
else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import ray
import ray.exceptions as ray_errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flows.cluster import processes
from flows.cluster.boundary import Failed
from flows.cluster.config import EngineConfig
from flows.cluster.failures import TAIL_CHARS, Failure, FailureKind, failure_of, setup_error
from flows.cluster.pool import Finished, Returned
from flows.cluster.ray_actor import STACKS_SIGNAL, Ready, WorkerHost
from flows.cluster.resources import thread_environment
from flows.cluster.work import Item, Result, WorkerSpec

log = logging.getLogger(__name__)

WORKER_MARK = "DUBWRIGHT_WORKER"
"""In the environment of a worker's process, and so of everything it starts."""
_SETUP_TRIES = 3
"""Workers that may fail to start, one after the other, before the pool gives up."""
_CLOSE_S = 5.0
"""How long idle workers may take to close."""
_AFAR_S = 30.0
"""How long another node may take to end a worker's processes."""
_STACKS_S = 0.5
"""How long a hanging worker may take to say where it hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the driver stands."""

    node_id: str
    """The Ray node of this machine."""
    logs: Path
    """Folder in which that node's workers keep their stderr."""
    python_path: str | None
    """Where workers import our packages from; None when the cluster was given them."""


@dataclass(slots=True, kw_only=True)
class _Member:
    """One actor, as the pool sees it."""

    actor: Any
    mark: str
    starting: Any
    """The pending answer to `set_up`; None once it can take items."""
    since: float
    """When what it does now began."""
    queue: deque[tuple[int, Any]] = field(default_factory=deque)
    """(ticket, pending answer), in the order they were handed over; the first is the one at work."""
    pid: int = 0
    node_id: str | None = None


class RayPool(Generic[Item, Result]):
    """Workers of one kind on a Ray."""

    def __init__(
        self, spec: WorkerSpec[Item, Result], num_workers: int, config: EngineConfig, site: Site, mark: str
    ) -> None:
        self.num_workers = num_workers
        self._spec, self._config, self._site, self._mark = spec, config, site, mark
        self._started = 0
        self._setup_failures = 0
        self._actor_class = ray.remote(WorkerHost)
        self._members = [self._start() for _ in range(num_workers)]

    def room(self) -> int:
        for member in [m for m in self._members if m.starting is None and not m.queue and not self._lives(m)]:
            log.warning("%s %s died while idle", self._spec.name, member.mark)
            self._replace(member)
        return sum(self._free(member) for member in self._members)

    def submit(self, ticket: int, item: Item) -> None:
        member = max(self._members, key=self._free)
        if not member.queue:
            member.since = time.monotonic()
        member.queue.append((ticket, member.actor.perform.remote(item)))

    def wait(self, timeout_s: float) -> list[Finished[Result] | Returned]:
        pending = [m.starting for m in self._members if m.starting is not None]
        pending += [answer for m in self._members for _, answer in m.queue]
        if not pending:
            time.sleep(timeout_s)
            return []
        # First wait for anything at all, then take everything that is there.
        ray.wait(pending, num_returns=1, timeout=timeout_s)
        there, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        ready = set(there)
        return [event for member in list(self._members) for event in self._look_at(member, ready)]

    def close(self) -> None:
        if not ray.is_initialized():
            return
        idle = [m.actor.put_away.remote() for m in self._members if m.starting is None and not m.queue]
        closed, late = ray.wait(idle, num_returns=len(idle), timeout=_CLOSE_S) if idle else ([], [])
        for said in [self._read(answer) for answer in closed]:
            if said is not None:
                log.warning("%s did not close: %s", self._spec.name, said)
        if late:
            log.warning("%d %s did not close in time", len(late), self._spec.name)
        for member in self._members:
            self._end(member)
        self._members = []

    def _free(self, member: _Member) -> int:
        return 0 if member.starting is not None else self._config.in_flight_per_worker - len(member.queue)

    def _lives(self, member: _Member) -> bool:
        """Of a worker on another machine we only hear when it is given something."""
        return member.node_id != self._site.node_id or processes.is_alive(member.pid)

    def _start(self) -> _Member:
        spec = self._spec
        self._started += 1
        mark = f"{self._mark}-{self._started}"
        environment = {WORKER_MARK: mark, **thread_environment(spec.cpus)}
        if self._site.python_path:
            environment["PYTHONPATH"] = self._site.python_path
        if not spec.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        actor: Any = self._actor_class.options(
            num_cpus=spec.cpus,
            num_gpus=spec.gpus,
            memory=spec.memory_bytes,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=1,
            runtime_env={"env_vars": environment},
        ).remote(spec.factory)
        return _Member(actor=actor, mark=mark, starting=actor.set_up.remote(), since=time.monotonic())

    def _look_at(self, member: _Member, ready: set[Any]) -> list[Finished[Result] | Returned]:
        if member.starting is not None:
            self._look_at_start(member, ready)
            return []
        events: list[Finished[Result] | Returned] = []
        while member.queue and member.queue[0][1] in ready:
            answer = self._read(member.queue[0][1])
            if isinstance(answer, Failure):
                return events + self._lose(member, answer)
            events.append(Finished(member.queue.popleft()[0], answer))
            member.since = time.monotonic()
        if member.queue and time.monotonic() - member.since > self._config.deadline_s:
            return events + self._lose(member, self._hung(member, self._config.deadline_s))
        return events

    def _look_at_start(self, member: _Member, ready: set[Any]) -> None:
        if member.starting in ready:
            answer = self._read(member.starting)
            if isinstance(answer, Ready):
                member.pid, member.node_id, member.starting = answer.pid, answer.node_id, None
                self._setup_failures = 0
            else:
                self._setup_failed(member, answer.failure if isinstance(answer, Failed) else answer)
        elif time.monotonic() - member.since > self._config.setup_deadline_s:
            self._setup_failed(member, self._hung(member, self._config.setup_deadline_s))

    def _setup_failed(self, member: _Member, failure: Failure) -> None:
        self._setup_failures += 1
        if failure.kind is FailureKind.INPUT or self._setup_failures >= _SETUP_TRIES:
            raise setup_error(self._spec.name, failure)
        log.warning("%s did not start (%s), another is tried: %s", self._spec.name, failure.kind, failure.message)
        self._replace(member)

    def _read(self, answer: Any) -> Any:
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

    def _hung(self, member: _Member, deadline_s: float) -> Failure:
        if member.pid and member.node_id == self._site.node_id:
            before = len(self._said(member))
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, STACKS_SIGNAL)
            until = time.monotonic() + _STACKS_S
            while len(self._said(member)) == before and time.monotonic() < until:
                time.sleep(0.02)
        return Failure(
            kind=FailureKind.HANG,
            error_class="DeadlinePassed",
            message=f"no answer within {deadline_s:g} s; its worker was ended",
            tail=self._said(member)[-TAIL_CHARS:],
        )

    def _lose(self, member: _Member, failure: Failure) -> list[Finished[Result] | Returned]:
        """The worker is gone or must go: its first item was at work, the others were not touched.

        With several in flight the first may have been through and its answer lost with the worker: it is done again.
        """
        busy_s = time.monotonic() - member.since
        if failure.kind is FailureKind.CRASH:
            if self._is_node_gone(member):
                failure = dataclasses.replace(failure, kind=FailureKind.TRANSIENT, message="its node is gone")
            failure = dataclasses.replace(failure, tail=self._said(member)[-TAIL_CHARS:] or failure.tail)
        (ticket, _), *others = member.queue
        self._replace(member)
        finished: Finished[Result] = Finished(ticket, Failed(failure=failure, busy_s=busy_s))
        return [finished, *(Returned(number) for number, _ in others)]

    def _replace(self, member: _Member) -> None:
        self._end(member)
        self._members[self._members.index(member)] = self._start()

    def _end(self, member: _Member) -> None:
        """Ends the actor and everything it started, on whichever machine that is."""
        if member.node_id is None or member.node_id == self._site.node_id:
            # Before Ray lets go of the actor: while it lives, its children are still known to be its own.
            left = processes.end_marked(WORKER_MARK, member.mark)
        else:
            left = self._end_afar(member.node_id, member.mark)
        if left:
            log.error("%s left processes that will not end: %s", self._spec.name, sorted(left))
        ray.kill(member.actor, no_restart=True)

    def _end_afar(self, node_id: str, mark: str) -> set[int]:
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        task = ray.remote(processes.end_marked).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        try:
            left: set[int] = ray.get(task.remote(WORKER_MARK, mark), timeout=_AFAR_S)
        except ray_errors.RayError as exc:
            # With its node, the worker's processes are gone too.
            log.warning("%s on node %s could not be looked after: %s", self._spec.name, node_id, exc)
            return set()
        return left

    def _is_node_gone(self, member: _Member) -> bool:
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
        return member.node_id is not None and member.node_id not in alive

    def _said(self, member: _Member) -> str:
        """What the worker's process wrote to stderr; empty where its node's files are out of reach."""
        if not member.pid or member.node_id != self._site.node_id:
            return ""
        text = "".join(path.read_text(errors="replace") for path in self._site.logs.glob(f"worker-*-{member.pid}.err"))
        # Ray's own marks in its log files.
        return "\n".join(
            line for line in text.splitlines() if not line.startswith((":job_id:", ":actor_name:", ":task_name:"))
        )


def _kind_of_loss(exc: ray_errors.RayError) -> FailureKind:
    if isinstance(exc, ray_errors.OutOfMemoryError) or "running low on memory" in str(exc):
        return FailureKind.OUT_OF_MEMORY
    if isinstance(exc, ray_errors.ActorDiedError | ray_errors.WorkerCrashedError):
        return FailureKind.CRASH
    # The network, the object store, the node: nothing that the item did.
    return FailureKind.TRANSIENT
