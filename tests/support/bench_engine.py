"""What the work engine costs and gains, measured on items that only sleep: it is the engine that is measured.

The workers need no core, so the figures hold on a machine with fewer cores than workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flows.cluster.config import EngineConfig
from flows.cluster.driver import run, run_lanes
from flows.cluster.engine import Engine, open_engine
from flows.cluster.failures import Failure
from flows.cluster.feed import Feed
from flows.cluster.lane import Lane
from flows.cluster.work import WorkerSpec

WORKERS = 2
FIRST_S, SECOND_S = 0.10, 0.15
"""Lengths of an item in the two stages."""


class Naps:
    """Work of a known length."""

    def setup(self) -> None: ...

    def process(self, item: float) -> float:
        time.sleep(item)
        return item

    def close(self) -> None: ...


def engine_efficiency(item_s: float = 0.05, items: int = 400) -> str:
    """Share of the throughput that the workers would have if nothing came between one item and the next.

    Measured from the moment on which both workers have answered: their start is not the engine's pace.
    """
    ended: list[float] = []

    def done(item: float, result: float) -> None:
        ended.append(time.monotonic())

    with open_engine("local", num_cpus=WORKERS) as engine:
        run(
            [item_s] * items,
            WorkerSpec(name="naps", factory=Naps),
            engine=engine,
            config=EngineConfig(max_workers=WORKERS),
            key=str,
            prepare=_as_it_is,
            on_done=done,
            on_failed=_fails,
        )
    steady = ended[items // 4 :]
    share = (len(steady) - 1) * item_s / WORKERS / (steady[-1] - steady[0])
    return f"{share:.1%} of ideal ({WORKERS} workers, {items} items of {1000 * item_s:.0f} ms)"


def balance_gain(items: int = 120) -> str:
    """A pipeline of two stages at once, against one stage after the other.

    Each stage is bound to two workers by something of its own, as decoding is by cores and rendering by a device.
    """
    with open_engine("local", num_cpus=2 * WORKERS) as engine:
        one_by_one = _timed(lambda: _one_after_the_other(engine, items))
        at_once = _timed(lambda: _at_once(engine, items))
    return f"{one_by_one / at_once:.2f} times as fast ({one_by_one:.1f} s one after the other, {at_once:.1f} s at once)"


def _one_after_the_other(engine: Engine, items: int) -> None:
    for item_s in (FIRST_S, SECOND_S):
        run_lanes([_lane("stage", Feed([item_s] * items))], engine=engine)


def _at_once(engine: Engine, items: int) -> None:
    between: Feed[float] = Feed()
    first = _lane("first", Feed([FIRST_S] * items), lambda item, result: between.put(SECOND_S), between.close)
    run_lanes([first, _lane("second", between)], engine=engine)


def _lane(
    name: str,
    feed: Feed[float],
    on_done: Callable[[float, float], None] = lambda item, result: None,
    on_over: Callable[[], None] = lambda: None,
) -> Lane[float, float, float]:
    return Lane(
        feed=feed,
        spec=WorkerSpec(name=name, factory=Naps),
        config=EngineConfig(max_workers=WORKERS),
        key=str,
        prepare=_as_it_is,
        on_done=on_done,
        on_failed=_fails,
        on_over=on_over,
    )


BENCHES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("engine, share of ideal at 2 workers of 50 ms items", engine_efficiency),
    ("engine, a pipeline of two lanes against one after the other", balance_gain),
)


def _as_it_is(item: float, attempt: int) -> float:
    return item


def _fails(item: float, failure: Failure) -> None:
    raise AssertionError(f"a nap failed: {failure.message}")


def _timed(work: Callable[[], Any]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun
