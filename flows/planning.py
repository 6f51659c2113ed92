"""What a preprocessing run is to do: the job, its units, and what can be said of them before any work.

No engine is needed to plan, so this imports none; `preprocess.py` is the flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flows.cluster.config import EngineConfig
from flows.pace import estimated_seconds
from flows.sources.base import Found, Source, is_remote
from flows.sources.find import find
from flows.sources.identify import identify
from flows.sources.known import Known
from flows.version import pinned, stage_version
from flows.workers.staging import StagingConfig
from preprocessing.config import PreprocessConfig
from preprocessing.errors import Unusable
from preprocessing.media.probe import probe
from shards.commit import Ledger, Plan, Receipt, Unit
from shards.deal import PackConfig
from shards.fingerprint import fingerprint, plain
from shards.leases import hold_lease
from shards.schema import Rejection
from shards.store import Store, open_store

UNREAD = "unread"
"""In the payload of a unit whose source could not be read: why."""


class PreprocessJob(BaseModel):
    """Everything a preprocessing run depends on besides the footage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: PreprocessConfig = PreprocessConfig()
    pack: PackConfig = PackConfig()
    engine: EngineConfig = EngineConfig()
    staging: StagingConfig = Field(default_factory=StagingConfig)
    limit: int | None = Field(None, ge=1, description="take only the first so many sources")


def plan_footage(places: Sequence[Found], job: PreprocessJob, store: Store | None = None) -> Plan:
    """One unit a distinct content; copies of a file are one source. What `store` remembers is not read again, and what
    is read is remembered there."""
    known = Known.of(store)
    try:
        found = identify(places, known, job.limit)
    finally:
        known.save()
    return _plan(found, job)


def _plan(found: Sequence[Source], job: PreprocessJob) -> Plan:
    config, tools = pinned(job.clips)
    return Plan.of("extract", [_unit(source, config, tools) for source in found], config.measured())


def _unit(source: Source, config: PreprocessConfig, tools: str) -> Unit:
    version, said = stage_version("extract"), source.labels
    payload = {
        "path": source.uri,
        "name": source.names[0],
        "sha256": source.sha256,
        "size_bytes": source.size_bytes,
        "code_version": version,
    }
    labels = {"language": said.language, "identity": said.identity, "licence": said.licence, "meta": dict(said.meta)}
    payload |= {name: value for name, value in labels.items() if value}
    if source.rejection is not None:
        payload[UNREAD] = plain(source.rejection)
    return Unit(
        # What a clip's bytes depend on; a licence does not change them.
        unit_id=fingerprint(version, tools, source.sha256, config.measured(), said.language, said.identity),
        stage="extract",
        payload=payload,
    )


def reject_unread(ledger: Ledger, plan: Plan) -> list[Unit]:
    """Decides the units whose sources could not be read: there is nothing to give to a worker. The units left to do."""
    pending = ledger.pending(plan)
    unread = [unit for unit in pending if UNREAD in unit.payload]
    if unread:
        with hold_lease(ledger.store, "plan", reads=(plan.plan_id,)) as lease:
            for unit in unread:
                ledger.commit(ledger.begin(unit, lease.run), _unread_receipt(unit))
    return [unit for unit in pending if UNREAD not in unit.payload]


def _unread_receipt(unit: Unit) -> Receipt:
    said = unit.payload[UNREAD]
    reason = Rejection(code=said["code"], detail=f"{unit.payload['path']}: {said['detail']}")
    return Receipt(unit_id=unit.unit_id, stage=unit.stage, rejections=(reason,))


def object_needed(unit: Unit) -> str | None:
    """The object of a bucket that a unit needs on the disk of the machine that does it."""
    return unit.payload["sha256"] if is_remote(unit.payload["path"]) else None


def dry_run(sources: Sequence[str], store: str, job: PreprocessJob) -> dict[str, Any]:
    """The plan, without doing it: what would be read and what is done already. Nothing is written."""
    held = existing(store)
    plan = _plan(identify(find(sources), Known.of(held), job.limit), job)
    pending = Ledger(held).pending(plan) if held is not None else list(plan.units)
    # What lies in a bucket is not fetched to be looked at.
    near, far = [u for u in pending if object_needed(u) is None], [u for u in pending if object_needed(u) is not None]
    seconds, unreadable = Fraction(0), []
    for unit in near:
        try:
            seconds += _duration_s(unit)
        except Unusable as unusable:
            unreadable.append({"source": unit.payload["path"], "code": unusable.rejection.code})
    takes_s = None
    if held is not None and not far:
        takes_s = estimated_seconds(Ledger(held), float(seconds), len(pending), job.clips.media.fps)
    return {
        "planned": len(plan.units),
        "done": len(plan.units) - len(pending),
        "footage_seconds": round(float(seconds), 1),
        "not_looked_at": len(far),
        "estimated_seconds": takes_s,
        "unreadable": unreadable,
        "store": store,
        "config": job.model_dump(mode="json"),
    }


def existing(store: str) -> Store | None:
    """The store, if there is one; what cannot be one is refused."""
    place = Path(store)
    if is_remote(store) or place.is_file() or (place.is_dir() and any(place.iterdir())):
        return open_store(store, create=False)
    return None


def _duration_s(unit: Unit) -> Fraction:
    """Of footage still to be done."""
    if (said := unit.payload.get(UNREAD)) is not None:
        raise Unusable.because(said["code"], said["detail"])
    return probe(Path(unit.payload["path"])).duration_s
