"""Works off units: what is pending goes to the workers, and every try and decision is written down.

The one bridge between the store's records and the work engine: attempts are recorded before, poison is quarantined
after, and running the same plan again does only what is still to do. `work_off` takes one plan through one lane; a
`Book` serves any number of lanes.
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
from flows.cluster.driver import RunSummary, run_lanes
from flows.cluster.engine import Engine
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.feed import Feed
from flows.cluster.lane import Lane
from flows.cluster.progress import BEFORE, Progress
from flows.cluster.work import WorkerSpec
from shards.commit import Claim, Ledger, Plan, Quarantine, Receipt, Unit
from shards.errors import DubwrightError, Superseded
from shards.leases import hold_lease, leases

log = logging.getLogger(__name__)
Settled = Callable[[Unit, Receipt | Quarantine | None], None]
"""(unit, what holds of it; None: it is still open)."""


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
        book = Book(ledger, lease.run, engine.is_isolated, config.max_attempts, reproduce, advancing(progress))
        feed = Feed(book.without_killers(pending))
        (summary,) = run_lanes([book.lane(feed, spec, config, near=near)], engine=engine, should_stop=should_stop)
    if summary.stopped:
        raise Stopped
    if book.troubled:
        (unit_id, failure), number = next(iter(book.troubled.items())), len(book.troubled)
        raise Unfinished(
            f"{spec.name}: {number} units are still open after {failure.attempts} tries; the first, {unit_id}: "
            f"{failure.error_class}: {failure.message}. Once that is mended, run again"
        )
    return summary


def advancing(progress: Progress) -> Settled:
    """Books each unit that is settled."""

    def settled(unit: Unit, result: Receipt | Quarantine | None) -> None:
        if isinstance(result, Receipt):
            progress.made(len(result.samples))
            progress.advance("kept" if result.is_kept else "rejected")
        elif result is not None:
            progress.advance("quarantined")

    return settled


@dataclass(slots=True)
class Book:
    """Writes down what the engine says of the units, in whichever lane they are."""

    ledger: Ledger
    run: str
    is_isolated: bool
    max_attempts: int
    reproduce: Callable[[Unit], str]
    settled: Settled
    """Told of every unit that nothing more will be done for in this run."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """Of the tries under way, by unit."""
    troubled: dict[str, Failure] = field(default_factory=dict)
    """Units that the store, the disk or the cluster kept from being done; they are open still."""

    def lane(
        self,
        feed: Feed[Unit],
        spec: WorkerSpec[Claim, Receipt],
        config: EngineConfig,
        *,
        near: Callable[[Unit], str | None] | None = None,
        on_over: Callable[[], None] = lambda: None,
    ) -> Lane[Unit, Claim, Receipt]:
        """A lane whose tries, results and failures are written down here."""
        return Lane(
            feed=feed,
            spec=spec,
            config=config,
            key=lambda unit: unit.unit_id,
            prepare=self.begin,
            on_done=self.done,
            on_failed=self.failed,
            on_abandoned=self.called_off,
            on_over=on_over,
            near=near,
        )

    def begin(self, unit: Unit, attempt: int) -> Claim:
        claim = self.ledger.begin(unit, self.run, is_isolated=self.is_isolated)
        self.claims[unit.unit_id] = claim
        return claim

    def called_off(self, unit: Unit) -> None:
        self.ledger.call_off(self.claims.pop(unit.unit_id))

    def done(self, unit: Unit, receipt: Receipt) -> None:
        self.claims.pop(unit.unit_id)
        self.settled(unit, receipt)

    def failed(self, unit: Unit, failure: Failure) -> None:
        if failure.kind is FailureKind.TRANSIENT:
            # A full disk would send one good unit after another to quarantine, and a dataset without them be published.
            self.troubled[unit.unit_id] = failure
            self.called_off(unit)
            self.settled(unit, None)
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

    def without_killers(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """The units, less those whose earlier tries ended so often with the very process that ran the whole.

        That is all that can be seen of a crash in native code where work is not done in processes of its own.
        """
        fatal = self._fatal_tries({unit.unit_id for unit in units})
        for unit in units:
            if fatal.get(unit.unit_id, 0) < self.max_attempts:
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
            holds: Receipt | Quarantine | None = self.ledger.decide(claim, result)
        except Superseded as error:
            # Somebody opened the unit again while it was tried: whoever did will have it tried anew.
            log.warning("%s", error)
            holds = None
        self.settled(claim.unit, holds)


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
