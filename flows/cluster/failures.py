"""What went wrong with an item, and what is done about it.

    DubwrightError
    `-- EngineError              the engine itself cannot go on                   (exit code 1)
        `-- WorkerSetupError     workers of a pool keep failing before their first item

| kind          | example                                   | treatment                                             |
|---------------|-------------------------------------------|-------------------------------------------------------|
| input         | RequestError, StoreDenied, Unusable       | not retried                                           |
| transient     | connection lost, disk full, SweptMeanwhile | backs off and tries again, not charged to the item   |
| out_of_memory | CUDA out of memory, MemoryError           | the worker shrinks its batch; at its smallest: charged |
| poison        | any other exception                       | charged; given up after `max_attempts`                |
| hang          | the deadline passed, the worker was ended | charged                                               |
| crash         | the worker's process died                 | charged                                               |

A charge is one of the item's `max_attempts`. What becomes of an item that is given up (a rejection, the quarantine) is
the caller's decision, in its `on_failed`. A batch of several that fails as a whole is charged to nobody: it is tried
again in halves until the item at fault is alone.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from preprocessing.errors import Unusable
from shards.errors import DubwrightError, RequestError, StoreDenied, StoreUnavailable, Superseded, SweptMeanwhile
from shards.schema import Rejection

TAIL_CHARS = 4000
"""How much of a traceback or of a worker's stderr is kept: the end of it, where the cause is."""


class EngineError(DubwrightError):
    """The work engine cannot go on."""


class WorkerSetupError(EngineError):
    """Workers of a pool fail before they can take their first item."""


class FailureKind(StrEnum):
    INPUT = "input"
    TRANSIENT = "transient"
    OUT_OF_MEMORY = "out_of_memory"
    POISON = "poison"
    HANG = "hang"
    CRASH = "crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt, in plain values: it crosses processes where the exception itself might not."""

    kind: FailureKind
    error_class: str
    """The exception's class; for a hang or a crash, what the engine saw."""
    message: str
    tail: str = ""
    """The end of the traceback, or of what the dead worker's process wrote to its stderr."""
    attempts: int = 1
    """Attempts of the item that have failed so far, this one with them."""
    rejection: Rejection | None = None
    """The row that unusable footage becomes."""


_TRANSIENT_TYPES = (ConnectionError, TimeoutError, InterruptedError, BlockingIOError, StoreUnavailable, SweptMeanwhile)
_TRANSIENT_ERRNO = frozenset(
    {
        *(errno.EAGAIN, errno.EINTR, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT),
        # Full, exhausted or stale: the machine's trouble, not the item's.
        *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ESTALE),
    }
)
# Torch's class is known by its name: torch itself is not imported here. On the CPU it is a bare RuntimeError.
_MEMORY_CLASSES = frozenset({"OutOfMemoryError"})
_MEMORY_SAYINGS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def classify(exc: BaseException) -> FailureKind:
    """The kind of failure an exception stands for; an unknown one is poison.

    What an error was raised *from* counts as well: a StoreError over a lost connection is transient.
    """
    chain = list(_causes(exc))
    if isinstance(exc, RequestError | Unusable | Superseded) or any(isinstance(cause, StoreDenied) for cause in chain):
        return FailureKind.INPUT
    if any(_is_out_of_memory(cause) for cause in chain):
        return FailureKind.OUT_OF_MEMORY
    if any(_is_transient(cause) for cause in chain):
        return FailureKind.TRANSIENT
    return FailureKind.POISON


def failure_of(exc: BaseException) -> Failure:
    """The record of a caught exception."""
    return Failure(
        kind=classify(exc),
        error_class=type(exc).__name__,
        message=str(exc) or repr(exc),
        tail="".join(traceback.format_exception(exc))[-TAIL_CHARS:],
        rejection=exc.rejection if isinstance(exc, Unusable) else None,
    )


def _causes(exc: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = exc
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        # Only an explicit `raise ... from`: an error met while handling another is not explained by it.
        cause = cause.__cause__


def _is_out_of_memory(exc: BaseException) -> bool:
    if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM):
        return True
    if _MEMORY_CLASSES & {cls.__name__ for cls in type(exc).__mro__}:
        return True
    return isinstance(exc, RuntimeError) and any(saying in str(exc).lower() for saying in _MEMORY_SAYINGS)


def _is_transient(exc: BaseException) -> bool:
    return isinstance(exc, _TRANSIENT_TYPES) or (isinstance(exc, OSError) and exc.errno in _TRANSIENT_ERRNO)


def setup_error(worker: str, failure: Failure) -> DubwrightError:
    """What to raise when a worker cannot start: what the caller asked for wrongly stays a wrong request."""
    text = f"the worker cannot start: {failure.error_class}: {failure.message}"
    if failure.kind is FailureKind.INPUT:
        return RequestError(text, where=worker)
    return WorkerSetupError(f"{worker}: {text}" + (f"\n{failure.tail}" if failure.tail else ""))
