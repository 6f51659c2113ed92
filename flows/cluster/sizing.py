"""Keeps each lane's pool at the size the balance gives it, within what the machines have.

A pool is opened with its lane's first work, and its workers go when their share is needed elsewhere.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.cluster.balance import Demand, Room, balance
from flows.cluster.engine import Engine
from flows.cluster.lane_run import LaneRun
from flows.cluster.work import WorkerSpec

log = logging.getLogger(__name__)

_EVERY_S = 0.25
"""How often sizes are looked at; the first work of a lane does not wait for it."""
OnSizes = Callable[[Mapping[str, int]], None]


@dataclass(slots=True)
class _State:
    """Since when a lane has had workers, or has had to wait for them."""

    has_workers: bool
    since: float


class Sizing:
    """Opens, grows and shrinks the pools of a run."""

    def __init__(self, runs: Sequence[LaneRun[Any, Any, Any]], engine: Engine, on_sizes: OnSizes) -> None:
        self._runs, self._engine, self._on_sizes = runs, engine, on_sizes
        self._next = 0.0
        self._sizes: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._states = [_State(has_workers=False, since=time.monotonic()) for _ in runs]

    def adjust(self) -> None:
        """Brings the pools to their sizes, or nearer to them: what another worker still holds is not given out."""
        is_new = any(run.pool is None and run.backlog for run in self._runs)
        if time.monotonic() < self._next and not is_new:
            return
        targets = self._targets()
        for run, target in zip(self._runs, targets, strict=True):
            if run.pool is not None and target < run.pool.num_workers:
                run.pool.resize(target)
        for i, target in enumerate(targets):
            self._grow(i, target)
        self._next = time.monotonic() + _EVERY_S
        self._tell()

    def _targets(self) -> tuple[int, ...]:
        if not self._engine.is_isolated:
            # In this very process a worker takes no share of anything: it stays until its lane is over.
            return tuple(int(not run.is_over and (run.pool is not None or run.backlog > 0)) for run in self._runs)
        demands = [self._demand(i) for i in range(len(self._runs))]
        start_s = max((run.pool.start_s for run in self._runs if run.pool), default=0.0)
        return balance(demands, self._room(), start_s=start_s)

    def _demand(self, i: int) -> Demand:
        run, state, now = self._runs[i], self._states[i], time.monotonic()
        workers, backlog = _size(run), run.backlog
        if state.has_workers != bool(workers) or not backlog:
            state.has_workers, state.since = bool(workers), now
        cpus, gpus, memory_bytes = _share(run.lane.spec, self._room())
        return Demand(
            cpus=cpus,
            gpus=gpus,
            memory_bytes=memory_bytes,
            backlog=backlog,
            item_s=run.item_s,
            workers=workers,
            most=0 if run.is_over else run.lane.config.max_workers or backlog,
            since_s=now - state.since,
        )

    def _grow(self, i: int, target: int) -> None:
        run = self._runs[i]
        number = min(target, _size(run) + self._free(i))
        if number <= _size(run):
            return
        if run.pool is None:
            run.pool = self._engine.open_pool(run.lane.spec, number, run.lane.config)
        else:
            run.pool.resize(number)

    def _free(self, i: int) -> int:
        """How many more workers of a lane fit beside all that hold a share, those on their way out among them."""
        if not self._engine.is_isolated:
            return 1
        room = self._room()
        left = [room.cpus, room.gpus, room.memory_bytes]
        for run in self._runs:
            held = run.pool.num_held if run.pool else 0
            left = [have - held * need for have, need in zip(left, _share(run.lane.spec, room), strict=True)]
        share = _share(self._runs[i].lane.spec, room)
        # 1 / 0.1 in floating point is 10 only by luck.
        fits = [have / need + 1e-9 for have, need in zip(left, share, strict=True) if need and have < math.inf]
        return max(0, math.floor(min(fits)))

    def _room(self) -> Room:
        engine = self._engine
        return Room(cpus=engine.cpus, gpus=engine.gpus, memory_bytes=engine.memory_bytes or math.inf)

    def _tell(self) -> None:
        sizes = {run.lane.spec.name: _size(run) for run in self._runs}
        if sizes != self._sizes:
            self._sizes = sizes
            log.info("workers: %s", ", ".join(f"{name} {number}" for name, number in sizes.items()))
        held = {run.lane.spec.name: run.pool.num_held if run.pool else 0 for run in self._runs}
        if held != self._held:
            self._held = held
            self._on_sizes(held)


def _size(run: LaneRun[Any, Any, Any]) -> int:
    return run.pool.num_workers if run.pool else 0


def _share(spec: WorkerSpec[Any, Any], room: Room) -> tuple[float, float, float]:
    """Cores, devices and bytes of one worker; asking for more memory than there is does not forbid the first."""
    return spec.cpus, spec.gpus, min(float(spec.memory_bytes or 0), room.memory_bytes)
