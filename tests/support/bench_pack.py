"""What planning, committing and publishing cost at the size of a catalogue; printed by `make bench`.

Receipts are simulated: a million samples of which only the records are real. What is timed is all but copying bytes.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shards.commit import Ledger, ObjectRef, Plan, Receipt, Unit, commit_path
from shards.deal import Deal, PackConfig, deal
from shards.fingerprint import fingerprint
from shards.harvest import SAMPLES, harvest
from shards.leases import hold_lease
from shards.pack import open_shards
from shards.publish import publish
from shards.records import Decision, SampleEntry, to_record
from shards.schema import Rejection
from shards.shard import Packing, plan_shards
from shards.store import Store, open_store
from shards.tar import END

MILLION = PackConfig(target_bytes=256 << 20)
CLIP_BYTES = 1 << 20


def planning_seconds(num_units: int = 100_000) -> str:
    """Making and writing the plan, and asking what of it is to be done."""
    payload = {"path": "/footage/a/title.mp4", "name": "title.mp4", "size_bytes": 1 << 30, "code_version": "extract-1"}
    units = [
        Unit(unit_id=fingerprint("unit", i), stage="extract", payload={**payload, "sha256": fingerprint(i)})
        for i in range(num_units)
    ]
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(open_store(Path(folder, "store")))
        begun = time.monotonic()
        plan = Plan.of("extract", units, {})
        ledger.write_plan(plan)
        assert len(ledger.pending(plan)) == num_units
        return f"{time.monotonic() - begun:.1f} s for {num_units:,} units"


def commits_per_second(num_units: int = 400) -> str:
    """A try begun, a small object put, the unit committed: one driver, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(open_store(Path(folder, "store")))
        begun = time.monotonic()
        for number in range(num_units):
            claim = ledger.begin(Unit(unit_id=f"unit-{number}", stage="extract", payload={}), "bench")
            path = Path(folder, "small.tar")
            path.write_bytes(number.to_bytes(4, "big") * 256)
            ref = ledger.put_object(claim, path, "tar")
            ledger.commit(claim, Receipt(unit_id=claim.unit.unit_id, stage="extract", objects=(ref,)))
        return f"{num_units / (time.monotonic() - begun):.0f} units/s"


def moved_shards(num_units: int = 2000) -> str:
    """The part of the shards that is packed again when some more footage is committed, and how even shards are."""
    rng = np.random.default_rng(0)
    config = PackConfig(target_bytes=256 * CLIP_BYTES, val_share=0, test_share=0)
    before = deal(*_simulated_columns(rng, range(num_units)), config)
    old, told = _shards(before), []
    for share in (0.01, 0.05):
        rng = np.random.default_rng(0)
        grown = deal(*_simulated_columns(rng, range(round(num_units * (1 + share)))), config)
        new = _shards(grown)
        evenly = len(_equal_shards(grown) - _equal_shards(before)) / len(new)
        told.append(f"{len(new - old) / len(new):.0%} with {share:.0%} more footage ({evenly:.0%} cut evenly)")
    sizes = before.sizes / config.target_bytes
    return f"{', '.join(told)}, of {len(old)} of {sizes.min():.2f} to {sizes.max():.2f} targets"


def finalize_million(num_units: int = 10_000, samples_per_unit: int = 100) -> str:
    """From decisions on a disk to the published dataset, without the copying: seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        simulate_receipts(Path(folder, "store"), num_units, samples_per_unit)
        command = (sys.executable, "-m", "tests.support.bench_pack", str(Path(folder, "store")))
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=900)
    told = json.loads(answer.stdout)
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in told["seconds"].items())
    total = sum(told["seconds"].values())
    spent = f"{total:.1f} s ({parts}; {told['cpu_seconds']:.1f} s of a core)"
    return f"{spent} and {told['peak_gib']:.2f} GiB for {told['samples']:,} samples"


def simulate_receipts(place: Path, num_units: int, samples_per_unit: int) -> None:
    """A store with a plan whose units are all committed; the objects have their size and no bytes."""
    store = open_store(place)
    rng = np.random.default_rng(0)
    units = [Unit(unit_id=fingerprint("unit", i), stage="extract", payload={"n": i}) for i in range(num_units)]
    Ledger(store).write_plan(Plan.of("extract", units, {}))
    (place / "commits").mkdir()
    for unit in units:
        _decide(store, place, unit.unit_id, "extract", tuple(_entries(rng, unit.unit_id, samples_per_unit)))


def _entries(rng: np.random.Generator, unit_id: str, count: int) -> Iterator[SampleEntry]:
    sizes = (512 * rng.integers(CLIP_BYTES // 1024, CLIP_BYTES // 512 * 1.5, count)).tolist()
    values = rng.random((count, 5)).round(4).tolist()
    offset = 0
    for number, (size, scores) in enumerate(zip(sizes, values, strict=True)):
        yield SampleEntry(
            key=hashlib.sha256(f"{unit_id} {number}".encode()).hexdigest()[:32],
            offset=offset,
            size_bytes=size,
            identity=unit_id[:24],
            language="en",
            duration_s=5.0,
            num_frames=125,
            scores=dict(zip(("face_px", "sharpness", "seen", "silence", "sync"), scores, strict=True)),
        )
        offset += size


def _decide(
    store: Store, place: Path, unit_id: str, stage: str, samples: tuple[SampleEntry, ...], size: int = 0
) -> None:
    """Past the ledger, whose syncing to the disk is measured elsewhere."""
    size = size or sum(entry.size_bytes for entry in samples) + len(END)
    digest = fingerprint("object", unit_id)
    ref = ObjectRef(sha256=digest, size_bytes=size, path=f"objects/{digest[:2]}/{digest}.tar")
    (place / ref.path).parent.mkdir(parents=True, exist_ok=True)
    with (place / ref.path).open("wb") as stream:
        stream.truncate(size)
    receipt = Receipt(unit_id=unit_id, stage=stage, objects=(ref,), samples=samples)
    decision = Decision(unit_id=unit_id, epoch=1, number=1, run="bench", result=receipt)
    (place / commit_path(unit_id)).write_bytes(to_record(decision))


def _accept(entry: SampleEntry) -> Rejection | None:
    """One in a hundred is not good enough."""
    sync = entry.scores["sync"]
    return Rejection(code="out_of_sync", detail="low", value=sync, threshold=0.01) if sync < 0.01 else None


def _published(place: Path) -> dict[str, Any]:
    """Runs in a process of its own, whose memory is measured."""
    store = open_store(place, create=False)
    ledger, seconds, cpu = Ledger(store), {}, []

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun, begun_cpu = time.monotonic(), time.process_time()
        yield
        seconds[name] = time.monotonic() - begun
        cpu.append(time.process_time() - begun_cpu)

    with timed("plan"):
        plan = ledger.read_plan(ledger.plans()[0])
    with timed("decisions"):
        harvested = harvest(ledger, plan, accept=_accept)
    with timed("deal"):
        packing = plan_shards(harvested, MILLION)
    with timed("pack plan"):
        open_shards(ledger, packing.plan)
    _pretend_to_pack(store, place, packing)
    with timed("publish"), hold_lease(ledger.store, "bench") as lease:
        info = publish(ledger, harvested, packing, MILLION, lease=lease, thresholds={}).info
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return {"seconds": seconds, "cpu_seconds": sum(cpu), "peak_gib": peak, "samples": info.num_samples}


def _pretend_to_pack(store: Store, place: Path, packing: Packing) -> None:
    for unit_id, size in zip(packing.unit_ids, packing.deal.sizes.tolist(), strict=True):
        _decide(store, place, unit_id, "pack", (), size)


def _simulated_columns(rng: np.random.Generator, units: range) -> tuple[pa.Table, list[str]]:
    """The samples of these units, some 50 each, of about a megabyte."""
    unit_ids = [fingerprint("unit", number) for number in units]
    rows = []
    for number, unit_id in zip(units, unit_ids, strict=True):
        for entry in _entries(rng, unit_id, int(rng.integers(25, 75))):
            row = asdict(entry) | {"scores": [], "unit": number}
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=SAMPLES), unit_ids


def _equal_shards(dealt: Deal) -> set[frozenset[str]]:
    """The peer: the same samples in the order of their keys, cut into as many shards of equal size."""
    samples = dealt.samples.sort_by("key")
    sizes = np.cumsum(samples.column("size_bytes").to_numpy())
    number = np.minimum(sizes * len(dealt.splits) // int(sizes[-1]), len(dealt.splits) - 1)
    keys = np.array(samples.column("key").to_pylist())
    return {frozenset(keys[number == shard].tolist()) for shard in range(len(dealt.splits))}


def _shards(dealt: Deal) -> set[tuple[str, ...]]:
    keys = dealt.samples.column("key").to_pylist()
    return {tuple(keys[start:stop]) for start, stop in zip(dealt.bounds[:-1], dealt.bounds[1:], strict=True)}


BENCHES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("plan 100,000 units", planning_seconds),
    ("commits to a local store", commits_per_second),
    ("publish 1,000,000 samples, without the copying", finalize_million),
    ("shards packed again as footage grows", moved_shards),
)

if __name__ == "__main__":
    sys.stdout.write(json.dumps(_published(Path(sys.argv[1]))))
