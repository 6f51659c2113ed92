"""What the store's records say, as types: a plan's units, a try, a decision, the account.

Values only; when each is written, and who wins, is `commit.py`'s. On disk a record is sealed json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from shards.errors import AccountError, ObjectDamaged, RequestError
from shards.fingerprint import fingerprint, plain
from shards.schema import SCHEMA_VERSION, Rejection
from shards.sealed import sealed_json, unsealed

Record = TypeVar("Record")
VoidReason = Literal["retry", "damaged", "lapsed", "forgotten"]
"""Somebody wants it tried again; what was decided cannot be read; who tried it is gone; no plan names it any more."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of work that is done once: for footage, a span of a source."""

    unit_id: str
    """Made from content: source bytes, span, stage config, code and weight versions."""
    stage: str
    payload: Mapping[str, Any]
    """Plain values: all that a worker needs to do it."""

    def __post_init__(self) -> None:
        # It names files and folders of the store.
        if not _FILE_NAME.fullmatch(self.unit_id):
            raise ValueError(f"a unit id is letters, digits, '-' and '_', not {self.unit_id!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every unit of a run, written before any work."""

    plan_id: str
    """Fingerprint of all the rest."""
    stage: str
    units: tuple[Unit, ...]
    """By `unit_id`, each once."""
    config: Mapping[str, Any]
    """The resolved config, plain values."""

    @classmethod
    def of(cls, stage: str, units: Iterable[Unit], config: object) -> Plan:
        """The plan of these units, in whatever order they come; two units of one id are refused."""
        by_id: dict[str, Unit] = {}
        for unit in units:
            if unit.unit_id in by_id:
                raise RequestError("a plan holds a unit once", field="unit_id", value=unit.unit_id)
            if unit.stage != stage:
                raise RequestError(f"a unit of another stage in a plan of {stage}", field="stage", value=unit.stage)
            by_id[unit.unit_id] = unit
        ordered = tuple(by_id[unit_id] for unit_id in sorted(by_id))
        settings = plain(config)
        plan_id = fingerprint("plan", SCHEMA_VERSION, stage, ordered, settings)
        return cls(plan_id=plan_id, stage=stage, units=ordered, config=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """An immutable object, named by its content."""

    sha256: str
    size_bytes: int
    path: str
    """objects/ab/<sha256>.<ext>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEntry:
    """Where a sample lies in its tar, and what choosing among samples needs to know of it."""

    key: str
    offset: int
    """Byte of the tar at which the sample's run of members starts."""
    size_bytes: int
    """Length of the run, headers and padding included."""
    identity: str
    language: str | None
    duration_s: float
    num_frames: int
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a unit came to: the content of its commit."""

    unit_id: str
    stage: str
    objects: tuple[ObjectRef, ...] = ()
    """Samples lie in the first."""
    samples: tuple[SampleEntry, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values: lineage, measurements, timings."""

    def __post_init__(self) -> None:
        if self.samples and not self.objects:
            raise ValueError(f"unit {self.unit_id}: samples, and no object that holds them")
        if not self.objects and not self.rejections:
            raise ValueError(f"unit {self.unit_id}: neither a result nor a rejection; nothing may vanish silently")

    @property
    def is_kept(self) -> bool:
        return bool(self.samples or self.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """That a try has started; written before it does, so a crash in native code is charged to its unit."""

    unit_id: str
    epoch: int
    """Which decision of the unit it is after; from 1."""
    number: int
    """From 1, within the epoch."""
    run: str
    """Whose lease it lives under."""
    is_isolated: bool
    """The work is done in a process of its own: when the driver dies, that is not the unit's doing."""
    started_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A try under way, as it is handed to a worker: the right to put objects for a unit and to decide it."""

    unit: Unit
    epoch: int
    number: int
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A unit given up on until a person says otherwise."""

    unit_id: str
    error_class: str
    message: str
    stderr_tail: str
    reproduce: str
    """A command that shows the failure."""
    attempts: int


Result = Receipt | Quarantine
"""What a unit can come to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a unit came to, and in which try: the content of its commit."""

    unit_id: str
    epoch: int
    number: int
    """The try that decided."""
    run: str
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """That an epoch of a unit counts no more, whatever was or will be decided in it. The next one is open."""

    unit_id: str
    epoch: int
    reason: VoidReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """That a run is alive. It is written again and again; one that has not been for `ttl_s` is over."""

    run: str
    holder: str
    """Who: for people and logs."""
    started_at: str
    ttl_s: float
    reads: tuple[str, ...] = ()
    """Datasets and plans it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """That a sweep has begun."""

    number: int
    """One more than any before."""
    run: str
    """Whose lease it lives under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of a plan's units. A unit is counted once."""

    planned: int
    kept: int
    """Committed, with at least one sample or object."""
    rejected: int
    """Committed, with none: the footage was looked at and could not be used."""
    quarantined: int
    pending: int
    """Neither."""

    def __str__(self) -> str:
        text = f"{self.planned} planned = {self.kept} kept + {self.rejected} rejected + {self.quarantined} quarantined"
        return f"{text} + {self.pending} pending" if self.pending else text

    def check(self) -> None:
        """Refuses to go on unless planned = kept + rejected + quarantined."""
        settled = self.kept + self.rejected + self.quarantined
        if self.planned != settled or self.pending:
            raise AccountError(
                f"the account does not close: {self.planned} planned, but {self.kept} kept + {self.rejected} rejected"
                f" + {self.quarantined} quarantined = {settled} ({self.pending} pending); run again to finish them"
            )


def to_record(value: object) -> bytes:
    """The record's bytes: sealed json."""
    return sealed_json(plain(value))


def from_record(kind: TypeAdapter[Record], data: bytes, where: str) -> Record:
    """The value written by `to_record`; `where` names the place in errors."""
    try:
        return kind.validate_python(unsealed(data, where))
    except ValidationError as error:
        raise ObjectDamaged(f"{where} is not a whole record: {error}") from error
