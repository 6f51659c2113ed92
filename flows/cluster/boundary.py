"""The per-item boundary: the one place that catches broadly, and writes down what it caught.

It runs in the worker's own process, where the traceback is still whole: an exception need not survive pickling.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flows.cluster.failures import Failure, FailureKind, failure_of
from flows.cluster.work import Item, Result, Shrinkable, Worker

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[Result]):
    """An item that went well."""

    result: Result
    busy_s: float
    """Seconds spent in `process`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An item that did not."""

    failure: Failure
    busy_s: float = 0.0


def perform(worker: Worker[Item, Result], item: Item) -> Done[Result] | Failed:
    """One attempt. A worker that runs out of memory may shrink and try the same item again, for as long as it can."""
    begun = time.monotonic()
    while True:
        outcome = _caught(lambda: worker.process(item))
        busy_s = time.monotonic() - begun
        if not isinstance(outcome, Failure):
            return Done(result=outcome.value, busy_s=busy_s)
        if outcome.kind is not FailureKind.OUT_OF_MEMORY or not _shrunk(worker):
            return Failed(failure=outcome, busy_s=busy_s)


def set_up(worker: Worker[Item, Result]) -> Failure | None:
    """Makes the worker ready; what was caught, or None."""
    outcome = _caught(worker.setup)
    return outcome if isinstance(outcome, Failure) else None


def put_away(worker: Worker[Item, Result]) -> Failure | None:
    """Closes the worker; what was caught, or None."""
    outcome = _caught(worker.close)
    return outcome if isinstance(outcome, Failure) else None


def made(factory: Callable[[], Worker[Item, Result]]) -> Worker[Item, Result] | Failure:
    """The worker, or why there is none."""
    outcome = _caught(factory)
    return outcome if isinstance(outcome, Failure) else outcome.value


@dataclass(frozen=True, slots=True)
class _Value(Generic[_T]):
    value: _T


def _caught(call: Callable[[], _T]) -> _Value[_T] | Failure:
    try:
        return _Value(call())
    # SystemExit too: a library that gives up on one item must not take the worker, or in a plain loop the run, with it.
    except (Exception, SystemExit) as exc:  # noqa: BLE001
        return failure_of(exc)


def _shrunk(worker: object) -> bool:
    return isinstance(worker, Shrinkable) and worker.shrink()
