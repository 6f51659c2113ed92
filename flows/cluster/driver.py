"""Runs items through pools: the same loop whether the workers are Ray actors or this very process.

The driver decides when to hand out, when to look and when to stop. What a failure means for an item is `lane_run.py`'s,
how many workers each lane has `sizing.py`'s; it knows neither Ray nor what an item is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from flows.cluster.config import EngineConfig
from flows.cluster.engine import Engine
from flows.cluster.failures import EngineError, Failure
from flows.cluster.feed import Feed
from flows.cluster.lane import Lane, Task
from flows.cluster.lane_run import LaneRun
from flows.cluster.resources import plan_pool
from flows.cluster.sizing import OnSizes, Sizing
from flows.cluster.work import Item, Result, WorkerSpec

TICK_S = 0.25
"""How long the driver looks away from `should_stop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a run went, or one lane of it."""

    done: int
    failed: int
    stopped: bool
    """It was asked to stop before the items were through."""
    abandoned: int
    """Items begun and not finished when it stopped; they are neither done nor failed."""
    seconds: float
    busy_seconds: float
    """Time spent in the worker's code, over all workers."""


def run(
    items: Iterable[Item] | Feed[Item],
    spec: WorkerSpec[Task, Result],
    *,
    engine: Engine,
    config: EngineConfig,
    key: Callable[[Item], str],
    prepare: Callable[[Item, int], Task],
    on_done: Callable[[Item, Result], None],
    on_failed: Callable[[Item, Failure], None],
    on_abandoned: Callable[[Item], None] = lambda item: None,
    near: Callable[[Item], str | None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> RunSummary:
    """Works through `items`, taking each only when a worker has room for it; see `Lane` for the callbacks."""
    lane = Lane(
        feed=items if isinstance(items, Feed) else Feed(items),
        spec=spec,
        config=config,
        key=key,
        prepare=prepare,
        on_done=on_done,
        on_failed=on_failed,
        on_abandoned=on_abandoned,
        near=near,
    )
    return run_lanes([lane], engine=engine, should_stop=should_stop)[0]


def run_lanes(
    lanes: Sequence[Lane[Any, Any, Any]],
    *,
    engine: Engine,
    should_stop: Callable[[], bool] = lambda: False,
    on_sizes: OnSizes = lambda sizes: None,
) -> tuple[RunSummary, ...]:
    """Works off several lanes at once, their pools sized so that they end together; a summary for each.

    Without processes of their own for the workers, one lane after the other: an earlier one goes first for as long as
    it has something to do. `on_sizes` hears whenever it changes how many workers of each lane hold a
    share of the machine: one that was let go and still works is among them.
    """
    for lane in lanes:
        plan_pool(lane.spec, engine.cpus, engine.gpus, engine.memory_bytes)
    begun = time.monotonic()
    runs = [LaneRun(lane) for lane in lanes]
    loop = _Loop(runs, engine, Sizing(runs, engine, on_sizes), should_stop)
    with ExitStack() as pools:
        for each in runs:
            pools.callback(_close_pool, each)
        stopped = loop.through()
    abandoned = [each.num_begun for each in runs]
    for each in runs:
        each.abandon()
    return tuple(
        RunSummary(
            done=each.done,
            failed=each.failed,
            stopped=stopped,
            abandoned=number,
            seconds=time.monotonic() - begun,
            busy_seconds=each.busy_s,
        )
        for each, number in zip(runs, abandoned, strict=True)
    )


@dataclass(slots=True)
class _Loop:
    runs: Sequence[LaneRun[Any, Any, Any]]
    engine: Engine
    sizing: Sizing
    should_stop: Callable[[], bool]

    def through(self) -> bool:
        """Until every lane is over, or the run was asked to stop; whether it was."""
        ended: set[int] = set()
        while not self._all_ended(ended):
            if self.should_stop():
                self._let_finish()
                return True
            self.sizing.adjust()
            for each in self.runs:
                each.hand_out()
            if not self._all_ended(ended):
                self._take_in(min(TICK_S, *(each.due_in_s for each in self.runs)))
        return False

    def _all_ended(self, ended: set[int]) -> bool:
        """Tells each lane that ends, once: then it may close the feed of another."""
        for number, each in enumerate(self.runs):
            if number not in ended and each.is_over:
                ended.add(number)
                each.lane.on_over()
        if len(ended) < len(self.runs) and not any(each.backlog for each in self.runs):
            names = [each.lane.spec.name for each in self.runs if not each.is_over]
            if names:
                raise EngineError(f"nothing is under way and the feed is still open; close it in time: {names}")
        return len(ended) == len(self.runs)

    def _take_in(self, timeout_s: float) -> None:
        self.engine.wait([each.pool for each in self.runs if each.pool], timeout_s)
        for each in self.runs:
            each.take_in()

    def _let_finish(self) -> None:
        """Takes in what is already out, for a while; what is not through by then ends with its worker."""
        until = time.monotonic() + max((each.lane.config.grace_s for each in self.runs), default=0.0)
        while any(each.num_out for each in self.runs) and (left_s := until - time.monotonic()) > 0:
            self._take_in(min(TICK_S, left_s))


def _close_pool(each: LaneRun[Any, Any, Any]) -> None:
    if each.pool is not None:
        each.pool.close()
