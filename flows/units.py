"""Works off a plan: what is pending goes to the workers, and the commit records are asked again at the end.

The one bridge between the store's records and the work engine: attempts are recorded before, poison is quarantined
after, and running the same plan again does only what is still to do.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from types import FrameType

from flows.cluster.config import EngineConfig
from flows.cluster.driver import RunSummary, run
from flows.cluster.engine import Engine
from flows.cluster.failures import Failure
from flows.cluster.progress import BEFORE, Progress
from flows.cluster.work import WorkerSpec
from shards.commit import Ledger, Plan, Quarantine, Receipt, Unit


class Stopped(KeyboardInterrupt):
    """The user asked to stop; everything committed so far is kept."""


def work_off(
    ledger: Ledger,
    plan: Plan,
    spec: WorkerSpec[Unit, Receipt],
    *,
    engine: Engine,
    config: EngineConfig,
    progress: Progress,
    reproduce: Callable[[Unit], str],
    should_stop: Callable[[], bool],
) -> RunSummary:
    """Brings every unit of `plan` to a commit or to quarantine; raises `Stopped` when asked to stop before."""
    ledger.write_plan(plan)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    pending = ledger.pending(plan)
    if len(pending) < len(plan.units):
        progress.advance(BEFORE, len(plan.units) - len(pending))

    def started(unit: Unit, attempt: int) -> None:
        ledger.begin(unit, owner)

    def done(unit: Unit, receipt: Receipt) -> None:
        progress.advance("kept" if receipt.is_kept else "rejected")

    def failed(unit: Unit, failure: Failure) -> None:
        # Only footage that was looked at is rejected, for good. A request that cannot be met (an encoder that is not
        # installed, a file that is gone) says nothing of the footage: somebody can mend it.
        if failure.rejection is not None:
            receipt = ledger.commit(Receipt(unit_id=unit.unit_id, stage=unit.stage, rejections=(failure.rejection,)))
            done(unit, receipt)
            return
        ledger.quarantine(
            Quarantine(
                unit_id=unit.unit_id,
                error_class=failure.error_class,
                message=failure.message,
                stderr_tail=failure.tail,
                reproduce=reproduce(unit),
                attempts=failure.attempts,
            )
        )
        progress.advance("quarantined")

    summary = run(
        pending,
        spec,
        engine=engine,
        config=config,
        key=lambda unit: unit.unit_id,
        on_start=started,
        on_done=done,
        on_failed=failed,
        should_stop=should_stop,
    )
    if summary.stopped:
        raise Stopped
    return summary


def release_all(ledger: Ledger) -> list[str]:
    """Lets every unit in quarantine be tried again; their ids."""
    given_up = [PurePosixPath(path).stem for path in ledger.store.list("quarantine/")]
    return [unit_id for unit_id in given_up if ledger.release(unit_id)]


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C (or SIGTERM) into a request to stop; the second ends the program at once.

    Outside the main thread (a scheduler's worker) signals are not ours, and the request never comes.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
