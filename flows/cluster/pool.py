"""What a pool of workers tells its driver. A pool looks after workers, the driver looks after items.

A pool starts its workers, ends those that hang and replaces those that died. It never decides what becomes of an item:
it reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flows.cluster.boundary import Done, Failed
from flows.cluster.work import Result

_Item_contra = TypeVar("_Item_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """An attempt is over, well or not; a hang and a crash are failed attempts."""

    ticket: int
    outcome: Done[Result] | Failed


@dataclass(frozen=True, slots=True)
class Returned:
    """An item comes back untried: it waited behind another in a worker that was lost."""

    ticket: int


class Pool(Protocol[_Item_contra, Result]):
    """Workers of one kind."""

    num_workers: int

    def room(self) -> int:
        """How many more items may be handed over now; workers still starting have no room."""
        ...

    def submit(self, ticket: int, item: _Item_contra) -> None:
        """Hands an item to the least busy worker; only when there is room."""
        ...

    def wait(self, timeout_s: float) -> list[Finished[Result] | Returned]:
        """What has happened since; at most `timeout_s` later, perhaps nothing.

        Raises `WorkerSetupError` (or `RequestError`) when workers cannot be made to work at all.
        """
        ...

    def close(self) -> None:
        """Ends every worker, busy or not, and its processes."""
        ...
