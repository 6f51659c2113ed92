"""A plan on its way into a store and back: a parquet row per unit, and a json that says what they add up to."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.errors import ObjectDamaged, RequestError
from shards.fingerprint import canonical_json
from shards.records import Plan, Unit, to_record
from shards.sealed import unsealed
from shards.store import Entry, Store

FOLDER = "plans/"
_UNITS = pa.schema([("unit_id", pa.string()), ("stage", pa.string()), ("payload", pa.string())])


def write_plan(store: Store, plan: Plan) -> None:
    """Records the plan; the same plan again only makes it the newest."""
    rows = [{"unit_id": u.unit_id, "stage": u.stage, "payload": canonical_json(u.payload).decode()} for u in plan.units]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_UNITS), sink)
    # The json last: a plan is whole or not there.
    store.write(f"{FOLDER}{plan.plan_id}.parquet", sink.getvalue())
    head = {"plan_id": plan.plan_id, "stage": plan.stage, "num_units": len(plan.units), "config": plan.config}
    store.write(f"{FOLDER}{plan.plan_id}.json", to_record(head))


def read_plan(store: Store, plan_id: str) -> Plan:
    """The plan as it was written, checked against its own name."""
    where, head = f"{FOLDER}{plan_id}", read_head(store, plan_id)
    try:
        table = pq.read_table(io.BytesIO(store.read(f"{where}.parquet")))
        units = [Unit(**{**row, "payload": json.loads(row["payload"])}) for row in table.to_pylist()]
        plan = Plan.of(head["stage"], units, head["config"])
    except (pa.ArrowInvalid, OSError, ValueError, TypeError, RequestError) as error:
        raise ObjectDamaged(f"{store.uri}/{where}.parquet is damaged: {error}") from error
    if plan.plan_id != plan_id or len(units) != head["num_units"]:
        raise ObjectDamaged(f"{store.uri}/{where}: {len(units)} of {head['num_units']} units, or others")
    return plan


def read_unit_ids(store: Store, plan_id: str) -> frozenset[str]:
    """The ids of its units alone: for questions over all plans, where payloads would cost minutes."""
    path = f"{FOLDER}{plan_id}.parquet"
    try:
        table = pq.read_table(io.BytesIO(store.read(path)), columns=["unit_id"])
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ObjectDamaged(f"{store.uri}/{path} is damaged: {error}") from error
    return frozenset(table.column("unit_id").to_pylist())


def read_head(store: Store, plan_id: str) -> dict[str, Any]:
    """What the json says: `stage`, `num_units`, `config`."""
    path = f"{FOLDER}{plan_id}.json"
    return unsealed(store.read(path), f"{store.uri}/{path}")


def newest_first(store: Store) -> list[Entry]:
    """The json of every whole plan, the last one written first."""
    found = [entry for entry in store.entries(FOLDER) if entry.path.endswith(".json")]
    return sorted(found, key=lambda entry: (entry.modified, entry.path), reverse=True)


def plan_ids(store: Store) -> list[str]:
    """Of every whole plan, the newest first."""
    return [plan_id_of(entry) for entry in newest_first(store)]


def plan_id_of(entry: Entry) -> str:
    return PurePosixPath(entry.path).stem


def paths(plan_id: str) -> tuple[str, str]:
    """In the order to remove them: without its json there is no plan."""
    return f"{FOLDER}{plan_id}.json", f"{FOLDER}{plan_id}.parquet"
