"""Batches: split until the one at fault is alone, and nobody else pays for it. Over the plain engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cluster import driver
from flows.cluster.config import EngineConfig
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.lane_run import MAX_BACKOFF_S, LaneRun
from flows.cluster.plain import PlainEngine
from flows.cluster.work import Worker, WorkerSpec
from preprocessing.errors import Unusable
from shards.errors import RequestError

CONFIG = EngineConfig(backoff_s=0, max_attempts=2, max_transient=3)


@dataclass
class Whole:
    """Doubles numbers, several at once; a batch that holds a bad one fails as a whole."""

    bad: dict[int, Exception] = field(default_factory=dict)
    most: int = 1000
    """Items that its memory holds."""
    calls: list[tuple[int, ...]] = field(default_factory=list)

    def setup(self) -> None: ...

    def process(self, item: int) -> int:
        return self._all([item])[0]

    def process_batch(self, items: Sequence[int]) -> Sequence[int | Exception]:
        return self._all(items)

    def close(self) -> None: ...

    def _all(self, items: Sequence[int]) -> list[int]:
        self.calls.append(tuple(items))
        if len(items) > self.most:
            raise MemoryError
        for item in items:
            if item in self.bad:
                raise self.bad[item]
        return [2 * item for item in items]


@dataclass
class Picky(Whole):
    """Says of each item of a batch what is wrong with it."""

    def process_batch(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.calls.append(tuple(items))
        return [self.bad.get(item, 2 * item) for item in items]


class Miscounting(Whole):
    def process_batch(self, items: Sequence[int]) -> Sequence[int | Exception]:
        return []


@dataclass
class Account:
    """What became of each item, and which tries count."""

    tries: dict[int, int] = field(default_factory=dict)
    """Item -> tries that count."""
    done: dict[int, int] = field(default_factory=dict)
    failed: dict[int, Failure] = field(default_factory=dict)

    def run(
        self,
        worker: Worker[int, int],
        items: Sequence[int],
        batch: int,
        should_stop: Callable[[], bool] = lambda: False,
        config: EngineConfig = CONFIG,
    ) -> driver.RunSummary:
        return driver.run(
            items,
            WorkerSpec(name="doubles", factory=lambda: worker, batch=batch),
            engine=PlainEngine(),
            config=config,
            key=str,
            prepare=self._prepare,
            on_done=self._done,
            on_failed=self._failed,
            on_abandoned=lambda item: self._count(item, -1),
            should_stop=should_stop,
        )

    def _prepare(self, item: int, attempt: int) -> int:
        self._count(item, 1)
        return item

    def _count(self, item: int, number: int) -> None:
        assert item not in self.done
        assert item not in self.failed
        self.tries[item] = self.tries.get(item, 0) + number

    def _done(self, item: int, result: int) -> None:
        assert item not in self.done
        self.done[item] = result

    def _failed(self, item: int, failure: Failure) -> None:
        assert item not in self.failed
        self.failed[item] = failure


def test_items_are_handed_over_together_up_to_the_batch() -> None:
    account, worker = Account(), Whole()
    account.run(worker, range(7), 3)
    assert account.done == {n: 2 * n for n in range(7)}
    assert worker.calls == [(0, 1, 2), (3, 4, 5), (6,)]


def test_the_one_at_fault_is_found_by_halves_and_nobody_else_is_charged() -> None:
    account, worker = Account(), Whole({5: ValueError("odd one")})
    account.run(worker, range(8), 8)
    assert account.done == {n: 2 * n for n in range(8) if n != 5}
    assert (account.failed[5].kind, account.failed[5].attempts) == (FailureKind.POISON, 2)
    assert account.tries == {n: 2 if n == 5 else 1 for n in range(8)}
    # log2(8) splits, then its own attempts, alone.
    assert [call for call in worker.calls if 5 in call] == [tuple(range(8)), (4, 5, 6, 7), (4, 5), (5,), (5,)]


@settings(deadline=None)
@given(
    number=st.integers(1, 40),
    batch=st.integers(1, 16),
    bad=st.sets(st.integers(0, 39), max_size=6),
    error=st.sampled_from([ValueError("odd"), Unusable.because("no_face", "nobody"), MemoryError()]),
)
def test_whatever_is_wrong_with_whichever_items_exactly_those_fail(
    number: int, batch: int, bad: set[int], error: Exception
) -> None:
    account = Account()
    account.run(Whole(dict.fromkeys(bad, error)), range(number), batch)
    present = bad & set(range(number))
    assert set(account.failed) == present
    assert set(account.done) == set(range(number)) - present
    most = 1 if isinstance(error, Unusable) else CONFIG.max_attempts
    assert account.tries == {n: most if n in present else 1 for n in range(number)}


def test_a_worker_may_fail_single_items_of_a_batch() -> None:
    account, worker = Account(), Picky({1: ValueError("odd"), 2: Unusable.because("no_face", "nobody")})
    account.run(worker, range(4), 4)
    assert account.done == {0: 0, 3: 6}
    assert {item: (failure.kind, failure.attempts) for item, failure in account.failed.items()} == {
        1: (FailureKind.POISON, 2),
        2: (FailureKind.INPUT, 1),
    }
    # Once it has failed by itself an item is tried alone, where it can harm no other.
    assert worker.calls == [(0, 1, 2, 3), (1,)]


def test_a_single_item_out_of_memory_in_a_batch_is_tried_alone_before_it_is_charged() -> None:
    account = Account()
    account.run(Picky({1: MemoryError()}), range(3), 3, config=EngineConfig(backoff_s=0, max_attempts=1))
    assert account.failed[1].attempts == 2
    assert account.tries == {0: 1, 1: 1, 2: 1}


def test_out_of_memory_halves_what_is_handed_out_from_then_on() -> None:
    account, worker = Account(), Whole(most=2)
    account.run(worker, range(16), 8)
    assert account.done == {n: 2 * n for n in range(16)}
    assert set(account.tries.values()) == {1}
    assert max(len(call) for call in worker.calls[2:]) <= 4
    assert max(len(call) for call in worker.calls[-4:]) == 2


def test_trouble_of_the_world_is_not_split_but_tried_again_and_ends_some_day() -> None:
    account = Account()
    account.run(Whole({0: ConnectionError("the store is away")}), range(2), 2)
    # Each for itself, so that one which brings the trouble about does not take the other with it.
    assert account.done == {1: 2}
    assert (account.failed[0].kind, account.failed[0].attempts) == (FailureKind.TRANSIENT, CONFIG.max_transient + 1)


def test_the_wrong_number_of_answers_fails_the_batch_and_not_the_items() -> None:
    account = Account()
    account.run(Miscounting(), range(4), 4)
    assert account.done == {n: 2 * n for n in range(4)}


def test_a_worker_that_knows_no_batches_is_refused_before_the_first_item() -> None:
    class Single:
        def setup(self) -> None: ...

        def process(self, item: int) -> int:
            return item

        def close(self) -> None: ...

    with pytest.raises(RequestError, match="Single has no `process_batch`"):
        Account().run(Single(), range(4), 4)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_nothing_is_refused(batch: int) -> None:
    with pytest.raises(RequestError, match="doubles, `batch`"):
        WorkerSpec(name="doubles", factory=Whole, batch=batch)


def test_a_stop_takes_back_the_tries_that_were_out() -> None:
    account = Account()
    config = EngineConfig(grace_s=0, in_flight_per_worker=2)
    summary = account.run(Whole(), range(20), 3, lambda: bool(account.tries), config)
    assert (summary.stopped, summary.done) == (True, 3)
    assert summary.abandoned == 3
    assert account.tries == {n: int(n in account.done) for n in range(6)}


def test_backoff_doubles_up_to_its_limit() -> None:
    from flows.cluster.feed import Feed
    from flows.cluster.lane import Lane

    lane: Lane[int, int, int] = Lane(
        feed=Feed(()),
        spec=WorkerSpec(name="doubles", factory=functools.partial(Whole)),
        config=EngineConfig(backoff_s=1),
        key=str,
        prepare=lambda item, attempt: item,
        on_done=lambda item, result: None,
        on_failed=lambda item, failure: None,
    )
    assert [LaneRun(lane)._backoff_s(n) for n in (1, 2, 3, 20)] == [1, 2, 4, MAX_BACKOFF_S]
