"""Ends workers on whichever machine they are, without making the driver wait for another machine.

On this machine it is done at once. On another a small task does it there and brings back what the worker said last; its
answer is also how a dead process is told from a dead node.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flows.cluster import processes
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.ray_member import Member, read
from flows.cluster.remains import WORKER_MARK, Remains, end_worker

log = logging.getLogger(__name__)

_AFAR_S = 30.0
"""How long another node may take to answer before it is held to be gone."""
_CLOSE_S = 5.0
"""The same when the pool closes: nobody waits for the answer any more."""


@dataclass(slots=True, kw_only=True, eq=False)
class End:
    """A worker that is over, or must be."""

    member: Member
    failure: Failure | None = None
    """What befell it; None when it is let go."""
    is_start: bool = False
    """It was still starting."""
    busy_s: float = 0.0
    """How long it had been at its last item."""
    is_node_gone: bool = False
    answer: Any = None
    until: float = 0.0


class Ends:
    """The workers of one pool that are being ended."""

    def __init__(self, name: str, node_id: str) -> None:
        self._name, self._node_id = name, node_id
        self._under_way: list[End] = []

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def pending(self) -> list[Any]:
        return [end.answer for end in self._under_way]

    def begin(self, end: End) -> End | None:
        """Ends the worker and everything it started; None when that takes place elsewhere and takes time."""
        here = end.member.here
        if here is None:
            # It has started nothing. Its process is left to Ray, which holds the room of one that is killed before it
            # has reported for a whole minute.
            return self._finished(end, Remains())
        asks_stacks = end.failure is not None and end.failure.kind is FailureKind.HANG
        wanted: dict[str, Any] = {"pid": here.pid, "stderr": here.stderr, "asks_stacks": asks_stacks}
        if here.node_id == self._node_id:
            # Before Ray lets go of the actor: while it lives, its children are still known to be its own.
            return self._finished(end, end_worker(end.member.mark, **wanted))
        there = NodeAffinitySchedulingStrategy(here.node_id, soft=False)
        remote: Any = ray.remote
        task = remote(end_worker).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
        end.answer, end.until = task.remote(end.member.mark, **wanted), time.monotonic() + _AFAR_S
        self._under_way.append(end)
        return None

    def over(self, ready: set[Any]) -> list[End]:
        """Those that are through."""
        over = [end for end in self._under_way if end.answer in ready or time.monotonic() > end.until]
        self._under_way = [end for end in self._under_way if end not in over]
        return [self._finished(end, read(end.answer) if end.answer in ready else None) for end in over]

    def finish(self) -> None:
        """Waits for all of them, not for long."""
        pending = self.pending
        there, _ = ray.wait(pending, num_returns=len(pending), timeout=_CLOSE_S) if pending else ([], [])
        for end in self._under_way:
            self._finished(end, read(end.answer) if end.answer in there else None)
        self._under_way = []

    def _finished(self, end: End, remains: Any) -> End:
        if isinstance(remains, Remains):
            if remains.left:
                log.error("%s left processes that will not end: %s", self._name, sorted(remains.left))
            if end.failure is not None and end.failure.kind in (FailureKind.CRASH, FailureKind.HANG):
                end.failure = dataclasses.replace(end.failure, tail=remains.said or end.failure.tail)
        else:
            # With its node, the worker's processes are gone too; unless only Ray's part of the node died, and it is
            # one of several on this machine.
            end.is_node_gone = True
            processes.end_marked(WORKER_MARK, end.member.mark)
            reason = f"its node is gone ({getattr(remains, 'error_class', 'no answer')})"
            log.warning("%s %s: %s", self._name, end.member.mark, reason)
            if end.failure is not None:
                end.failure = dataclasses.replace(end.failure, kind=FailureKind.TRANSIENT, message=reason)
        ray.kill(end.member.actor, no_restart=True)
        return end
