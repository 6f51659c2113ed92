"""Committed fragments -> shards: each shard is a unit of stage `pack`, done under the commit protocol like any other.

So a shard that is there already is not packed again, a crash resumes at the shard, and two drivers do no harm. Samples
are copied as they are, never encoded again, and checked on the way. Where each goes is `deal.py`'s.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from shards.ahead import read_ahead
from shards.codec import checked_header
from shards.commit import READS_AT_ONCE, Claim, Ledger, Plan, Receipt, Unit
from shards.deal import Deal, PackConfig, deal
from shards.errors import ObjectDamaged, ObjectMissing, StoreError
from shards.fingerprint import file_sha256, fingerprint
from shards.harvest import Harvest
from shards.store import Store
from shards.tar import END, run_members

STAGE = "pack"
PACK_VERSION = 1
"""Raised when a shard of the same samples gets other bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """The shards to be, and the units that make them."""

    deal: Deal
    plan: Plan
    unit_ids: tuple[str, ...]
    """By shard."""


class _Source(NamedTuple):
    """A sample to copy."""

    key: str
    fragment: str
    unit_id: str
    """Whose fragment it is."""
    offset: int
    size_bytes: int


def plan_shards(harvested: Harvest, config: PackConfig) -> Packing:
    """Deals the samples; a unit per shard."""
    unit_ids = [unit.unit_id for unit in harvested.plan.units]
    dealt = deal(harvested.samples, unit_ids, config)
    units = [
        _unit(dealt, start, stop, harvested) for start, stop in zip(dealt.bounds[:-1], dealt.bounds[1:], strict=True)
    ]
    plan = Plan.of(STAGE, units, {"extract_plan": harvested.plan.plan_id, "pack": config})
    return Packing(deal=dealt, plan=plan, unit_ids=tuple(unit.unit_id for unit in units))


def pack_shard(ledger: Ledger, claim: Claim) -> Receipt:
    """Copies the shard's samples side by side, believes the tar only after reading it back, and commits it."""
    payload = claim.unit.payload
    with tempfile.TemporaryDirectory(prefix="dubwright-pack-") as folder:
        path = Path(folder, "shard.tar")
        written = _write_tar(ledger.store, list(_sources(payload)), path)
        if file_sha256(path) != written:
            raise StoreError(f"{path} reads back other bytes than were written; look after this machine's disk")
        ref = ledger.put_object(claim, path, "tar")
    details = {"samples": payload["samples"].count("\n") + 1}
    return ledger.commit(claim, Receipt(unit_id=claim.unit.unit_id, stage=STAGE, objects=(ref,), details=details))


def _unit(dealt: Deal, start: int, stop: int, harvested: Harvest) -> Unit:
    """Its payload is a line of text per sample, `source offset size key`: a million of them are no million objects."""
    rows = dealt.samples.slice(start, stop - start)
    numbers, keys, offsets, sizes = (
        rows.column(name).to_pylist() for name in ("unit", "key", "source_offset", "size_bytes")
    )
    place = {number: at for at, number in enumerate(dict.fromkeys(numbers))}
    lines = "\n".join(
        f"{place[number]} {offset} {size} {key}"
        for number, offset, size, key in zip(numbers, offsets, sizes, keys, strict=True)
    )
    extracted = [harvested.plan.units[number].unit_id for number in place]
    fragments = [harvested.objects[unit_id][0].path for unit_id in extracted]
    # Of the bytes alone: whichever unit, plan or config asked for them, they are the same shard.
    unit_id = fingerprint(STAGE, PACK_VERSION, fragments, lines)
    return Unit(unit_id=unit_id, stage=STAGE, payload={"fragments": fragments, "units": extracted, "samples": lines})


def _sources(payload: Mapping[str, Any]) -> Iterator[_Source]:
    for line in payload["samples"].split("\n"):
        place, offset, size, key = line.split(" ", 3)
        yield _Source(key, payload["fragments"][int(place)], payload["units"][int(place)], int(offset), int(size))


def _write_tar(store: Store, sources: Sequence[_Source], path: Path) -> str:
    """Puts the tar on the disk; the sha256 of what was meant to be written."""
    digest = hashlib.sha256()
    with path.open("xb") as stream:
        for run in read_ahead(lambda source: _checked_run(store, source), sources, depth=READS_AT_ONCE):
            stream.write(run)
            digest.update(run)
        stream.write(END)
        digest.update(END)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _checked_run(store: Store, source: _Source) -> bytes:
    """The sample's bytes, as they were committed: damage must not spread from a fragment to a shard."""
    try:
        run = store.read_range(source.fragment, source.offset, source.size_bytes)
        checked_header(source.key, run_members(source.key, run))
    except (ObjectDamaged, ObjectMissing) as error:
        raise ObjectDamaged(
            f"{store.uri}/{source.fragment}, byte {source.offset}: {error}; unit {source.unit_id} must be done again: "
            f"`dubwright store retry {store.uri} --damaged` opens it, then run again"
        ) from error
    return run
