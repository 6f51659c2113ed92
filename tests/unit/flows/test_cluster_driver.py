"""The driver, over the plain engine and a worker that does as the item says."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from flows.cluster import driver
from flows.cluster.config import EngineConfig
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.plain import PlainEngine, PlainPool
from flows.cluster.pool import Event, Returned
from flows.cluster.work import WorkerSpec
from preprocessing.errors import Unusable
from shards.errors import RequestError

CONFIG = EngineConfig(backoff_s=0, max_attempts=3, max_transient=4)


@dataclass
class Scripted:
    """Fails as often as the script says for an item, then answers in capitals; records its calls."""

    script: dict[str, list[BaseException]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    batch: int = 1

    def setup(self) -> None:
        self.calls.append("setup")

    def process(self, item: str) -> str:
        self.calls.append(item)
        if self.script.get(item):
            raise self.script[item].pop(0)
        return item.upper()

    def shrink(self) -> bool:
        self.batch //= 2
        return self.batch > 0

    def close(self) -> None:
        self.calls.append("close")


@dataclass
class Record:
    """Every callback, in the order it came."""

    events: list[tuple[object, ...]] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)

    def run(
        self,
        worker: Scripted,
        items: Iterable[str],
        config: EngineConfig = CONFIG,
        should_stop: Callable[[], bool] = lambda: False,
        engine: PlainEngine | None = None,
    ) -> driver.RunSummary:
        return driver.run(
            items,
            WorkerSpec(name="scripted", factory=functools.partial(_same, worker)),
            engine=engine or PlainEngine(),
            config=config,
            key=str,
            prepare=self._prepare,
            on_done=lambda item, result: self.events.append(("done", item, result)),
            on_failed=self._failed,
            on_abandoned=lambda item: self.events.append(("abandoned", item)),
            should_stop=should_stop,
        )

    def _prepare(self, item: str, attempt: int) -> str:
        self.events.append(("start", item, attempt))
        return item

    def _failed(self, item: str, failure: Failure) -> None:
        self.events.append(("failed", item))
        self.failures[item] = failure


def _same(worker: Scripted) -> Scripted:
    return worker


def test_items_are_begun_and_closed_one_after_the_other() -> None:
    record, worker = Record(), Scripted()
    summary = record.run(worker, ["a", "b"])
    assert record.events == [("start", "a", 1), ("done", "a", "A"), ("start", "b", 1), ("done", "b", "B")]
    assert worker.calls == ["setup", "a", "b", "close"]
    assert (summary.done, summary.failed, summary.stopped, summary.abandoned) == (2, 0, False, 0)
    assert 0 < summary.busy_seconds <= summary.seconds


def test_no_items_are_no_work() -> None:
    summary = Record().run(Scripted(), [])
    assert (summary.done, summary.failed, summary.stopped) == (0, 0, False)


def test_a_failed_item_is_tried_again_and_can_still_succeed() -> None:
    record = Record()
    summary = record.run(Scripted({"a": [ValueError("once"), ValueError("twice")]}), ["a", "b"])
    assert [event for event in record.events if event[1] == "a"] == [
        ("start", "a", 1),
        ("start", "a", 2),
        ("start", "a", 3),
        ("done", "a", "A"),
    ]
    assert (summary.done, summary.failed) == (2, 0)


def test_poison_is_given_up_after_its_attempts_and_the_rest_completes() -> None:
    record = Record()
    summary = record.run(Scripted({"bad": [ValueError("always")] * 9}), ["a", "bad", "b", "c"])
    failure = record.failures["bad"]
    assert (failure.kind, failure.error_class, failure.message, failure.attempts) == (
        FailureKind.POISON,
        "ValueError",
        "always",
        3,
    )
    assert "raise self.script[item].pop(0)" in failure.tail
    assert (summary.done, summary.failed) == (3, 1)


@pytest.mark.parametrize("error", [RequestError("no such thing"), Unusable.because("no_face", "nobody is seen")])
def test_input_errors_are_not_retried(error: Exception) -> None:
    record, worker = Record(), Scripted({"a": [error]})
    record.run(worker, ["a", "b"])
    assert record.failures["a"].kind is FailureKind.INPUT
    assert record.failures["a"].attempts == 1
    assert worker.calls.count("a") == 1


def test_unusable_footage_keeps_its_rejection() -> None:
    record = Record()
    record.run(Scripted({"a": [Unusable.because("too_short", "three frames", value=3, threshold=25)]}), ["a"])
    rejection = record.failures["a"].rejection
    assert rejection is not None
    assert (rejection.code, rejection.value) == ("too_short", 3)


def test_transient_failures_are_not_charged() -> None:
    record = Record()
    errors: list[BaseException] = [ConnectionResetError("gone")] * 4
    summary = record.run(Scripted({"a": [*errors, ValueError("1"), ValueError("2")]}), ["a"])
    assert summary.done == 1


def test_transient_failures_end_some_day() -> None:
    record = Record()
    record.run(Scripted({"a": [ConnectionResetError("gone")] * 99}), ["a"])
    assert (record.failures["a"].kind, record.failures["a"].attempts) == (FailureKind.TRANSIENT, 5)


def test_out_of_memory_tries_the_same_item_in_smaller_bites_before_it_is_charged() -> None:
    record, worker = Record(), Scripted({"a": [MemoryError(), MemoryError()]}, batch=4)
    record.run(worker, ["a"])
    assert record.events == [("start", "a", 1), ("done", "a", "A")]
    assert worker.batch == 1


def test_out_of_memory_at_the_smallest_is_charged() -> None:
    record = Record()
    record.run(Scripted({"a": [MemoryError()] * 9}, batch=1), ["a"], EngineConfig(max_attempts=1))
    assert record.failures["a"].kind is FailureKind.OUT_OF_MEMORY


def test_a_library_that_exits_does_not_take_the_run_with_it() -> None:
    record = Record()
    summary = record.run(Scripted({"a": [SystemExit(3)] * 9}), ["a", "b"])
    assert record.failures["a"].error_class == "SystemExit"
    assert summary.done == 1


def test_a_retry_waits_while_others_go_on() -> None:
    record, worker = Record(), Scripted({"a": [ValueError("once")]})
    record.run(worker, ["a", "b", "c"], EngineConfig(backoff_s=0.05))
    assert worker.calls == ["setup", "a", "b", "c", "a", "close"]


def test_items_are_taken_only_when_there_is_room() -> None:
    taken: list[str] = []
    ahead: list[int] = []

    def items() -> Iterator[str]:
        for name in "abcdefgh":
            taken.append(name)
            yield name

    class Watching(Scripted):
        def process(self, item: str) -> str:
            ahead.append(len(taken) - len(self.calls))
            return super().process(item)

    Record().run(Watching(), items(), EngineConfig(in_flight_per_worker=3))
    assert len(taken) == 8
    # `calls` holds "setup" as well, so 2 is the three items that are out.
    assert max(ahead) == 2


def test_items_that_wait_to_be_retried_do_not_pile_up() -> None:
    taken: list[int] = []
    names = (taken.append(n) or str(n) for n in range(1000))  # type: ignore[func-returns-value]
    script: dict[str, list[BaseException]] = {str(n): [ConnectionError("the store is away")] * 9 for n in range(1000)}
    record = Record()
    record.run(Scripted(script), names, EngineConfig(backoff_s=60), should_stop=lambda: len(record.events) >= 4)
    assert len(taken) <= 5


def test_a_stop_begins_no_more_and_still_closes_the_worker() -> None:
    record, worker = Record(), Scripted()
    summary = record.run(worker, map(str, range(100)), should_stop=lambda: len(record.events) >= 4)
    assert worker.calls == ["setup", "0", "1", "close"]
    assert (summary.done, summary.stopped, summary.abandoned) == (2, True, 0)


def test_a_stop_leaves_items_that_wait_for_a_retry_unaccounted() -> None:
    record = Record()
    config = EngineConfig(backoff_s=60)
    summary = record.run(Scripted({"a": [ValueError("once")]}), ["a"], config, lambda: bool(record.events))
    assert (summary.done, summary.failed, summary.abandoned, summary.stopped) == (0, 0, 1, True)
    assert not record.failures


def test_a_broken_callback_ends_the_run_and_closes_the_worker() -> None:
    worker = Scripted()

    def broken(item: str, attempt: int) -> str:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        driver.run(
            ["a"],
            WorkerSpec(name="scripted", factory=lambda: worker),
            engine=PlainEngine(),
            config=CONFIG,
            key=str,
            prepare=broken,
            on_done=lambda item, result: None,
            on_failed=lambda item, failure: None,
        )
    assert worker.calls == ["setup", "close"]


class Dropping(PlainPool[str, str]):
    """Loses its first worker before that has begun what waits for it."""

    dropped = False

    def poll(self) -> Sequence[Event[str]]:
        if self.dropped or not self._queue:
            return super().poll()
        self.dropped = True
        ticket, _ = self._queue.popleft()
        return [Returned(ticket)]


class DroppingEngine(PlainEngine):
    def open_pool(self, spec, num_workers, config):  # type: ignore[no-untyped-def]
        return Dropping(spec, config, self._at_work)


def test_an_item_that_comes_back_untried_is_handed_over_again_and_not_charged() -> None:
    record = Record()
    summary = record.run(Scripted(), ["a"], EngineConfig(max_attempts=1), engine=DroppingEngine())
    assert record.events == [("start", "a", 1), ("abandoned", "a"), ("start", "a", 2), ("done", "a", "A")]
    assert summary.done == 1


def test_trouble_that_is_not_the_items_own_is_a_try_that_does_not_count() -> None:
    record = Record()
    record.run(Scripted({"a": [ConnectionResetError("gone"), ValueError("odd")]}), ["a"])
    assert record.events == [
        ("start", "a", 1),
        ("abandoned", "a"),
        ("start", "a", 2),
        ("start", "a", 3),
        ("done", "a", "A"),
    ]


def test_what_crosses_to_the_worker_is_what_was_prepared() -> None:
    done: list[tuple[str, str]] = []
    driver.run(
        ["a", "b"],
        WorkerSpec(name="scripted", factory=Scripted),
        engine=PlainEngine(),
        config=CONFIG,
        key=str,
        prepare=lambda item, attempt: f"{item}{attempt}",
        on_done=lambda item, result: done.append((item, result)),
        on_failed=lambda item, failure: None,
    )
    assert done == [("a", "A1"), ("b", "B1")]
