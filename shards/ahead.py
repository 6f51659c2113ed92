"""Reading ahead: hides a store's latency, keeps the order, holds a bounded number (and bulk) of results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    depth: int,
    cost: Callable[[Item], int] = lambda _: 0,
    budget: int = 0,
) -> Generator[Result]:
    """`map(work, items)`, with up to `depth` calls under way in threads. Endless `items` are fine.

    What is under way or waits to be taken costs at most `budget` together, but for an item that alone costs more.
    """
    waiting: deque[tuple[Future[Result], int]] = deque()
    held = 0
    pool = ThreadPoolExecutor(max_workers=depth, thread_name_prefix="read-ahead")
    try:
        for item in items:
            due = cost(item)
            while waiting and (len(waiting) > depth or held + due > budget):
                first, freed = waiting.popleft()
                yield first.result()
                held -= freed
            waiting.append((pool.submit(work, item), due))
            held += due
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        # Also reached when the reader stops early: nothing may keep running for a result that nobody takes.
        pool.shutdown(wait=True, cancel_futures=True)
