"""What a pool of workers tells its driver. A pool looks after workers, the driver looks after items.

A pool starts its workers, ends those that hang and replaces those that died. It never decides what becomes of an item:
it reports. Items are handed over in batches, each under a ticket; a batch is often a single item.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flows.cluster.boundary import Failed, Outcomes
from flows.cluster.work import Result

_Item_contra = TypeVar("_Item_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """A batch came back with an answer for each of its items."""

    ticket: int
    outcomes: Outcomes[Result]


@dataclass(frozen=True, slots=True)
class Broken:
    """A batch failed as a whole; a hang and a crash are such failures."""

    ticket: int
    failed: Failed


@dataclass(frozen=True, slots=True)
class Returned:
    """A batch comes back untried: it waited behind another in a worker that was lost."""

    ticket: int


Event = Finished[Result] | Broken | Returned


class Pool(Protocol[_Item_contra, Result]):
    """Workers of one kind."""

    @property
    def num_workers(self) -> int:
        """Workers that take items, or will once they have started."""
        ...

    @property
    def num_held(self) -> int:
        """Workers that hold their share of the machine: those on their way out are among them."""
        ...

    @property
    def start_s(self) -> float:
        """How long a worker takes to start, as measured; 0 before the first has."""
        ...

    def room(self) -> int:
        """How many more batches may be handed over now; workers still starting have no room."""
        ...

    def choose(self, near: Sequence[str | None]) -> int:
        """Which of these would suit a free worker best, each named by the big file it needs."""
        ...

    def submit(self, ticket: int, items: Sequence[_Item_contra], near: str | None = None) -> None:
        """Hands a batch to one of the least busy workers; only when there is room."""
        ...

    def poll(self) -> Sequence[Event[Result]]:
        """What has happened since, perhaps nothing.

        Raises `WorkerSetupError` (or `RequestError`) when workers cannot be made to work at all.
        """
        ...

    def resize(self, num_workers: int) -> None:
        """Starts workers, or lets surplus ones go: each after the items it has, none is killed over its work."""
        ...

    def close(self) -> None:
        """Ends every worker, busy or not, and its processes."""
        ...


def batch_deadline_s(deadline_s: float, num_items: int) -> float:
    """How long a batch may take, where one item may take `deadline_s`.

    Grows slower than the batch: a hang in a batch of 32 is found within 6 deadlines. A batch that honestly takes longer
    is only split; an item is never said to hang before it had a whole deadline to itself.
    """
    return deadline_s * (1 + math.log2(num_items))
