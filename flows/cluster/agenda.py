"""What a lane hands out next: batches whose time has come again first, then new items of its feed."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from flows.cluster.feed import Feed
from flows.cluster.work import Item

LOOK_AHEAD = 32
"""New items among which the one nearest to a free worker is chosen; an item is passed over no more often than that."""


@dataclass(slots=True, kw_only=True, eq=False)
class Entry(Generic[Item]):
    """An item under way."""

    item: Item
    key: str
    near: str | None
    """The big file that it needs."""
    handed: int = 0
    """Times it was given to a worker."""
    charged: int = 0
    uncharged: int = 0


Batch = tuple[Entry[Item], ...]
Choose = Callable[[Sequence[str | None]], int]


class Agenda(Generic[Item]):
    """Keeps the order of a lane's items; what became of them is decided elsewhere."""

    def __init__(
        self, feed: Feed[Item], key: Callable[[Item], str], near: Callable[[Item], str | None] | None, batch: int
    ) -> None:
        self.batch = batch
        """Items handed out at once, at most."""
        self._feed, self._key, self._near = feed, key, near
        self._ahead: list[Entry[Item]] = []
        self._passed_over = 0
        self._waiting: list[tuple[float, int, Batch[Item]]] = []
        self._numbers = itertools.count()

    @property
    def num_waiting(self) -> int:
        return sum(len(batch) for _, _, batch in self._waiting)

    @property
    def num_left(self) -> int:
        """Items still to be handed out, as far as that is known."""
        return self._feed.left + len(self._ahead) + self.num_waiting

    @property
    def is_over(self) -> bool:
        return self._feed.is_over and not self._ahead and not self._waiting

    @property
    def due_in_s(self) -> float | None:
        """Seconds until a batch's time has come again; None when none waits."""
        return self._waiting[0][0] - time.monotonic() if self._waiting else None

    def again(self, batch: Batch[Item], delay_s: float = 0.0) -> None:
        """Hands the batch out another time, not before the delay is over."""
        heapq.heappush(self._waiting, (time.monotonic() + delay_s, next(self._numbers), batch))

    def next_due(self) -> Batch[Item]:
        """A batch that has waited long enough; empty when there is none."""
        if (left_s := self.due_in_s) is None or left_s > 0:
            return ()
        when, number, batch = heapq.heappop(self._waiting)
        if rest := batch[self.batch :]:
            heapq.heappush(self._waiting, (when, number, rest))
        return batch[: self.batch]

    def next_new(self, size: int, choose: Choose) -> Batch[Item]:
        """Up to `size` items nobody has tried yet, those of one big file together; empty when there is none."""
        size = min(size, self.batch)
        self._look_ahead(max(size, LOOK_AHEAD) if self._near else size)
        if not self._ahead:
            return ()
        first = self._ahead.pop(self._chosen(choose))
        # Sorting keeps the order of those that are equally near.
        others = sorted(self._ahead, key=lambda entry: entry.near != first.near)[: size - 1]
        self._ahead = [entry for entry in self._ahead if entry not in others]
        return first, *others

    def _look_ahead(self, number: int) -> None:
        while len(self._ahead) < number and (item := self._feed.take()) is not None:
            near = self._near(item) if self._near else None
            self._ahead.append(Entry(item=item, key=self._key(item), near=near))

    def _chosen(self, choose: Choose) -> int:
        if self._near is None or self._passed_over >= LOOK_AHEAD:
            self._passed_over = 0
            return 0
        index = choose([entry.near for entry in self._ahead])
        self._passed_over = self._passed_over + 1 if index else 0
        return index
