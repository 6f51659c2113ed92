"""Where a lane's items come from: a given source, or what other lanes of the same run put in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import Generic

from flows.cluster.work import Item

_UNTOLD = 100
"""Items that a source of unknown length is taken to have left at least."""


class Feed(Generic[Item]):
    """Items in the order they are to be begun.

    `Feed(items)` ends with its source. `Feed()` is open: callbacks of the run put items in while it goes on, and
    whoever knows that no more will come closes it. Not for other threads.
    """

    def __init__(self, items: Iterable[Item] | None = None) -> None:
        self._sized = items if isinstance(items, Sized) else None
        self._source: Iterator[Item] | None = None if items is None else iter(items)
        self._put: deque[Item] = deque()
        self._is_open = items is None
        self._taken = 0

    def put(self, item: Item) -> None:
        if not self._is_open:
            raise RuntimeError("this feed is closed: what it was to hold has been counted")
        self._put.append(item)

    def close(self) -> None:
        """No more will be put in; what is in it is still worked off."""
        self._is_open = False

    def take(self) -> Item | None:
        """The next item; None when there is none at the moment, or none any more."""
        if self._source is not None:
            for item in self._source:
                self._taken += 1
                return item
            self._source = None
        return self._put.popleft() if self._put else None

    def drain(self) -> list[Item]:
        """What was put in and is not begun, taken out again: nobody is going to do it in this run."""
        left = list(self._put)
        self._put.clear()
        return left

    @property
    def is_over(self) -> bool:
        """Nothing is left and nothing will come."""
        if self._is_open or self._put:
            return False
        return self._source is None or self._left_in_source == 0

    @property
    def left(self) -> int:
        """How many items are still to come, as far as that is known.

        A source that does not say how long it is counts for as much again as it gave so far.
        """
        return len(self._put) + self._left_in_source

    @property
    def _left_in_source(self) -> int:
        if self._source is None:
            return 0
        return max(0, len(self._sized) - self._taken) if self._sized is not None else max(_UNTOLD, self._taken)
