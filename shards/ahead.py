"""Reading ahead: hides a store's latency, keeps the order, holds a bounded number of results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(work: Callable[[Item], Result], items: Iterable[Item], *, depth: int) -> Iterator[Result]:
    """`map(work, items)`, with up to `depth` calls under way in threads. Endless `items` are fine."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(max_workers=depth, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Also reached when the reader stops early: nothing may keep running for a result that nobody takes.
        pool.shutdown(wait=True, cancel_futures=True)
