"""Stores with something to sweep, and processes that died there."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shards.commit import Claim, Ledger, Receipt, Unit
from shards.leases import MARGIN_S, TTL_S, lease_path, sweep_path
from shards.pack import PackConfig, finalize
from shards.reader import open_dataset
from shards.records import Lease, ObjectRef, Sweep, to_record
from shards.store import Store
from tests.support.datasets import make_plan

LONG_S = TTL_S + MARGIN_S + 60
DAY_S = 24 * 3600.0


def unit(name: str) -> Unit:
    return Unit(unit_id=name, stage="extract", payload={})


def put(ledger: Ledger, claim: Claim, data: bytes, folder: Path) -> ObjectRef:
    path = folder / f"{claim.unit.unit_id}-{threading.get_ident()}.bin"
    path.write_bytes(data)
    return ledger.put_object(claim, path, "bin")


def receipt(name: str, *refs: ObjectRef) -> Receipt:
    return Receipt(unit_id=name, stage="extract", objects=refs)


def do(ledger: Ledger, name: str, data: bytes, folder: Path, run: str = "gone") -> ObjectRef:
    """Tries the unit and commits it."""
    claim = ledger.begin(unit(name), run)
    ref = put(ledger, claim, data, folder)
    ledger.commit(claim, receipt(name, ref))
    return ref


def orphan(store: Store, data: bytes) -> str:
    """An object that nobody names."""
    digest = hashlib.sha256(data).hexdigest()
    store.write(path := f"objects/{digest[:2]}/{digest}.bin", data)
    return path


def aged(store: Store, path: str, seconds: float) -> None:
    """As if it had been put so long ago."""
    then = time.time() - seconds
    os.utime(Path(store.uri, path), (then, then))


def leave_lease(store: Store, run: str, *, age_s: float = 0.0, reads: tuple[str, ...] = ()) -> None:
    """The lease of a process that was killed so long ago."""
    lease = Lease(
        run=run, holder=f"{run} on a machine", started_at="2026-01-01T00:00:00+00:00", ttl_s=TTL_S, reads=reads
    )
    store.write(lease_path(run), to_record(lease))
    aged(store, lease_path(run), age_s)


def leave_sweep(store: Store, run: str, names: tuple[str, ...] = (), number: int = 1) -> None:
    """What a sweep that was killed left."""
    store.create(sweep_path(number, "json"), to_record(Sweep(number=number, run=run)))
    store.write(sweep_path(number, "about"), "".join(f"{name}\n" for name in names).encode())


def missing(ledger: Ledger) -> list[str]:
    """Objects that decisions name and that are not there, whole."""
    refs = [
        ref
        for d in ledger.decisions_of(ledger.decided().items())
        if isinstance(d.result, Receipt)
        for ref in d.result.objects
    ]
    return [ref.path for ref in refs if ledger.size(ref.path) != ref.size_bytes]


def publish(ledger: Ledger, seed: int = 0, units: int = 2) -> str:
    config = PackConfig(seed=seed, target_bytes=100_000, val_share=0.0, test_share=0.0)
    return finalize(ledger, make_plan(units), config).hash


def whole(store: Store, name: str) -> None:
    """Reads every sample."""
    dataset = open_dataset(store, name)
    for row in range(dataset.table.num_rows):
        dataset.read_row(row)


class Killed(BaseException):
    """The process is no more."""


class Mortal:
    """A place as a process sees it that is killed at its n-th call: that one and none after it is made."""

    def __init__(self, place: Any, dies_at: int) -> None:
        self._place, self._dies_at, self.calls = place, dies_at, 0
        self.uri = place.uri

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls >= self._dies_at:
                raise Killed
            return getattr(self._place, name)(*arguments)

        return call

    @classmethod
    def kills(cls, store: Store, dies_at: int, work: Callable[[Store], object]) -> bool:
        """Does the work in a process that is killed at that call; False when it came to its end before."""
        try:
            work(Store(cls(store._place, dies_at)))
        except Killed:
            return True
        return False

    @classmethod
    def steps(cls, store: Store, work: Callable[[Store], object]) -> int:
        """Calls that the work makes."""
        place = cls(store._place, sys.maxsize)
        work(Store(place))
        return place.calls
