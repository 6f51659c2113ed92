"""Reading ahead keeps the order, holds a bounded number, and stops when nobody reads."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from shards.ahead import read_ahead


def test_results_come_in_the_order_of_their_items() -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.01 if n % 4 == 0 else 0)
        return n * n

    assert list(read_ahead(slow_first, range(20), depth=4)) == [n * n for n in range(20)]


def test_no_more_than_the_depth_is_begun_ahead_of_the_reader() -> None:
    begun: list[int] = []
    results = read_ahead(lambda n: begun.append(n), itertools.count(), depth=3)
    for _ in range(5):
        next(results)
    results.close()
    assert 5 <= len(begun) <= 5 + 3


def test_what_is_under_way_costs_no_more_than_the_budget() -> None:
    begun: list[int] = []
    results = read_ahead(lambda n: begun.append(n), itertools.count(1), depth=50, cost=lambda n: n, budget=20)
    for taken in range(1, 6):
        next(results)
        assert sum(begun[taken:]) <= 20
    results.close()


def test_what_was_taken_costs_no_longer() -> None:
    asked_for: list[int] = []
    items = (asked_for.append(n) or n for n in itertools.count())
    results = read_ahead(lambda n: n, items, depth=50, cost=lambda _: 5, budget=20)
    for taken in range(1, 40):
        next(results)
        assert len(asked_for) - taken >= 20 // 5 - 1
    results.close()


def test_what_alone_costs_more_than_the_budget_still_comes() -> None:
    assert list(read_ahead(lambda n: n, [5, 30, 6], depth=2, cost=lambda n: n, budget=10)) == [5, 30, 6]


def test_a_failure_reaches_the_reader_at_its_place() -> None:
    results = read_ahead(lambda n: 1 // (2 - n), range(5), depth=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_thread_is_left_when_the_reader_stops_early() -> None:
    results = read_ahead(lambda n: n, itertools.count(), depth=3)
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
