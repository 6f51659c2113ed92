"""Several lanes in one run, over the plain engine: what is done in one becomes an item of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from flows.cluster import driver
from flows.cluster.config import EngineConfig
from flows.cluster.failures import EngineError
from flows.cluster.feed import Feed
from flows.cluster.lane import Lane
from flows.cluster.plain import PlainEngine
from flows.cluster.work import WorkerSpec


@dataclass
class Capitals:
    """Answers in capitals; records its calls."""

    calls: list[str] = field(default_factory=list)

    def setup(self) -> None:
        self.calls.append("setup")

    def process(self, item: str) -> str:
        self.calls.append(item)
        return item.upper()

    def close(self) -> None:
        self.calls.append("close")


def lane(name: str, feed: Feed[str], worker: Capitals, on_done: Callable[[str, str], None], **more: object):  # type: ignore[no-untyped-def]
    return Lane(
        feed=feed,
        spec=WorkerSpec(name=name, factory=lambda: worker),
        config=EngineConfig(),
        key=str,
        prepare=lambda item, attempt: item,
        on_done=on_done,
        on_failed=lambda item, failure: pytest.fail(failure.message),
        **more,  # type: ignore[arg-type]
    )


def test_what_is_done_in_one_lane_becomes_an_item_of_the_next() -> None:
    masters: Feed[str] = Feed()
    first, second = Capitals(), Capitals()
    told: list[str] = []

    def analysed(item: str, result: str) -> None:
        told.append(result)
        masters.put(result + "!")

    lanes = [
        lane("analyse", Feed("abc"), first, analysed, on_over=masters.close),
        lane("master", masters, second, lambda item, result: told.append(result)),
    ]
    summaries = driver.run_lanes(lanes, engine=PlainEngine())
    assert told == ["A", "B", "C", "A!", "B!", "C!"]
    assert [summary.done for summary in summaries] == [3, 3]
    # In one process an earlier lane goes first, and each worker stays for as long as its lane lasts.
    assert first.calls == ["setup", "a", "b", "c", "close"]
    assert second.calls == ["setup", "A!", "B!", "C!", "close"]


def test_an_earlier_lane_may_be_fed_by_a_later_one() -> None:
    ups: Feed[str] = Feed("x")
    downs: Feed[str] = Feed()
    seen: list[str] = []
    again: Feed[str] = Feed()

    def up(item: str, result: str) -> None:
        downs.put(result)

    def down(item: str, result: str) -> None:
        seen.append(item)
        if len(seen) < 3:
            again.put(item + item)
        else:
            again.close()
            downs.close()

    driver.run_lanes(
        [lane("again", again, Capitals(), up), lane("up", ups, Capitals(), up), lane("down", downs, Capitals(), down)],
        engine=PlainEngine(),
    )
    assert seen == ["X", "XX", "XXXX"]


def test_a_feed_that_nobody_closes_is_told_by_the_name_of_its_lane() -> None:
    worker = Capitals()
    forgotten: Feed[str] = Feed()
    lanes = [
        lane("analyse", Feed("a"), worker, lambda item, result: None),
        lane("master", forgotten, Capitals(), lambda item, result: None),
    ]
    with pytest.raises(EngineError, match=r"close it in time: \['master'\]"):
        driver.run_lanes(lanes, engine=PlainEngine())
    assert worker.calls[-1] == "close"
