"""What a whole plan came to, read once: the account, and the samples as columns.

Decisions of a large catalogue hold a million samples, so those go from json straight to columns, with checks as strict
as the records' own. Which shard a sample goes to is `deal.py`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from shards.ahead import read_ahead
from shards.catalog import Generation, current_generation
from shards.commit import READS_AT_ONCE, Ledger, commit_path
from shards.errors import AccountError, ObjectDamaged, ObjectMissing, RequestError
from shards.index import SCHEMA
from shards.records import Account, Decision, ObjectRef, Plan, Quarantine, Receipt, SampleEntry
from shards.schema import Rejection
from shards.sealed import unsealed
from shards.store import Store

Accept = Callable[[SampleEntry], Rejection | None]
"""A threshold: None keeps the sample. Scores are stored raw, so moving one measures nothing again."""

PENDING_NAMED = 5
_KINDS: Mapping[str, frozenset[type]] = {
    "key": frozenset({str}),
    "offset": frozenset({int}),
    "size_bytes": frozenset({int}),
    "identity": frozenset({str}),
    "language": frozenset({str, NoneType}),
    "duration_s": frozenset({float, int}),
    "num_frames": frozenset({int}),
    "scores": frozenset({dict}),
}
"""Field of a `SampleEntry` -> what json makes of it."""
SAMPLES = pa.schema([*(SCHEMA.field(name) for name in _KINDS), pa.field("unit", pa.int32(), nullable=False)])
"""`offset` is the one in the unit's fragment, `unit` a position in the plan's units."""
_decision: TypeAdapter[Decision] = TypeAdapter(Decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """The outcome of a plan."""

    plan: Plan
    noted: Generation
    """The newest dataset, from before the first decision was read."""
    account: Account
    samples: pa.Table
    """Those that were accepted, in the plan's order; `SAMPLES`."""
    objects: Mapping[str, tuple[ObjectRef, ...]]
    """Unit -> what its decision names. Samples lie in the first."""
    rejections: Mapping[str, int]
    """Code -> how often, from the decisions and from `accept`."""
    given_up: tuple[Quarantine, ...]
    pending: tuple[str, ...]
    """Units without a decision."""

    def check(self) -> None:
        """Refuses to go on unless every unit is decided, and once."""
        try:
            self.account.check()
        except AccountError as error:
            named = ", ".join(self.pending[:PENDING_NAMED])
            raise AccountError(f"{error}; first pending: {named}" if named else str(error)) from None

    def without(self, left_out: Mapping[str, Rejection]) -> Harvest:
        """Less the samples of these keys: what only the whole set can tell, such as which of two is the copy."""
        if not left_out:
            return self
        goes = pc.is_in(self.samples.column("key"), pa.array(list(left_out), pa.string()))
        codes = Counter(self.rejections) + Counter(rejection.code for rejection in left_out.values())
        return replace(self, samples=self.samples.filter(pc.invert(goes)), rejections=dict(sorted(codes.items())))

    def need_samples(self) -> None:
        """Refuses to go on without a single sample."""
        if not self.samples.num_rows:
            reasons = ", ".join(f"{code}: {count}" for code, count in self.rejections.items()) or "none"
            raise RequestError(
                f"nothing to publish from {self.account.planned} units; "
                f"rejections by code: {reasons}; {len(self.given_up)} units quarantined"
            )


class _Yield(NamedTuple):
    """A decision, its samples apart."""

    decision: Decision
    samples: list[dict[str, Any]]
    where: str


@dataclass(slots=True)
class _Tally:
    """What was read so far."""

    objects: dict[str, tuple[ObjectRef, ...]] = field(default_factory=dict)
    rejected: set[str] = field(default_factory=set)
    given_up: list[Quarantine] = field(default_factory=list)
    rejections: Counter[str] = field(default_factory=Counter)
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, found: _Yield, unit: int, accept: Accept | None) -> None:
        result = found.decision.result
        if isinstance(result, Quarantine):
            self.given_up.append(result)
            return
        if result.is_kept:
            self.objects[result.unit_id] = result.objects
        else:
            self.rejected.add(result.unit_id)
        self.rejections.update(rejection.code for rejection in result.rejections)
        if found.samples:
            batch = _columns(found.samples, result, unit, found.where)
            self.batches.append(_accepted(batch, found.samples, accept, self.rejections))

    def settled(self) -> set[str]:
        return {*self.objects, *self.rejected, *(quarantine.unit_id for quarantine in self.given_up)}


def harvest(ledger: Ledger, plan: Plan, *, accept: Accept | None = None) -> Harvest:
    """Reads what the plan's units came to; a decision that was tampered with, or is another unit's, is named."""
    noted = current_generation(ledger.store)
    position = {unit.unit_id: number for number, unit in enumerate(plan.units)}
    tally = _Tally()
    for found in _yields(ledger, plan):
        tally.add(found, position[found.decision.unit_id], accept)
    pending = tuple(sorted(position.keys() - tally.settled()))
    return Harvest(
        plan=plan,
        noted=noted,
        account=Account(
            planned=len(plan.units),
            kept=len(tally.objects),
            rejected=len(tally.rejected),
            quarantined=len(tally.given_up),
            pending=len(pending),
        ),
        samples=pa.Table.from_batches(tally.batches, SAMPLES).combine_chunks(),
        objects=tally.objects,
        rejections=dict(sorted(tally.rejections.items())),
        given_up=tuple(tally.given_up),
        pending=pending,
    )


def _yields(ledger: Ledger, plan: Plan) -> Iterator[_Yield]:
    """Of the units that are decided, in the plan's order."""
    decided = ledger.decided()
    paths = (
        (unit.unit_id, commit_path(unit.unit_id, decided[unit.unit_id]))
        for unit in plan.units
        if unit.unit_id in decided
    )
    store = ledger.store
    for unit_id, path, data in read_ahead(lambda which: (*which, _read(store, which[1])), paths, depth=READS_AT_ONCE):
        # One that is gone since was voided and swept: it is pending.
        if data is not None:
            yield _parsed(data, unit_id, plan.stage, path, f"{store.uri}/{path}")


def _parsed(data: bytes, unit_id: str, stage: str, path: str, where: str) -> _Yield:
    record = unsealed(data, where)
    try:
        samples = record["result"].pop("samples", [])
        decision = _decision.validate_python(record)
    except (ValidationError, KeyError, AttributeError) as error:
        raise ObjectDamaged(f"{where} is not a whole record: {error}") from error
    result = decision.result
    if path != commit_path(decision.unit_id, decision.epoch) or result.unit_id != unit_id:
        raise ObjectDamaged(f"{where} holds the decision of another: {decision.unit_id}")
    if isinstance(result, Receipt) and (result.stage != stage or (samples and not result.objects)):
        raise ObjectDamaged(
            f"{where}: a receipt of stage {result.stage} with {len(result.objects)} objects and {len(samples)} samples"
        )
    return _Yield(decision, samples, where)


def _columns(samples: list[dict[str, Any]], receipt: Receipt, unit: int, where: str) -> pa.RecordBatch:
    """The samples of one receipt; each value checked as if it were parsed alone."""
    if any(type(sample) is not dict or sample.keys() != _KINDS.keys() for sample in samples):
        raise ObjectDamaged(f"{where}: a sample has other fields than {', '.join(_KINDS)}")
    values = {name: _column(samples, name, where) for name in _KINDS}
    if not {type(score) for scores in values["scores"] for score in scores.values()} <= {float, int}:
        raise ObjectDamaged(f"{where}: a sample with a score that is no number")
    values["scores"] = [sorted(scores.items()) for scores in values["scores"]]
    values["unit"] = [unit] * len(samples)
    try:
        batch = pa.record_batch([pa.array(values[column.name], column.type) for column in SAMPLES], schema=SAMPLES)
    except (pa.ArrowException, OverflowError) as error:
        raise ObjectDamaged(f"{where}: its samples are no columns: {error}") from error
    _need_side_by_side(batch, receipt.objects[0], where)
    lengths = (batch.column(name).to_numpy() for name in ("duration_s", "num_frames"))
    # json has no infinity, but 1e999 is read as one.
    if not all((column >= 0).all() and np.isfinite(column).all() for column in lengths):
        raise ObjectDamaged(f"{where}: a sample of negative or endless length")
    if not np.isfinite(batch.column("scores").items.to_numpy()).all():
        raise ObjectDamaged(f"{where}: a sample with an endless score")
    return batch


def _column(samples: list[dict[str, Any]], name: str, where: str) -> list[Any]:
    values = [sample[name] for sample in samples]
    if not _KINDS[name].issuperset(map(type, values)):
        number, value = next((n, v) for n, v in enumerate(values) if type(v) not in _KINDS[name])
        raise ObjectDamaged(f"{where}: sample {number}: `{name}` is {value!r}")
    return values


def _need_side_by_side(batch: pa.RecordBatch, fragment: ObjectRef, where: str) -> None:
    """Samples do not overlap and lie within the fragment."""
    offset, size = (batch.column(name).to_numpy() for name in ("offset", "size_bytes"))
    order = np.argsort(offset)
    ends = (offset + size)[order]
    if offset.min() < 0 or size.min() <= 0 or ends[-1] > fragment.size_bytes or (offset[order][1:] < ends[:-1]).any():
        raise ObjectDamaged(
            f"{where}: its samples overlap, or lie outside {fragment.path} ({fragment.size_bytes} bytes)"
        )


def _accepted(
    batch: pa.RecordBatch, samples: list[dict[str, Any]], accept: Accept | None, rejections: Counter[str]
) -> pa.RecordBatch:
    if accept is None:
        return batch
    verdicts = [accept(SampleEntry(**sample)) for sample in samples]
    rejections.update(verdict.code for verdict in verdicts if verdict is not None)
    return batch.filter(pa.array([verdict is None for verdict in verdicts]))


def _read(store: Store, path: str) -> bytes | None:
    try:
        return store.read(path)
    except ObjectMissing:
        return None
