"""Works off a plan: what is pending goes to the workers, and the commit records are asked again at the end.

The one bridge between the store's records and the work engine: attempts are recorded before, poison is quarantined
after, and running the same plan again does only what is still to do.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from flows.cluster.config import EngineConfig
from flows.cluster.driver import RunSummary, run
from flows.cluster.engine import Engine
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.progress import BEFORE, Progress
from flows.cluster.work import WorkerSpec
from shards.commit import Claim, Ledger, Plan, Quarantine, Receipt, Unit
from shards.errors import DubwrightError, Superseded
from shards.leases import hold_lease, leases

log = logging.getLogger(__name__)


class Stopped(KeyboardInterrupt):
    """The user asked to stop; everything committed so far is kept."""


class Unfinished(DubwrightError):
    """Units were left open by trouble that was not theirs; everything committed so far is kept."""


def work_off(
    ledger: Ledger,
    plan: Plan,
    spec: WorkerSpec[Claim, Receipt],
    *,
    engine: Engine,
    config: EngineConfig,
    progress: Progress,
    reproduce: Callable[[Unit], str],
    should_stop: Callable[[], bool],
    near: Callable[[Unit], str | None] = lambda unit: None,
) -> RunSummary:
    """Brings every unit of `plan` to a decision; raises `Stopped` when asked to stop before.

    `near` names the big file that a unit needs, so that units of one file meet on the machine that has it.
    """
    ledger.write_plan(plan)
    pending = ledger.pending(plan)
    progress.advance(BEFORE, len(plan.units) - len(pending))
    with hold_lease(ledger.store, spec.name, reads=(plan.plan_id,)) as lease:
        book = _Book(ledger, lease.run, engine.is_isolated, progress, reproduce)
        summary = run(
            book.without_killers(pending, config.max_attempts),
            spec,
            engine=engine,
            config=config,
            key=lambda unit: unit.unit_id,
            near=near,
            prepare=book.begin,
            on_done=book.done,
            on_failed=book.failed,
            on_abandoned=book.called_off,
            should_stop=should_stop,
        )
    if summary.stopped:
        raise Stopped
    if book.troubled:
        (unit_id, failure), number = book.troubled[0], len(book.troubled)
        raise Unfinished(
            f"{spec.name}: {number} units are still open after {failure.attempts} tries; the first, {unit_id}: "
            f"{failure.error_class}: {failure.message}. Once that is mended, run again"
        )
    return summary


@dataclass(slots=True)
class _Book:
    """Writes down what the engine says of the units."""

    ledger: Ledger
    run: str
    is_isolated: bool
    progress: Progress
    reproduce: Callable[[Unit], str]
    claims: dict[str, Claim] = field(default_factory=dict)
    """Of the tries under way, by unit."""
    troubled: list[tuple[str, Failure]] = field(default_factory=list)
    """Units that the store, the disk or the cluster kept from being done."""

    def begin(self, unit: Unit, attempt: int) -> Claim:
        claim = self.ledger.begin(unit, self.run, is_isolated=self.is_isolated)
        self.claims[unit.unit_id] = claim
        return claim

    def called_off(self, unit: Unit) -> None:
        self.ledger.call_off(self.claims.pop(unit.unit_id))

    def done(self, unit: Unit, receipt: Receipt) -> None:
        self.claims.pop(unit.unit_id)
        self.progress.made(len(receipt.samples))
        self.progress.advance("kept" if receipt.is_kept else "rejected")

    def failed(self, unit: Unit, failure: Failure) -> None:
        if failure.kind is FailureKind.TRANSIENT:
            # A full disk would send one good unit after another to quarantine, and a dataset without them be published.
            self.troubled.append((unit.unit_id, failure))
            self.called_off(unit)
            return
        claim = self.claims.pop(unit.unit_id)
        # Only footage that was looked at is rejected, for good. A request that cannot be met (an encoder that is not
        # installed, a file that is gone) says nothing of the footage: somebody can mend it.
        result: Receipt | Quarantine
        if failure.rejection is not None:
            result = Receipt(unit_id=unit.unit_id, stage=unit.stage, rejections=(failure.rejection,))
        else:
            result = self._given_up(unit, failure.error_class, failure.message, failure.tail, failure.attempts)
        self._decide(claim, result)

    def without_killers(self, units: Sequence[Unit], most: int) -> Iterator[Unit]:
        """The units, less those whose earlier tries ended so often with the very process that ran the whole.

        That is all that can be seen of a crash in native code where work is not done in processes of its own.
        """
        fatal = self._fatal_tries({unit.unit_id for unit in units})
        for unit in units:
            if fatal.get(unit.unit_id, 0) < most:
                yield unit
                continue
            message = f"{fatal[unit.unit_id]} tries ended with the process that ran them"
            claim = self.ledger.begin(unit, self.run, is_isolated=self.is_isolated)
            self._decide(claim, self._given_up(unit, "ProcessDied", message, "", fatal[unit.unit_id]))

    def _fatal_tries(self, unit_ids: set[str]) -> Mapping[str, int]:
        """Unit -> tries of runs that are over, which were not in a process of their own and left no decision."""
        tried = {path.split("/")[1] for path in self.ledger.store.list("attempts/")} & unit_ids
        alive = {seen.lease.run for seen in leases(self.ledger.store, self.run) if seen.is_alive} if tried else set()
        fatal: Counter[str] = Counter()
        for unit_id in tried:
            opened = self.ledger.opened_by_hand(unit_id)
            for attempt in self.ledger.attempts(unit_id):
                if attempt.epoch > opened and not attempt.is_isolated and attempt.run not in alive:
                    fatal[unit_id] += 1
        return fatal

    def _given_up(self, unit: Unit, error_class: str, message: str, tail: str, attempts: int) -> Quarantine:
        return Quarantine(
            unit_id=unit.unit_id,
            error_class=error_class,
            message=message,
            stderr_tail=tail,
            reproduce=self.reproduce(unit),
            attempts=attempts,
        )

    def _decide(self, claim: Claim, result: Receipt | Quarantine) -> None:
        try:
            holds = self.ledger.decide(claim, result)
        except Superseded as error:
            # Somebody opened the unit again while it was tried: whoever did will have it tried anew.
            log.warning("%s", error)
            return
        if isinstance(holds, Quarantine):
            self.progress.advance("quarantined")
        else:
            self.progress.advance("kept" if holds.is_kept else "rejected")


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
