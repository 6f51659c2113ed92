"""Which clips a dataset left out, and why, from the decisions of its plan; of a large plan only some are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from preprocessing.config import QualityConfig
from preprocessing.quality.gates import judge
from shards.codec import decode_clip
from shards.commit import Ledger
from shards.index import DatasetInfo
from shards.records import Receipt, SampleEntry
from shards.schema import ClipSample, Rejection
from shards.store import Store
from shards.tar import run_members

UNITS_LOOKED_AT = 500
"""Decisions that are read. Unit ids are fingerprints, so the first so many of a plan are a fair sample of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A clip that was measured and not taken."""

    entry: SampleEntry
    object_path: str
    source: str
    rejection: Rejection


@dataclass(slots=True, kw_only=True)
class Looked:
    """What was found."""

    units: int
    """Looked at."""
    planned: int
    left_out: list[LeftOut] = field(default_factory=list)
    examples: dict[str, tuple[str, Rejection]] = field(default_factory=dict)
    """Code -> a source and what was said of it."""

    def __str__(self) -> str:
        return f"{self.units:,} of {self.planned:,} sources" if self.units < self.planned else "all sources"


def look_at_rejected(ledger: Ledger, info: DatasetInfo, table: pa.Table) -> Looked:
    """The clips in the plan's decisions that are not in the index, and an example of every code met."""
    plan = ledger.read_plan(info.plan_id)
    units = plan.units[:UNITS_LOOKED_AT]
    names = {unit.unit_id: str(unit.payload.get("name", unit.unit_id)) for unit in units}
    looked = Looked(units=len(units), planned=len(plan.units))
    config = QualityConfig.model_validate({k: v for k, v in info.thresholds.items() if k in QualityConfig.model_fields})
    for decision in ledger.decisions(units):
        if not isinstance(receipt := decision.result, Receipt):
            continue
        source = names[decision.unit_id]
        for rejection in receipt.rejections:
            looked.examples.setdefault(rejection.code, (source, rejection))
        for left in _left_out(receipt, source, table, config):
            looked.left_out.append(left)
            looked.examples.setdefault(left.rejection.code, (source, left.rejection))
    return looked


def read_sample(store: Store, object_path: str, entry: SampleEntry) -> ClipSample:
    """A clip from where its decision says that it lies: also one that is in no dataset."""
    run = store.read_range(object_path, entry.offset, entry.size_bytes)
    return decode_clip(entry.key, run_members(entry.key, run))


def _left_out(receipt: Receipt, source: str, table: pa.Table, config: QualityConfig) -> Iterator[LeftOut]:
    keys = pa.array([entry.key for entry in receipt.samples], pa.string())
    taken = pc.is_in(keys, value_set=table.column("key").combine_chunks()).to_pylist()
    for entry, is_taken in zip(receipt.samples, taken, strict=True):
        if not is_taken:
            # A clip that passes alone was left out for another's sake: it is one of several alike.
            found = judge(entry.scores, config) or Rejection(code="duplicate", detail="another clip like it was taken")
            yield LeftOut(entry=entry, object_path=receipt.objects[0].path, source=source, rejection=found)
