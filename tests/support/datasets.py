"""Small stores with committed clips and published datasets, for tests that read or pack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shards.commit import Claim, Ledger, Plan, Receipt, Unit
from shards.index import DatasetInfo
from shards.pack import PackConfig, finalize
from shards.schema import ClipSample, Rejection
from shards.store import Store
from shards.writer import FragmentWriter
from tests.support.clips import make_clip


def make_plan(num_units: int, stage: str = "extract", licences: Sequence[str | None] = ()) -> Plan:
    """Units unit-0, unit-1, ...; the first of them with these licences."""
    said = [{"licence": licence} if licence else {} for licence in [*licences, *[None] * num_units][:num_units]]
    units = [Unit(unit_id=f"unit-{i}", stage=stage, payload={"number": i, **said[i]}) for i in range(num_units)]
    return Plan.of(stage, units, {"size_px": 16})


def claim(ledger: Ledger, unit_id: str, stage: str = "extract") -> Claim:
    """A try at the unit, begun."""
    return ledger.begin(Unit(unit_id=unit_id, stage=stage, payload={}), "test")


def done_by(worker: Any, unit: Unit) -> Receipt:
    """What a worker that is set up makes of the unit."""
    receipt: Receipt = worker.process(worker._ledger.begin(unit, "test"))
    return receipt


def commit_clips(ledger: Ledger, unit_id: str, clips: Sequence[ClipSample], folder: Path) -> Receipt:
    """Does a unit: its clips to a fragment, the fragment to the store, the commit last."""
    attempt = claim(ledger, unit_id)
    with FragmentWriter(folder / f"{unit_id}.tar") as writer:
        for clip in clips:
            writer.add(clip)
        fragment = writer.seal()
    ref = ledger.put_object(attempt, fragment.path, "tar")
    return ledger.commit(attempt, Receipt(unit_id=unit_id, stage="extract", objects=(ref,), samples=fragment.entries))


def commit_rejection(ledger: Ledger, unit_id: str, code: str = "no_face") -> Receipt:
    """A unit whose footage could not be used."""
    rejection = Rejection(code=code, detail="made for a test")
    return ledger.commit(claim(ledger, unit_id), Receipt(unit_id=unit_id, stage="extract", rejections=(rejection,)))


def unit_clips(unit: int, num_clips: int, num_identities: int = 3, frames: int = 2) -> list[ClipSample]:
    """The clips of a unit: all of one person, keys unlike any other unit's."""
    person = f"person-{unit % num_identities}"
    return [make_clip(1000 * unit + i, frames=frames, identity=person) for i in range(num_clips)]


def make_dataset(
    store: Store, folder: Path, *, num_units: int = 4, clips_per_unit: int = 3, config: PackConfig | None = None
) -> DatasetInfo:
    """A published dataset of num_units x clips_per_unit clips of three people."""
    ledger, plan = Ledger(store), make_plan(num_units)
    ledger.write_plan(plan)
    for number in range(num_units):
        commit_clips(ledger, f"unit-{number}", unit_clips(number, clips_per_unit), folder)
    return finalize(ledger, plan, config or PackConfig(target_bytes=100_000, val_share=0.0, test_share=0.0))
