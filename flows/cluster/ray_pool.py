"""A pool of Ray actors that we look after ourselves: deadlines, replacement, and nothing left behind.

A worker that passed its deadline is ended by killing its processes: a call stuck in native code that holds the
interpreter lock hears nothing else. How a lost worker is buried, here or on another machine, is `ray_ends.py`'s.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from typing import Any, Generic

import ray

from flows.cluster import processes
from flows.cluster.boundary import Failed
from flows.cluster.config import EngineConfig
from flows.cluster.failures import Failure, FailureKind, setup_error
from flows.cluster.near import Homes
from flows.cluster.pool import Broken, Event, Finished, Returned, batch_deadline_s
from flows.cluster.ray_actor import Here
from flows.cluster.ray_ends import End, Ends
from flows.cluster.ray_member import Member, Parcel, Stage, hire, read
from flows.cluster.work import Item, Result, WorkerSpec

log = logging.getLogger(__name__)

_SETUP_TRIES = 3
"""Workers that may fail to start, one after the other, before the pool gives up."""
_CLOSE_S = 5.0
"""How long idle workers may take to close."""
_SURE_S = 1.0
"""An idle worker on another machine that was not heard of for so long is asked before it is given an item."""
_ANSWER_S = 10.0
"""How long it may take to say that it is there."""


class RayPool(Generic[Item, Result]):
    """Workers of one kind on a Ray."""

    def __init__(
        self,
        spec: WorkerSpec[Item, Result],
        num_workers: int,
        config: EngineConfig,
        *,
        node_id: str,
        python_path: str | None,
        mark: str,
    ) -> None:
        """`node_id` is the Ray node of this machine; `python_path` where workers import our packages from, None when
        the cluster was given them."""
        self.start_s = 0.0
        self._spec, self._config = spec, config
        self._node_id, self._python_path = node_id, python_path
        self._marks = (f"{mark}-{number}" for number in itertools.count(1))
        self._setup_failures = 0
        self._homes = Homes()
        self._ends = Ends(spec.name, node_id)
        self._members = [self._hire() for _ in range(num_workers)]

    @property
    def num_workers(self) -> int:
        return sum(not member.is_retiring for member in self._members)

    @property
    def num_held(self) -> int:
        return len(self._members) + len(self._ends)

    @property
    def pending(self) -> list[Any]:
        """Answers on their way; any of them may be news."""
        return [answer for member in self._members for answer in member.pending] + self._ends.pending

    def room(self) -> int:
        for member in [m for m in self._members if m.stage is Stage.SERVING and not m.queue]:
            self._make_sure_of(member)
        return sum(self._free(member) for member in self._members)

    def choose(self, near: Sequence[str | None]) -> int:
        return self._homes.choose(near, (member.place for member in self._least_busy()))

    def submit(self, ticket: int, items: Sequence[Item], near: str | None = None) -> None:
        member = max(self._least_busy(), key=lambda m: self._homes.closeness(near, m.place))
        self._homes.settle(near, member.place)
        if not member.queue:
            member.since = time.monotonic()
        answer = member.actor.perform.remote(items)
        member.queue.append(Parcel(ticket=ticket, answer=answer, num_items=len(items)))

    def poll(self) -> list[Event[Result]]:
        pending = self.pending
        there, _ = ray.wait(pending, num_returns=len(pending), timeout=0) if pending else ([], [])
        ready = set(there)
        events = [event for member in list(self._members) for event in self._look_at(member, ready)]
        for end in self._ends.over(ready):
            events += self._mourned(end)
        return events

    def resize(self, num_workers: int) -> None:
        missing = num_workers - self.num_workers
        for member in self._members:
            if missing > 0 and member.is_retiring and member.stage is Stage.SERVING:
                member.is_retiring = False
                missing -= 1
        self._members += [self._hire() for _ in range(missing)]
        # Those that have not begun to serve go first, then the idle, then those with the least to do.
        staying = sorted(
            (m for m in self._members if not m.is_retiring), key=lambda m: (m.stage.value, len(m.queue), -m.hired)
        )
        for member in staying[: max(0, -missing)]:
            self._retire(member)

    def close(self) -> None:
        if not ray.is_initialized():
            return
        for member in self._members:
            if member.stage is Stage.SERVING and not member.queue:
                member.moves_to(Stage.LEAVING, member.actor.put_away.remote())
        leaving = [m.answer for m in self._members if m.stage is Stage.LEAVING]
        closed, late = ray.wait(leaving, num_returns=len(leaving), timeout=_CLOSE_S) if leaving else ([], [])
        for answer in closed:
            self._hear_farewell(read(answer))
        if late:
            log.warning("%d %s did not close in time", len(late), self._spec.name)
        for member in self._members:
            self._ends.begin(End(member=member))
        self._members = []
        self._ends.finish()

    def _hire(self) -> Member:
        return hire(self._spec, next(self._marks), self._python_path)

    def _free(self, member: Member) -> int:
        if member.stage is not Stage.SERVING or member.is_retiring or member.ping is not None:
            return 0
        return self._config.in_flight_per_worker - len(member.queue)

    def _least_busy(self) -> list[Member]:
        """Whom to give the next batch: never one that has work while another has none."""
        most = max((self._free(member) for member in self._members), default=0)
        return [member for member in self._members if most and self._free(member) == most]

    def _make_sure_of(self, member: Member) -> None:
        """An idle worker may have died: nothing is given to it before it is known to be there."""
        if member.here is not None and member.here.node_id == self._node_id:
            if not processes.is_alive(member.here.pid):
                self._lost_idle(member)
        elif member.ping is None and time.monotonic() - member.heard > _SURE_S:
            member.ping, member.pinged = member.actor.here.remote(), time.monotonic()

    def _lost_idle(self, member: Member) -> None:
        log.warning("%s %s died while idle", self._spec.name, member.mark)
        self._lose(member, None)

    def _look_at(self, member: Member, ready: set[Any]) -> list[Event[Result]]:
        if member.stage is Stage.SERVING:
            return self._look_at_work(member, ready)
        if member.answer in ready:
            self._advance(member, read(member.answer))
        elif member.stage is Stage.STARTING and _seconds_since(member.since) > self._config.setup_deadline_s:
            self._lose_start(member, _hung(self._config.setup_deadline_s))
        elif member.stage is Stage.PLACING and _seconds_since(member.since) > self._config.setup_deadline_s:
            # On a cluster that others use too, waiting is no failure.
            log.warning("%s: no node has room for a worker yet", self._spec.name)
            member.since = time.monotonic()
        elif member.stage is Stage.LEAVING and _seconds_since(member.since) > _CLOSE_S:
            log.warning("%s did not close in time", self._spec.name)
            self._lose(member, None)
        return []

    def _advance(self, member: Member, answer: Any) -> None:
        """What the stage waited for has come."""
        if member.stage is Stage.LEAVING:
            self._hear_farewell(answer)
            self._lose(member, None)
        elif isinstance(answer, Failure | Failed):
            self._lose_start(member, answer.failure if isinstance(answer, Failed) else answer)
        elif isinstance(answer, Here):
            member.here = answer
            member.moves_to(Stage.STARTING, member.actor.set_up.remote(self._spec))
        else:
            member.moves_to(Stage.SERVING)
            start_s = _seconds_since(member.hired)
            self.start_s = min(self.start_s, start_s) if self.start_s else start_s
            self._setup_failures = 0

    def _look_at_work(self, member: Member, ready: set[Any]) -> list[Event[Result]]:
        if member.ping is not None and not self._look_at_ping(member, ready):
            return []
        events: list[Event[Result]] = []
        while member.queue and member.queue[0].answer in ready:
            answer = read(member.queue[0].answer)
            if isinstance(answer, Failure):
                return events + self._lose(member, answer)
            ticket = member.queue.popleft().ticket
            events.append(Broken(ticket, answer) if isinstance(answer, Failed) else Finished(ticket, answer))
            member.since = member.heard = time.monotonic()
        if member.queue:
            deadline_s = batch_deadline_s(self._config.deadline_s, member.queue[0].num_items)
            if _seconds_since(member.since) > deadline_s:
                return events + self._lose(member, _hung(deadline_s))
        elif member.is_retiring:
            self._retire(member)
        return events

    def _look_at_ping(self, member: Member, ready: set[Any]) -> bool:
        """Whether the worker is still one of ours."""
        if member.ping in ready:
            if isinstance(read(member.ping), Here):
                member.ping, member.heard = None, time.monotonic()
                return True
        elif _seconds_since(member.pinged) < _ANSWER_S:
            return True
        self._lost_idle(member)
        return False

    def _retire(self, member: Member) -> None:
        member.is_retiring = True
        if member.stage in (Stage.PLACING, Stage.STARTING):
            self._lose(member, None)
        elif not member.queue:
            member.moves_to(Stage.LEAVING, member.actor.put_away.remote())

    def _hear_farewell(self, said: Any) -> None:
        if said is not None:
            log.warning("%s did not close: %s", self._spec.name, getattr(said, "message", said))

    def _lose_start(self, member: Member, failure: Failure) -> None:
        self._members.remove(member)
        if end := self._ends.begin(End(member=member, failure=failure, is_start=True)):
            self._mourned(end)

    def _lose(self, member: Member, failure: Failure | None) -> list[Event[Result]]:
        """The worker is gone or must go; without a failure, no item was at work in it."""
        self._members.remove(member)
        if not member.is_retiring:
            self._members.append(self._hire())
        end = self._ends.begin(End(member=member, failure=failure, busy_s=_seconds_since(member.since)))
        return self._mourned(end) if end else []

    def _mourned(self, end: End) -> list[Event[Result]]:
        """A lost worker's processes are ended, and what befell it is known.

        Its first batch was at work, the others were not touched. With several in flight the first may have been through
        and its answer lost with the worker: it is done again.
        """
        if end.is_start and end.failure is not None:
            self._setup_failed(end.failure, counts=not end.is_node_gone)
        if end.failure is None or not end.member.queue:
            return []
        first, *others = end.member.queue
        broken = Broken(first.ticket, Failed(failure=end.failure, busy_s=end.busy_s))
        return [broken, *(Returned(parcel.ticket) for parcel in others)]

    def _setup_failed(self, failure: Failure, *, counts: bool) -> None:
        self._setup_failures += counts
        if failure.kind is FailureKind.INPUT or self._setup_failures >= _SETUP_TRIES:
            raise setup_error(self._spec.name, failure)
        log.warning("%s did not start (%s), another is tried: %s", self._spec.name, failure.kind, failure.message)
        self._members.append(self._hire())


def _hung(deadline_s: float) -> Failure:
    return Failure(
        kind=FailureKind.HANG,
        error_class="DeadlinePassed",
        message=f"no answer within {deadline_s:g} s; its worker was ended",
    )


def _seconds_since(moment: float) -> float:
    return time.monotonic() - moment
