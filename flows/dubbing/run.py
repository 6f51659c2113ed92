"""A run over a catalogue: all kinds of work at once, and each title going on by itself.

    analyse -> adapt -> render -> picture -> master

Owns which unit may be begun when. A title waits for the units of its stage; when the last of them is settled its next
stage is planned from the records. What a title cannot get over ends that title and no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from flows.cluster.config import EngineConfig
from flows.cluster.driver import RunSummary, run_lanes
from flows.cluster.engine import Engine
from flows.cluster.failures import Failure
from flows.cluster.feed import Feed
from flows.cluster.work import WorkerSpec
from flows.dubbing.budget import Budget
from flows.title import Title
from flows.units import Book
from shards.commit import Claim, Ledger, Plan, Quarantine, Receipt, Unit
from shards.errors import DubwrightError
from shards.leases import HeldLease

log = logging.getLogger(__name__)

STAGES = ("analyse", "adapt", "render", "picture", "master")
"""In the order a title goes through them."""
OVER_BUDGET = "the hours it was given are used up; the same command goes on where it stopped"

OPENED_AGAIN = "somebody opened its work again while it was done; run the same command again"


class Planner(Protocol):
    """What the records say is to be done: the units of a title's stage, once the stages before are settled."""

    @property
    def ledger(self) -> Ledger: ...

    def units(self, title: Title, stage: str) -> Sequence[Unit]: ...


class Watcher(Protocol):
    """Is told how the titles get on."""

    def begin(self) -> None:
        """Every title has said where it stands."""
        ...

    def entered(self, title: Title, stage: str, units: Sequence[Unit], is_done: Callable[[Unit], bool]) -> None: ...

    def settled(self, unit: Unit, result: Receipt | Quarantine | None) -> None: ...

    def over(self, title: Title) -> None: ...


class CatalogueRun:
    """Takes every title through its stages. `stuck` has the titles that could not go on, and why."""

    def __init__(
        self,
        planner: Planner,
        titles: Sequence[Title],
        lease: HeldLease,
        *,
        engine: Engine,
        config: EngineConfig,
        reproduce: Callable[[Title], str],
        watcher: Watcher,
        budget: Budget,
    ) -> None:
        self._planner, self._titles, self._lease = planner, titles, lease
        self._engine, self._config, self._watcher, self._budget = engine, config, watcher, budget
        self._feeds: dict[str, Feed[Unit]] = {stage: Feed() for stage in STAGES}
        self._asked_by: dict[str, list[Title]] = {}
        self._waiting: dict[str, set[str]] = {}
        """Output -> the units of its stage that are not settled."""
        self._stage: dict[str, int] = {}
        self.worked: set[str] = set()
        """Outputs for which this run had something to do."""
        self._decided = set(planner.ledger.decided())
        self._tried = {path.split("/")[1] for path in planner.ledger.store.list("attempts/")}
        self._left: dict[str, Failure | str] = {}
        """Units that this run leaves open, and why."""
        self.stuck: dict[str, DubwrightError | OSError | Failure | str] = {}
        self._book = Book(
            planner.ledger,
            lease.run,
            engine.is_isolated,
            config.max_attempts,
            lambda unit: reproduce(self._asked_by[unit.unit_id][0]),
            self._settled,
        )

    def through(
        self, workers: Mapping[str, WorkerSpec[Claim, Receipt]], should_stop: Callable[[], bool]
    ) -> tuple[RunSummary, ...]:
        """Until every title is over, or the run was asked to stop."""
        for title in sorted(self._titles, key=lambda title: -title.row.priority):
            self._stage[title.row.output] = -1
            self._go_on(title)
        self._watcher.begin()
        self._feeds[STAGES[0]].close()
        lanes = []
        for stage, after in zip(STAGES, (*STAGES[1:], None), strict=True):
            # A stage puts work into the next one only; so the next is complete when this one is over.
            close = self._feeds[after].close if after is not None else _nothing
            lanes.append(self._book.lane(self._feeds[stage], workers[stage], self._config, on_over=close))
        return run_lanes(lanes, engine=self._engine, should_stop=self._stopper(should_stop), on_sizes=self._budget.held)

    @property
    def troubled(self) -> Mapping[str, Failure]:
        """Units that trouble not their own left open."""
        return self._book.troubled

    # -- a title's way

    def _go_on(self, title: Title) -> None:
        """Plans stage after stage until there is one to wait for."""
        name = title.row.output
        while name not in self.stuck and self._stage[name] + 1 < len(STAGES):
            self._stage[name] += 1
            stage = STAGES[self._stage[name]]
            try:
                units = list(self._planner.units(title, stage))
                if still := self._open(stage, units):
                    self._lease.need(self._write_plan(stage, units))
            except (DubwrightError, OSError) as error:
                log.warning("%s cannot go on: %s", name, error)
                self._end(title, error)
                return
            self._watcher.entered(title, stage, units, lambda unit: unit.unit_id in self._decided)
            if still:
                self.worked.add(name)
                self._wait(title, stage, still)
                return
        self._end(title)

    def _open(self, stage: str, units: Iterable[Unit]) -> list[Unit]:
        return [unit for unit in units if unit.unit_id not in self._decided]

    def _write_plan(self, stage: str, units: Sequence[Unit]) -> str:
        plan = Plan.of(stage, units, {})
        self._planner.ledger.write_plan(plan)
        return plan.plan_id

    def _wait(self, title: Title, stage: str, units: Sequence[Unit]) -> None:
        """Puts what nobody else has put yet; units that two titles share are done once."""
        if left := [self._left[unit.unit_id] for unit in units if unit.unit_id in self._left]:
            self._end(title, left[0])
            return
        self._waiting[title.row.output] = {unit.unit_id for unit in units}
        fresh = []
        for unit in units:
            if unit.unit_id not in self._asked_by:
                fresh.append(unit)
            self._asked_by.setdefault(unit.unit_id, []).append(title)
        is_refused = stage == "render" and self._budget.is_used_up
        for unit in self._book.without_killers(fresh) if self._tried & {u.unit_id for u in fresh} else fresh:
            if is_refused:
                self._settled(unit, None)
            else:
                self._feeds[stage].put(unit)

    def _settled(self, unit: Unit, result: Receipt | Quarantine | None) -> None:
        """Nothing more will be done for the unit in this run: the titles that waited for it go on, or end."""
        self._watcher.settled(unit, result)
        if result is not None:
            self._decided.add(unit.unit_id)
        else:
            self._left[unit.unit_id] = self._book.troubled.get(unit.unit_id) or self._why_open()
        for title in self._asked_by[unit.unit_id]:
            name = title.row.output
            if unit.unit_id not in self._waiting.get(name, ()):
                continue
            if result is None:
                self._end(title, self._left[unit.unit_id])
                continue
            self._waiting[name].discard(unit.unit_id)
            if not self._waiting[name]:
                self._go_on(title)

    def _why_open(self) -> str:
        return OVER_BUDGET if self._budget.is_used_up else OPENED_AGAIN

    def _end(self, title: Title, reason: DubwrightError | OSError | Failure | str | None = None) -> None:
        self._waiting.pop(title.row.output, None)
        if reason is not None:
            self.stuck[title.row.output] = reason
        self._watcher.over(title)

    def _stopper(self, should_stop: Callable[[], bool]) -> Callable[[], bool]:
        """Looks at the budget whenever the engine asks whether to stop."""

        def asked() -> bool:
            if self._budget.is_used_up:
                for unit in self._feeds["render"].drain():
                    self._settled(unit, None)
            return should_stop()

        return asked


def _nothing() -> None:
    """The last stage has no next."""
