"""What is done: plans, attempts, commits, quarantine. Nothing else is ever asked whether work is finished.

    plans/{plan}.parquet + .json     every unit, before any work; the json last, so a plan is whole or not there
    attempts/{unit}/{n}.json         before each try
    objects/ab/{sha256}.{ext}        immutable, named by content
    commits/{unit}.json              created exclusively: the first writer wins, a later one adopts what it finds
    quarantine/{unit}.json           given up on

Every step may be repeated, by anyone, at the same time. Turning commits into a dataset is `pack.py`'s.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from shards.ahead import read_ahead
from shards.errors import ObjectDamaged, ObjectMissing
from shards.fingerprint import canonical_json, file_sha256
from shards.records import (
    Account,
    Attempt,
    ObjectRef,
    Plan,
    Quarantine,
    Receipt,
    SampleEntry,
    Unit,
    from_record,
    to_record,
)
from shards.sealed import unsealed
from shards.store import Store

__all__ = [
    "Account",
    "Attempt",
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

_receipt: TypeAdapter[Receipt] = TypeAdapter(Receipt)
_quarantine: TypeAdapter[Quarantine] = TypeAdapter(Quarantine)
_UNITS = pa.schema([("unit_id", pa.string()), ("stage", pa.string()), ("payload", pa.string())])


def commit_path(unit_id: str) -> str:
    return f"commits/{unit_id}.json"


class Ledger:
    """The records of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # -- plans

    def write_plan(self, plan: Plan) -> None:
        """Records the plan; the same plan again changes nothing."""
        rows = [{"unit_id": u.unit_id, "stage": u.stage, "payload": _json(u.payload)} for u in plan.units]
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=_UNITS), sink)
        self.store.write(f"plans/{plan.plan_id}.parquet", sink.getvalue())
        head = {"plan_id": plan.plan_id, "stage": plan.stage, "num_units": len(plan.units), "config": plan.config}
        self.store.create(f"plans/{plan.plan_id}.json", to_record(head))

    def read_plan(self, plan_id: str) -> Plan:
        """The plan as it was written, checked against its own name."""
        where = f"plans/{plan_id}"
        head = unsealed(self.store.read(f"{where}.json"), f"{self.store.uri}/{where}.json")
        table = pq.read_table(io.BytesIO(self.store.read(f"{where}.parquet")))
        units = [Unit(**{**row, "payload": json.loads(row["payload"])}) for row in table.to_pylist()]
        plan = Plan.of(head["stage"], units, head["config"])
        if plan.plan_id != plan_id or len(units) != head["num_units"]:
            raise ObjectDamaged(f"{self.store.uri}/{where}: {len(units)} of {head['num_units']} units, or others")
        return plan

    def plans(self) -> list[str]:
        """Plan ids, the newest first."""
        found = [path for path in self.store.list("plans/") if path.endswith(".json")]
        ordered = sorted(((self.store.modified(path), path) for path in found), reverse=True)
        return [Path(path).stem for _, path in ordered]

    def pending(self, plan: Plan) -> list[Unit]:
        """The units still to do: neither committed nor quarantined."""
        settled = self._ids("commits/") | self._ids("quarantine/")
        return [unit for unit in plan.units if unit.unit_id not in settled]

    # -- attempts

    def begin(self, unit: Unit, owner: str) -> int:
        """Records that a try starts, and says which it is (from 1); two at once get two numbers."""
        number = self.attempts(unit.unit_id)
        created = False
        while not created:
            number += 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            attempt = Attempt(unit_id=unit.unit_id, number=number, owner=owner, started_at=now)
            created = self.store.create(f"attempts/{unit.unit_id}/{number}.json", to_record(attempt))
        return number

    def attempts(self, unit_id: str) -> int:
        """How many tries have started."""
        return len(list(self.store.list(f"attempts/{unit_id}/")))

    # -- results

    def put_object(self, local: Path, suffix: str) -> ObjectRef:
        """Stores the file under its content's name; one that is there already is left as it is."""
        digest, size = file_sha256(local), local.stat().st_size
        ref = ObjectRef(sha256=digest, size_bytes=size, path=f"objects/{digest[:2]}/{digest}.{suffix.lstrip('.')}")
        if self._size(ref.path) != size:
            self.store.put_file(ref.path, local)
        return ref

    def commit(self, receipt: Receipt) -> Receipt:
        """Makes it the unit's result, unless there is one; gives back the one that holds."""
        for ref in receipt.objects:
            if self._size(ref.path) != ref.size_bytes:
                raise ObjectMissing(f"unit {receipt.unit_id}: {self.store.uri}/{ref.path} is not there as recorded")
        if self.store.create(commit_path(receipt.unit_id), to_record(receipt)):
            return receipt
        winner = self.receipt(receipt.unit_id)
        if winner is None:
            raise ObjectMissing(f"unit {receipt.unit_id}: its commit was there and is gone; is a sweep running?")
        return winner

    def receipt(self, unit_id: str) -> Receipt | None:
        """The unit's commit, or None while it has none."""
        data = self._read(commit_path(unit_id))
        return None if data is None else from_record(_receipt, data, f"{self.store.uri}/{commit_path(unit_id)}")

    def receipts(self, plan: Plan) -> Iterator[Receipt]:
        """The commits of the plan's units, by unit id."""
        committed = self._ids("commits/")
        wanted = [unit.unit_id for unit in plan.units if unit.unit_id in committed]
        for receipt in read_ahead(self.receipt, wanted, depth=READS_AT_ONCE):
            if receipt is not None:
                yield receipt

    def committed(self) -> list[str]:
        """Every unit that has a commit, whatever plan asked for it; sorted."""
        return sorted(self._ids("commits/"))

    # -- quarantine

    def quarantine(self, entry: Quarantine) -> Quarantine:
        """Gives the unit up; the first entry holds."""
        if self.store.create(f"quarantine/{entry.unit_id}.json", to_record(entry)):
            return entry
        return self.quarantined(entry.unit_id) or entry

    def quarantined(self, unit_id: str) -> Quarantine | None:
        """Why the unit was given up, or None."""
        data = self._read(f"quarantine/{unit_id}.json")
        return None if data is None else from_record(_quarantine, data, f"{self.store.uri}/quarantine/{unit_id}.json")

    def release(self, unit_id: str) -> bool:
        """Lets a quarantined unit be tried again, with no tries counted; False when it was not in quarantine."""
        if self.quarantined(unit_id) is None:
            return False
        for path in self.store.list(f"attempts/{unit_id}/"):
            self.store.delete(path)
        self.store.delete(f"quarantine/{unit_id}.json")
        return True

    # -- the account

    def account(self, plan: Plan) -> Account:
        """What became of the plan's units. A commit outweighs a quarantine: a late result is a result."""
        planned = {unit.unit_id for unit in plan.units}
        kept = {r.unit_id: r.is_kept for r in self.receipts(plan)}
        quarantined = (self._ids("quarantine/") & planned) - kept.keys()
        return Account(
            planned=len(plan.units),
            kept=sum(kept.values()),
            rejected=len(kept) - sum(kept.values()),
            quarantined=len(quarantined),
            pending=len(planned - kept.keys() - quarantined),
        )

    def _ids(self, folder: str) -> set[str]:
        return {Path(path).stem for path in self.store.list(folder)}

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read(path)
        except ObjectMissing:
            return None

    def _size(self, path: str) -> int | None:
        try:
            return self.store.size(path)
        except ObjectMissing:
            return None


def _json(value: Any) -> str:
    return canonical_json(value).decode()
