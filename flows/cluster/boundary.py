"""The per-item boundary: the one place that catches broadly, and writes down what it caught.

It runs in the worker's own process, where the traceback is still whole: an exception need not survive pickling.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from flows.cluster.failures import Failure, FailureKind, failure_of
from flows.cluster.work import BatchWorker, Item, Result, Shrinkable, Worker, WorkerSpec
from shards.errors import RequestError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[Result]):
    """An item that went well."""

    result: Result
    busy_s: float
    """Seconds spent in the worker; of a batch, this item's share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An item that did not; or a whole batch, of which nobody can say yet which item it was."""

    failure: Failure
    busy_s: float = 0.0


Outcomes = tuple[Done[Result] | Failed, ...]
"""One an item, in their order."""


def perform(worker: Worker[Item, Result], items: Sequence[Item]) -> Outcomes[Result] | Failed:
    """One attempt at one item, or at several at once."""
    return _perform_one(worker, items[0]) if len(items) == 1 else _perform_batch(worker, items)


def _perform_one(worker: Worker[Item, Result], item: Item) -> Outcomes[Result] | Failed:
    """A worker that runs out of memory may shrink and try the same item again, for as long as it can."""
    begun = time.monotonic()
    while True:
        outcome = _caught(lambda: worker.process(item))
        busy_s = time.monotonic() - begun
        if not isinstance(outcome, Failure):
            return (Done(result=outcome.value, busy_s=busy_s),)
        if outcome.kind is not FailureKind.OUT_OF_MEMORY or not _shrunk(worker):
            return Failed(failure=outcome, busy_s=busy_s)


def _perform_batch(worker: Worker[Item, Result], items: Sequence[Item]) -> Outcomes[Result] | Failed:
    begun = time.monotonic()
    outcome = _caught(lambda: _answers(worker, items))
    busy_s = time.monotonic() - begun
    if isinstance(outcome, Failure):
        return Failed(failure=outcome, busy_s=busy_s)
    share_s = busy_s / len(items)
    return tuple(
        Failed(failure=failure_of(answer), busy_s=share_s)
        if isinstance(answer, Exception)
        else Done(result=answer, busy_s=share_s)
        for answer in outcome.value
    )


def _answers(worker: Worker[Item, Result], items: Sequence[Item]) -> Sequence[Result | Exception]:
    answers = cast(BatchWorker[Item, Result], worker).process_batch(items)
    if len(answers) != len(items):
        raise RuntimeError(f"process_batch gave {len(answers)} answers to {len(items)} items; one an item is needed")
    return answers


def set_up(worker: Worker[Item, Result]) -> Failure | None:
    """Makes the worker ready; what was caught, or None."""
    outcome = _caught(worker.setup)
    return outcome if isinstance(outcome, Failure) else None


def put_away(worker: Worker[Item, Result]) -> Failure | None:
    """Closes the worker; what was caught, or None."""
    outcome = _caught(worker.close)
    return outcome if isinstance(outcome, Failure) else None


def made(spec: WorkerSpec[Item, Result]) -> Worker[Item, Result] | Failure:
    """The worker, or why there is none."""
    outcome = _caught(lambda: _fit(spec))
    return outcome if isinstance(outcome, Failure) else outcome.value


def _fit(spec: WorkerSpec[Item, Result]) -> Worker[Item, Result]:
    worker = spec.factory()
    if spec.batch > 1 and not isinstance(worker, BatchWorker):
        raise RequestError(
            f"{type(worker).__name__} has no `process_batch`, so it takes one item at a time",
            where=spec.name,
            field="batch",
            value=spec.batch,
        )
    return worker


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
