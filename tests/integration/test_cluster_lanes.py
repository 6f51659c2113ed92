"""Several pools on one real Ray: sizes that follow the measured pace, and cores that change hands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from flows.cluster.config import EngineConfig
from flows.cluster.driver import run_lanes
from flows.cluster.engine import Engine, open_engine
from flows.cluster.feed import Feed
from flows.cluster.lane import Lane
from flows.cluster.pool import Event, Finished, Pool
from flows.cluster.work import WorkerSpec

CORES = 4
"""More than the machine may have: the workers only sleep."""


class Naps:
    """Work of a known length that needs no core."""

    def setup(self) -> None: ...

    def process(self, item: float) -> float:
        time.sleep(item)
        return item

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with open_engine("local", num_cpus=CORES) as engine:
        yield engine


def once(item: float, attempt: int) -> float:
    assert attempt == 1, "a worker that is let go finishes what it has"
    return item


def lane(name: str, feed: Feed[float], on_done: Callable[[float, float], None], **more: Any) -> Lane[Any, Any, Any]:
    return Lane(
        feed=feed,
        spec=WorkerSpec(name=name, factory=Naps, cpus=more.pop("cpus", 1.0)),
        config=EngineConfig(),
        key=str,
        prepare=once,
        on_done=on_done,
        on_failed=lambda item, failure: pytest.fail(failure.message),
        **more,
    )


def run_until(lanes: list[Lane[Any, Any, Any]], engine: Engine, wanted: Mapping[str, int]) -> list[Mapping[str, int]]:
    """Every size there was, up to the wanted one; the work would go on for much longer."""
    sizes: list[Mapping[str, int]] = []
    summaries = run_lanes(lanes, engine=engine, on_sizes=sizes.append, should_stop=lambda: wanted in sizes)
    assert not any(summary.abandoned for summary in summaries), "a worker that is let go finishes what it has"
    return sizes


def never_mind(item: float, result: float) -> None:
    """Nobody asks what became of it."""


def test_the_slower_lane_gets_more_of_the_workers_once_the_pace_is_known(engine: Engine) -> None:
    lanes = [lane("quick", Feed([0.03] * 1500), never_mind), lane("slow", Feed([0.12] * 1500), never_mind)]
    sizes = run_until(lanes, engine, {"quick": 1, "slow": 3})
    assert sizes[0] == {"quick": 2, "slow": 2}
    assert sizes[-1] == {"quick": 1, "slow": 3}
    assert all(sum(now.values()) <= CORES for now in sizes)


def test_the_workers_of_a_finished_lane_go_to_the_others(engine: Engine) -> None:
    done: list[float] = []
    lanes = [
        lane("brief", Feed([0.03] * 9), lambda i, r: done.append(r)),
        lane("long", Feed([0.05] * 2000), never_mind),
    ]
    sizes = run_until(lanes, engine, {"brief": 0, "long": CORES})
    assert sizes[-1] == {"brief": 0, "long": CORES}
    assert len(done) == 9


def test_a_pipeline_has_workers_where_its_items_are(engine: Engine) -> None:
    seconds: Feed[float] = Feed()
    sizes: list[dict[str, int]] = []
    finished: list[float] = []
    lanes = [
        lane("first", Feed([0.05] * 12), lambda item, result: seconds.put(result), on_over=seconds.close),
        lane("second", seconds, lambda item, result: finished.append(result)),
    ]
    summaries = run_lanes(lanes, engine=engine, on_sizes=lambda now: sizes.append(dict(now)))
    assert [summary.done for summary in summaries] == [12, 12]
    assert sizes[0] == {"first": CORES, "second": 0}
    assert sizes[-1]["second"] > 0


def test_lanes_that_have_no_room_beside_each_other_take_turns(engine: Engine) -> None:
    sizes: list[Mapping[str, int]] = []
    second: Feed[float] = Feed()
    finished: list[float] = []
    lanes = [
        lane("wide", Feed([0.01] * 3), lambda item, result: second.put(result), on_over=second.close, cpus=3.0),
        lane("broad", second, lambda item, result: finished.append(result), cpus=3.0),
    ]
    run_lanes(lanes, engine=engine, on_sizes=sizes.append)
    assert len(finished) == 3
    assert all(sum(now.values()) <= 1 for now in sizes)


def test_a_worker_that_is_let_go_finishes_what_it_has_and_may_be_kept_after_all(engine: Engine) -> None:
    pool: Pool[float, float] = engine.open_pool(WorkerSpec(name="naps", factory=Naps), 1, EngineConfig())

    def until(is_so: Callable[[], bool]) -> list[Event[float]]:
        events: list[Event[float]] = []
        while not is_so():
            engine.wait([pool], 0.25)
            events += pool.poll()
        return events

    try:
        until(lambda: pool.room() == 1)
        pool.submit(1, [0.2])
        pool.resize(0)
        assert (pool.num_workers, pool.num_held, pool.room()) == (0, 1, 0)
        pool.resize(1)
        assert (pool.num_workers, pool.num_held) == (1, 1), "nobody new had to be started"
        pool.resize(0)
        (event,) = until(lambda: pool.num_held == 0)
        assert isinstance(event, Finished)
        assert event.ticket == 1
    finally:
        pool.close()


def test_a_stop_reaches_every_lane(engine: Engine) -> None:
    done: list[float] = []
    lanes = [lane(name, Feed([0.02] * 1000), lambda item, result: done.append(result)) for name in ("one", "two")]
    summaries = run_lanes(lanes, engine=engine, should_stop=lambda: len(done) >= 20)
    assert all(summary.stopped and summary.abandoned == 0 for summary in summaries)
    assert 20 <= len(done) < 40
