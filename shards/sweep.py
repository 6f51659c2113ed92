"""What of a store is garbage, and its removal: `sweep`.

Goes: objects that nobody needs; decisions of void epochs; what the tries of decided units left; all but the newest
datasets, and the pack plans of none; on request plans long unused, and the decisions only they name; leases that ran
out; what killed writers left. Voids stay for good: they keep out processes that nobody remembers.

What is guaranteed, with any number of drivers at work: whatever a decision that counts names, a published dataset, a
try that may still decide its unit, a run that is alive: none of it goes. A try of a run that is over cannot decide its
unit any more (its epoch is made void before anything it holds is taken), so it needs nothing; the unit is tried anew.
A sweep may be killed anywhere and run again. How that holds, and what no store can fence, is told in `removal.py`;
what is needed is `needs.py`'s question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from shards import plans
from shards.catalog import generation_path, generations, published
from shards.commit import Ledger
from shards.errors import ObjectMissing, RequestError
from shards.index import info_path
from shards.leases import Seen, lease_path, leases, read_lease
from shards.needs import Needs, TryFile, Units, in_use
from shards.removal import Rehearsal, Turn, take_turn
from shards.shard import STAGE
from shards.store import Store

LEFT_FOR_S = 24 * 3600.0
"""What is younger may be on its way: a file being written, a dataset being published."""


@dataclass(slots=True, kw_only=True)
class Swept:
    """What a sweep removed, or would remove; and what it left, and why."""

    is_dry_run: bool
    datasets: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)
    units_forgotten: int = 0
    """Decided units that only those plans named: a later plan does them again."""
    units_fenced: list[str] = field(default_factory=list)
    """Units whose tries were of runs that are over: those tries count no more."""
    decisions: int = 0
    """Of void epochs."""
    tries: int = 0
    """Files that tries of decided units left."""
    leases: int = 0
    leftovers: int = 0
    """What killed writers left."""
    objects: int = 0
    freed_bytes: int = 0
    """Of objects and leftovers."""
    kept: dict[str, int] = field(default_factory=dict)
    """Why -> how many objects. One may be needed for more than one reason."""
    in_use: dict[str, str] = field(default_factory=dict)
    """Dataset or plan -> the run that is alive and needs it."""


def sweep(
    store: Store,
    *,
    keep_datasets: int = 3,
    forget_plans_days: float | None = None,
    dry_run: bool = False,
    on_removed: Callable[[str], None] = lambda what: None,
) -> Swept:
    """Removes what nobody needs; `on_removed` hears of each thing. Refused while another sweep is at it."""
    if keep_datasets < 1:
        raise RequestError("the newest dataset is always kept", field="keep", value=keep_datasets)
    if forget_plans_days is not None and forget_plans_days < 1:
        raise RequestError("a plan of today is not forgotten", field="forget-plans", value=forget_plans_days)
    if dry_run:
        return _Sweep(store, Rehearsal(), keep_datasets, forget_plans_days, on_removed).run()
    with take_turn(store) as turn:
        return _Sweep(store, turn, keep_datasets, forget_plans_days, on_removed).run()


class _Sweep:
    def __init__(
        self,
        store: Store,
        turn: Turn | Rehearsal,
        keep_datasets: int,
        forget_plans_days: float | None,
        on_removed: Callable[[str], None],
    ) -> None:
        self.store, self.turn, self.ledger = store, turn, Ledger(store)
        self.keep_datasets, self.forget_plans_days, self.on_removed = keep_datasets, forget_plans_days, on_removed
        self.needs = Needs(store)
        self.out = Swept(is_dry_run=isinstance(turn, Rehearsal))

    def run(self) -> Swept:
        self.out.in_use = in_use(self.leases())
        self.drop_datasets()
        self.forget_plans()
        self.fence_the_dead()
        self.clear_records()
        self.remove_objects()
        self.clear_leftovers()
        return self.out

    # -- datasets

    def drop_datasets(self) -> None:
        dropped = set(self.needs.datasets_by_age()) - self.kept_datasets()
        self.out.datasets = self.turn.remove(dropped, needed=self.kept_datasets, by=self.drop_dataset)
        self.needs.as_if_gone.update(self.out.datasets)
        left = set(self.needs.datasets_by_age()) - self.needs.as_if_gone
        # The last one stays whatever it names: numbers only go up.
        *older, _ = sorted(generations(self.store)) or [0]
        gone = [generation_path(number) for number in older if self.needs.generation(number) not in left]
        self.turn.each(gone, self.store.delete)

    def kept_datasets(self) -> set[str]:
        return {*self.needs.datasets_by_age()[: self.keep_datasets], *in_use(self.leases())}

    def drop_dataset(self, name: str) -> None:
        # First what makes it one: a dataset is whole or not there.
        for path in (info_path(name), *self.store.list(f"datasets/{name}/")):
            self.store.delete(path)
        self.on_removed("datasets")

    # -- plans

    def forget_plans(self) -> None:
        """A pack plan goes with its datasets: its units are the shards. Any other goes when it was long unused."""
        dropped = set(self.ledger.plans()) - self.kept_plans()
        if not dropped:
            return
        units = self.needs.units().decided
        forgotten = self.needs.units_of(dropped).intersection(units)

        def void(unit_id: str) -> None:
            self.ledger.void(unit_id, "forgotten", "no plan that is kept names it", epoch=units[unit_id])
            self.on_removed("units")

        gone = self.turn.remove(forgotten, needed=lambda: self.needs.units_of(self.kept_plans()), by=void)
        self.needs.as_if_void.update({unit_id: units[unit_id] for unit_id in gone})
        self.out.units_forgotten = len(gone)
        # After its units: what was left of a sweep that was killed here is found by the plan.
        self.out.plans = self.turn.remove(dropped, needed=self.kept_plans, by=self.drop_plan)

    def kept_plans(self) -> set[str]:
        """The newest of each stage, those of the datasets, those in use, and all that are not yet old enough."""
        seen = self.leases()
        kept = {*in_use(seen), *self.needs.plans_of(set(self.needs.datasets_by_age()) - self.needs.as_if_gone)}
        stages: set[str] = set()
        for entry in plans.newest_first(self.store):
            plan_id = plans.plan_id_of(entry)
            try:
                stage = plans.read_head(self.store, plan_id)["stage"]
            except ObjectMissing:
                continue
            if stage not in stages or not self.is_unused(stage, self.age_s(entry.modified, seen)):
                kept.add(plan_id)
            stages.add(stage)
        return kept

    def is_unused(self, stage: str, age_s: float) -> bool:
        if stage == STAGE:
            return True
        return self.forget_plans_days is not None and age_s > self.forget_plans_days * 24 * 3600

    def drop_plan(self, plan_id: str) -> None:
        for path in plans.paths(plan_id):
            self.store.delete(path)
        self.on_removed("plans")

    # -- tries

    def fence_the_dead(self) -> None:
        """Makes the epoch void of each open unit that was tried, and by no run that is alive."""
        units = self.needs.units()
        tried = {left.unit_id for left in units.tries if units.is_open(left)}
        over = {seen.lease.run for seen in self.leases() if not seen.is_alive}
        fenced = {unit_id: units.epochs.get(unit_id, 1) for unit_id in tried if not self.is_tried(unit_id, over)}

        def fence(unit_id: str) -> None:
            # Looked at again: another run may have begun it since. (One that begins it just now finds out when it
            # comes to decide, and the unit is tried anew.)
            if self.is_tried(unit_id, over):
                del fenced[unit_id]
            else:
                self.ledger.void(unit_id, "lapsed", "its tries were of runs that are over", epoch=fenced[unit_id])

        self.turn.each(sorted(fenced), fence)
        self.needs.as_if_void.update(fenced)
        self.out.units_fenced = sorted(fenced)

    def is_tried(self, unit_id: str, over: set[str]) -> bool:
        """By a run that is alive: its lease was there before its try."""
        runs = {attempt.run for attempt in self.ledger.attempts(unit_id)}
        return any(run not in over and read_lease(self.store, run) is not None for run in runs)

    # -- what counts no more

    def clear_records(self) -> None:
        units = self.needs.units()
        self.clear(units.void, "decisions")
        self.out.decisions = len(units.void)
        left = [each.path for each in units.tries if _is_done_with(each, units)]
        self.clear(left, "tries")
        self.out.tries = len(left)
        over = [lease_path(seen.lease.run) for seen in self.leases() if not seen.is_alive]
        self.clear(over, "leases")
        self.out.leases = len(over)

    def clear(self, paths: list[str] | tuple[str, ...], what: str) -> None:
        def one(path: str) -> None:
            self.store.delete(path)
            self.on_removed(what)

        self.turn.each(paths, one)

    # -- objects

    def remove_objects(self) -> None:
        objects = self.needs.objects()

        def remove(digest: str) -> None:
            for path in objects[digest][0]:
                self.store.delete(path)
            self.on_removed("objects")

        gone = self.turn.remove(objects.keys() - self.needed_objects(), needed=self.needed_objects, by=remove)
        self.out.objects = sum(len(objects[digest][0]) for digest in gone)
        self.out.freed_bytes += sum(objects[digest][1] for digest in gone)

    def needed_objects(self) -> set[str]:
        units = self.needs.units()
        reasons = {
            "named by a decision": self.needs.decided_objects(units),
            "in a dataset": self.needs.dataset_objects(),
            "of a try under way": self.needs.pinned_objects(units),
        }
        self.out.kept = {reason: len(digests) for reason, digests in reasons.items()}
        return set().union(*reasons.values())

    def clear_leftovers(self) -> None:
        """What killed writers and publishers left; what is young may be on its way."""
        stubs = self.stubs()
        gone = self.turn.remove(
            stubs,
            needed=lambda: {*in_use(self.leases()), *(stubs.keys() - self.stubs().keys())},
            by=lambda name: self.store.delete(stubs[name]),
        )
        seen = self.leases()
        parts = [entry for entry in self.store.leftovers() if self.age_s(entry.modified, seen) > LEFT_FOR_S]
        self.clear([entry.path for entry in parts], "leftovers")
        self.out.leftovers = len(gone) + len(parts)
        self.out.freed_bytes += sum(entry.size_bytes for entry in parts)

    def stubs(self) -> dict[str, str]:
        """Dataset or plan -> its parquet, where the json that makes it one never came, or went first."""
        seen, found = self.leases(), {}
        for entry in (*self.store.entries("datasets/"), *self.store.entries(plans.FOLDER)):
            if entry.path.endswith(".parquet") and self.age_s(entry.modified, seen) > LEFT_FOR_S:
                place = PurePosixPath(entry.path)
                found[place.stem if entry.path.startswith(plans.FOLDER) else place.parent.name] = entry.path
        whole = {*self.ledger.plans(), *published(self.store)}
        return {name: path for name, path in found.items() if name not in whole}

    # -- who is alive, and what time it is

    def leases(self) -> list[Seen]:
        return leases(self.store, self.turn.held.run if isinstance(self.turn, Turn) else None)

    def age_s(self, modified: datetime, seen: list[Seen]) -> float:
        """By the store's clock, as our own lease was stamped with it."""
        mine = self.turn.held.run if isinstance(self.turn, Turn) else None
        now = next((each.renewed for each in seen if each.lease.run == mine), datetime.now(UTC))
        return (now - modified) / timedelta(seconds=1)


def _is_done_with(left: TryFile, units: Units) -> bool:
    """Of a decided unit everything goes; of an open one what is void, but for the records: they count its crashes."""
    if left.unit_id in units.decided:
        return not units.is_open(left)
    return left.digest is not None and not units.is_open(left)
