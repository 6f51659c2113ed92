"""What is done: tries, decisions, and the account of a plan. Nothing else is ever asked whether work is finished.

    plans/{plan}.parquet + .json          every unit, before any work; the json last, so a plan is whole or not there
    attempts/{unit}/{epoch}.{n}.json      before each try
    attempts/{unit}/{epoch}.{n}.{sha}.pin before an object is put: that try needs it
    objects/ab/{sha256}.{ext}             immutable, named by content
    commits/{unit}.json                   THE decision, created exclusively: the first wins, a later one adopts it
    voids/{unit}/{epoch}.json             that decision counts no more: `commits/{unit}.{epoch + 1}.json` is open

A unit that is given up is decided as one that is done, in the same place: so a try that comes back late cannot undo
it, and none is counted twice. To try a unit again is to void its epoch; whatever a forgotten process still writes into
a void epoch is never looked at. No clock is asked in any of this.

Every step may be repeated, by anyone, at the same time. Who is alive is `leases.py`'s, clearing up `sweep.py`'s,
turning decisions into a dataset `pack.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter

from shards import plans
from shards.ahead import read_ahead
from shards.errors import ObjectDamaged, ObjectMissing, Superseded
from shards.fingerprint import file_sha256
from shards.leases import need_spared
from shards.records import (
    Account,
    Attempt,
    Claim,
    Decision,
    ObjectRef,
    Plan,
    Quarantine,
    Receipt,
    Result,
    SampleEntry,
    Unit,
    Void,
    VoidReason,
    from_record,
    to_record,
)
from shards.store import Store

__all__ = [
    "Account",
    "Claim",
    "Decision",
    "Ledger",
    "ObjectRef",
    "Plan",
    "Quarantine",
    "Receipt",
    "SampleEntry",
    "Unit",
    "commit_path",
]

READS_AT_ONCE = 16

_decision: TypeAdapter[Decision] = TypeAdapter(Decision)
_attempt: TypeAdapter[Attempt] = TypeAdapter(Attempt)
_void: TypeAdapter[Void] = TypeAdapter(Void)
_COMMIT = re.compile(r"commits/([^./]+)(?:\.(\d+))?\.json")


def commit_path(unit_id: str, epoch: int = 1) -> str:
    return f"commits/{unit_id}.json" if epoch == 1 else f"commits/{unit_id}.{epoch}.json"


def void_path(unit_id: str, epoch: int) -> str:
    return f"voids/{unit_id}/{epoch}.json"


def attempt_path(unit_id: str, epoch: int, number: int) -> str:
    return f"attempts/{unit_id}/{epoch}.{number}.json"


class Ledger:
    """The records of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # -- plans

    def write_plan(self, plan: Plan) -> None:
        """Records the plan; the same plan again only makes it the newest.

        Raises `SweptMeanwhile` when a sweep is just forgetting it, or decisions it names.
        """
        plans.write_plan(self.store, plan)
        need_spared(self.store, (plan.plan_id, *(unit.unit_id for unit in plan.units)))

    def read_plan(self, plan_id: str) -> Plan:
        """The plan as it was written, checked against its own name."""
        return plans.read_plan(self.store, plan_id)

    def plans(self) -> list[str]:
        """Plan ids, the newest first."""
        return plans.plan_ids(self.store)

    def pending(self, plan: Plan) -> list[Unit]:
        """The units still to be decided."""
        decided = self.decided()
        return [unit for unit in plan.units if unit.unit_id not in decided]

    # -- tries

    def begin(self, unit: Unit, run: str, *, is_isolated: bool = True) -> Claim:
        """Records that a try starts; two at once get two numbers."""
        epoch, created = self.epoch(unit.unit_id), False
        # By the names alone. Pins count: they outlast a try that was called off, and are not another's.
        names = (PurePosixPath(path).name.split(".") for path in self.store.list(f"attempts/{unit.unit_id}/"))
        number = max((int(name[1]) for name in names if name[0] == str(epoch)), default=0)
        while not created:
            number += 1
            attempt = Attempt(
                unit_id=unit.unit_id,
                epoch=epoch,
                number=number,
                run=run,
                is_isolated=is_isolated,
                started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            created = self.store.create(attempt_path(unit.unit_id, epoch, number), to_record(attempt))
        return Claim(unit=unit, epoch=epoch, number=number, run=run)

    def call_off(self, claim: Claim) -> None:
        """The try was stopped and says nothing of its unit: it is as if it had not started.

        Its pins stay. A process that was told to end may be about to decide, and what it decides must be whole.
        """
        self.store.delete(attempt_path(claim.unit.unit_id, claim.epoch, claim.number))

    def attempts(self, unit_id: str) -> list[Attempt]:
        """The tries of all its epochs that have started, by epoch and number."""
        paths = [path for path in self.store.list(f"attempts/{unit_id}/") if path.endswith(".json")]
        found = [self.attempt_at(path) for path in paths]
        return sorted((a for a in found if a is not None), key=lambda a: (a.epoch, a.number))

    # -- objects

    def put_object(self, claim: Claim, local: Path, suffix: str) -> ObjectRef:
        """Stores the file under its content's name; one that is there already is left as it is.

        Said first, looked up after: a sweep writes what it is about to remove and then asks who needs it, so at least
        one of the two sees the other.
        """
        digest, size = file_sha256(local), local.stat().st_size
        ref = ObjectRef(sha256=digest, size_bytes=size, path=f"objects/{digest[:2]}/{digest}.{suffix.lstrip('.')}")
        self.store.create(f"attempts/{claim.unit.unit_id}/{claim.epoch}.{claim.number}.{digest}.pin", b"")
        need_spared(self.store, (digest,), witness=claim.run)
        if self.size(ref.path) != size:
            self.store.put_file(ref.path, local)
        return ref

    # -- decisions

    def commit(self, claim: Claim, receipt: Receipt) -> Receipt:
        """Makes it the unit's result, unless there is one; gives back the one that holds.

        Raises `Superseded` when the unit was given up, or its epoch voided, while this try was under way.
        """
        lost = next((ref for ref in receipt.objects if self.size(ref.path) != ref.size_bytes), None)
        # Of a unit that another try has decided, a sweep may have taken it; then that decision is adopted.
        if lost is not None and self.decision(claim.unit.unit_id, claim.epoch) is None:
            raise ObjectMissing(f"unit {receipt.unit_id}: {self.store.uri}/{lost.path} is not there as recorded")
        result = self.decide(claim, receipt)
        if isinstance(result, Quarantine):
            raise Superseded(f"unit {receipt.unit_id} was given up while this try was under way: {result.message}")
        return result

    def decide(self, claim: Claim, result: Result) -> Result:
        """Creates the decision, or reads the one that was there first; refuses when the epoch is void."""
        unit_id = claim.unit.unit_id
        if result.unit_id != unit_id:
            raise ValueError(f"a result of unit {result.unit_id} for unit {unit_id}")
        mine = Decision(unit_id=unit_id, epoch=claim.epoch, number=claim.number, run=claim.run, result=result)
        holds: Decision | None = mine
        if not self.store.create(commit_path(unit_id, claim.epoch), to_record(mine)):
            holds = self.decision(unit_id, claim.epoch)
        if self.epoch(unit_id) != claim.epoch or holds is None:
            raise Superseded(f"unit {unit_id}: epoch {claim.epoch} was voided while this try was under way")
        return holds.result

    def decision(self, unit_id: str, epoch: int | None = None) -> Decision | None:
        """What the unit came to in its present (or that) epoch, or None while it is open."""
        path = commit_path(unit_id, epoch or self.epoch(unit_id))
        data = self._read(path)
        if data is None:
            return None
        found = from_record(_decision, data, f"{self.store.uri}/{path}")
        if path != commit_path(found.unit_id, found.epoch) or found.result.unit_id != unit_id:
            raise ObjectDamaged(f"{self.store.uri}/{path} holds the decision of another: {found.unit_id}")
        return found

    def decisions(self, units: Iterable[Unit]) -> Iterator[Decision]:
        """Of the units that are decided, in the order given."""
        decided = self.decided()
        yield from self.decisions_of((u.unit_id, decided[u.unit_id]) for u in units if u.unit_id in decided)

    def decisions_of(self, epochs: Iterable[tuple[str, int]]) -> Iterator[Decision]:
        """The decisions of (unit, epoch), as `decided` gives them; one that is gone since is left out."""
        for decision in read_ahead(lambda which: self.decision(*which), epochs, depth=READS_AT_ONCE):
            if decision is not None:
                yield decision

    def receipt(self, unit_id: str) -> Receipt | None:
        """The unit's commit, or None while it has none."""
        decision = self.decision(unit_id)
        return decision.result if decision is not None and isinstance(decision.result, Receipt) else None

    def receipts(self, plan: Plan) -> Iterator[Receipt]:
        """The commits of the plan's units, by unit id."""
        for decision in self.decisions(plan.units):
            if isinstance(decision.result, Receipt):
                yield decision.result

    def quarantined(self, unit_id: str) -> Quarantine | None:
        """Why the unit was given up, or None."""
        decision = self.decision(unit_id)
        return decision.result if decision is not None and isinstance(decision.result, Quarantine) else None

    def decided(self) -> dict[str, int]:
        """Unit -> its present epoch, of every unit that is decided in it, whatever plan asked for it."""
        epochs = self.epochs()
        found: dict[str, int] = {}
        for path in self.store.list("commits/"):
            if match := _COMMIT.fullmatch(path):
                unit_id, epoch = match[1], int(match[2] or 1)
                if epoch == epochs.get(unit_id, 1):
                    found[unit_id] = epoch
        return found

    # -- epochs

    def void(self, unit_id: str, reason: VoidReason, detail: str, *, epoch: int | None = None) -> int:
        """Opens the unit again by voiding its present (or that) epoch; the epoch that is void."""
        which = epoch or self.epoch(unit_id)
        entry = Void(unit_id=unit_id, epoch=which, reason=reason, detail=detail)
        self.store.create(void_path(unit_id, which), to_record(entry))
        return which

    def epoch(self, unit_id: str) -> int:
        """The unit's present epoch."""
        return 1 + max((_void_epoch(path) for path in self.store.list(f"voids/{unit_id}/")), default=0)

    def opened_by_hand(self, unit_id: str) -> int:
        """The last epoch that somebody voided on purpose, 0 if none: tries up to it are forgiven."""
        found = [self.void_at(path) for path in self.store.list(f"voids/{unit_id}/")]
        return max((void.epoch for void in found if void is not None and void.reason != "lapsed"), default=0)

    def epochs(self) -> Mapping[str, int]:
        """Unit -> its present epoch, of every unit of which one was voided."""
        found: dict[str, int] = {}
        for path in self.store.list("voids/"):
            unit_id = path.split("/")[1]
            found[unit_id] = max(found.get(unit_id, 1), 1 + _void_epoch(path))
        return found

    # -- the account

    def account(self, plan: Plan) -> Account:
        """What became of the plan's units."""
        kept = rejected = quarantined = 0
        for decision in self.decisions(plan.units):
            result = decision.result
            if isinstance(result, Quarantine):
                quarantined += 1
            elif result.is_kept:
                kept += 1
            else:
                rejected += 1
        planned = len(plan.units)
        return Account(
            planned=planned,
            kept=kept,
            rejected=rejected,
            quarantined=quarantined,
            pending=planned - kept - rejected - quarantined,
        )

    def attempt_at(self, path: str) -> Attempt | None:
        """The record of a try, or None when it is gone."""
        if (data := self._read(path)) is None:
            return None
        found = from_record(_attempt, data, f"{self.store.uri}/{path}")
        if path != attempt_path(found.unit_id, found.epoch, found.number):
            raise ObjectDamaged(f"{self.store.uri}/{path} is the record of another try: of {found.unit_id}")
        return found

    def void_at(self, path: str) -> Void | None:
        """Why an epoch was voided, or None when it was not."""
        if (data := self._read(path)) is None:
            return None
        found = from_record(_void, data, f"{self.store.uri}/{path}")
        if path != void_path(found.unit_id, found.epoch):
            raise ObjectDamaged(f"{self.store.uri}/{path} voids another epoch: of {found.unit_id}")
        return found

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read(path)
        except ObjectMissing:
            return None

    def size(self, path: str) -> int | None:
        """Bytes of an object, or None when it is not there."""
        try:
            return self.store.size(path)
        except ObjectMissing:
            return None


def _void_epoch(path: str) -> int:
    return int(PurePosixPath(path).stem)
