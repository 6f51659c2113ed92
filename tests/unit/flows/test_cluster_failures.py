"""Which errors are whose."""

from __future__ import annotations

import errno
import pickle

import pytest

from flows.cluster.failures import TAIL_CHARS, FailureKind, WorkerSetupError, classify, failure_of, setup_error
from preprocessing.errors import MediaToolTimeout, ToolMissing, Unusable
from shards.errors import (
    ObjectDamaged,
    RequestError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    Superseded,
    SweptMeanwhile,
)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def _raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RequestError("wrong"), FailureKind.INPUT),
        (ToolMissing("no ffmpeg"), FailureKind.INPUT),
        (Unusable.because("no_face", "nobody"), FailureKind.INPUT),
        (ConnectionResetError("peer"), FailureKind.TRANSIENT),
        (TimeoutError("slow"), FailureKind.TRANSIENT),
        (OSError(errno.ENOSPC, "No space left on device"), FailureKind.TRANSIENT),
        (StoreUnavailable("503"), FailureKind.TRANSIENT),
        # It can be put again once the sweep is over.
        (SweptMeanwhile("a sweep is under way"), FailureKind.TRANSIENT),
        # Trying again would come to the same decision, or to none.
        (Superseded("the unit was given up"), FailureKind.INPUT),
        (_raised_from(ObjectDamaged("fragment"), StoreUnavailable("503")), FailureKind.TRANSIENT),
        (StoreDenied("403"), FailureKind.INPUT),
        (_raised_from(StoreError("cannot pack"), StoreDenied("403")), FailureKind.INPUT),
        (_raised_from(StoreError("put failed"), ConnectionError("peer")), FailureKind.TRANSIENT),
        (MemoryError(), FailureKind.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), FailureKind.OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory"), FailureKind.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureKind.OUT_OF_MEMORY),
        (ValueError("odd"), FailureKind.POISON),
        (ObjectDamaged("bytes differ"), FailureKind.POISON),
        (FileNotFoundError(errno.ENOENT, "No such file"), FailureKind.POISON),
        # A program that hung on this file is this file's doing, whatever its name says.
        (MediaToolTimeout("stalled", command=["ffmpeg"], status=None, stderr=""), FailureKind.POISON),
    ],
)
def test_each_error_has_its_kind(error: Exception, kind: FailureKind) -> None:
    assert classify(error) is kind


def test_an_error_met_while_handling_another_is_not_excused_by_it() -> None:
    error = ValueError("odd")
    error.__context__ = ConnectionError("peer")
    assert classify(error) is FailureKind.POISON


def test_causes_that_go_in_a_circle_are_followed_once() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) is FailureKind.POISON


def test_a_record_keeps_the_end_of_a_long_traceback() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("x" * 9000 + "the end")
        deep(n - 1)

    with pytest.raises(ValueError, match="the end") as caught:
        deep(5)
    failure = failure_of(caught.value)
    assert len(failure.tail) == TAIL_CHARS
    assert failure.tail.rstrip().endswith("the end")


def test_an_error_without_a_message_still_says_something() -> None:
    assert failure_of(KeyboardInterrupt()).message == "KeyboardInterrupt()"


def test_a_record_crosses_processes() -> None:
    failure = failure_of(Unusable.because("no_face", "nobody"))
    assert pickle.loads(pickle.dumps(failure)) == failure  # noqa: S301


def test_a_worker_that_was_asked_for_wrongly_is_a_wrong_request() -> None:
    assert isinstance(setup_error("faces", failure_of(ToolMissing("no weights"))), RequestError)
    assert isinstance(setup_error("faces", failure_of(ValueError("odd"))), WorkerSetupError)
