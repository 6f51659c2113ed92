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
    results.close()  # type: ignore[attr-defined]
    assert 5 <= len(begun) <= 5 + 3


def test_a_failure_reaches_the_reader_at_its_place() -> None:
    results = read_ahead(lambda n: 1 // (2 - n), range(5), depth=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_thread_is_left_when_the_reader_stops_early() -> None:
    results = read_ahead(lambda n: n, itertools.count(), depth=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("read-ahead")]
