"""One lane of a run: items of one kind, the workers that do them, and who is told what became of each.

A run has one lane (`run`) or several at once (`run_lanes`): the stages of a pipeline, where what is done in one lane
becomes an item of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flows.cluster.config import EngineConfig
from flows.cluster.failures import Failure
from flows.cluster.feed import Feed
from flows.cluster.work import Item, Result, WorkerSpec

Task = TypeVar("Task")
"""What of an item crosses to its worker."""


def _nothing(item: object) -> None:
    """What most callers have to say to a call-back they have no use for."""


def _never_mind() -> None:
    """Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane(Generic[Item, Task, Result]):
    """Callbacks run in the driver, one at a time; an exception in one of them ends the run.

    Every `prepare` opens a try of its item. `on_done` or `on_failed` ends the last one; `on_abandoned` says of a try
    that it does not count. A try that counts and failed, but is not the last, is followed by the next `prepare`.
    """

    feed: Feed[Item]
    spec: WorkerSpec[Task, Result]
    config: EngineConfig
    key: Callable[[Item], str]
    """The item's name in logs."""
    prepare: Callable[[Item, int], Task]
    """What is handed to the worker; called right before, with the number of this try, counted from 1."""
    on_done: Callable[[Item, Result], None]
    on_failed: Callable[[Item, Failure], None]
    on_abandoned: Callable[[Item], None] = _nothing
    """The item's try does not count: it came back untried, with others in a batch that is tried again in halves, from
    trouble that is not its own, or the run was stopped in the middle of it."""
    on_over: Callable[[], None] = _never_mind
    """Every item of the lane is closed and its feed is over: the place to close the feed of the next lane."""
    near: Callable[[Item], str | None] | None = None
    """The big file an item needs; its items go where that file was last, as long as no worker idles for it."""
