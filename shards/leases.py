"""Who is alive, and what the one that sweeps is about to remove.

    runs/{run}.json     a run's lease: written again and again by a thread while it lasts, gone when it ends
    sweeps/{n}.json     sweep n has begun, and by which run
    sweeps/{n}.about    the names that it is just removing, a line each
    sweeps/{n}.over     it is over

A lease is never needed to decide a unit (see `commit.py`). It tells a sweep which tries may still come back, which
datasets and plans are in use, and a person who is at work. Ages are told by the store's own clock. Whoever is going to
need something says so first (a lease, a pin, a plan) and then looks whether it is `condemned`; a sweep condemns first
and then looks who needs it (`removal.py`): at least one of the two sees the other.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from pydantic import TypeAdapter

from shards.errors import ObjectMissing, StoreError, SweptMeanwhile
from shards.records import Lease, Sweep, from_record, to_record
from shards.store import Store

log = logging.getLogger(__name__)

RUNS, SWEEPS = "runs/", "sweeps/"
TTL_S = 120.0
"""A run that has not renewed its lease for so long is taken to be over."""
RENEWALS_PER_TTL = 4
MARGIN_S = 3600.0
"""So long after its lease ran out, what a sweep was removing is taken for abandoned: it must not wake up after that."""

_SWEEP_FILE = re.compile(r"sweeps/(\d+)\.(json|about|over)")
_lease: TypeAdapter[Lease] = TypeAdapter(Lease)
_sweep: TypeAdapter[Sweep] = TypeAdapter(Sweep)


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease as it was found."""

    lease: Lease
    renewed: datetime
    age_s: float
    """Since then, by the store's clock."""

    @property
    def is_alive(self) -> bool:
        return self.age_s <= self.lease.ttl_s

    @property
    def is_long_over(self) -> bool:
        return self.age_s > self.lease.ttl_s + MARGIN_S


def lease_path(run: str) -> str:
    return f"{RUNS}{run}.json"


class HeldLease:
    """A lease of our own."""

    def __init__(self, store: Store, lease: Lease, clocks: Sequence[Callable[[], float]]) -> None:
        self.lease = lease
        self._store, self._clocks = store, clocks
        self._renewed = self._now()
        self._has_lapsed = False
        self._writing = threading.Lock()

    @property
    def run(self) -> str:
        return self.lease.run

    @property
    def is_good(self) -> bool:
        """That nobody can have taken it for run out, now or at any time before."""
        self._has_lapsed = self._has_lapsed or self._silence() > self.lease.ttl_s
        return not self._has_lapsed

    def need(self, *names: str) -> None:
        """Keeps these datasets and plans from every sweep, too; raises `SweptMeanwhile` when one is going just now."""
        with self._writing:
            self.lease = replace(self.lease, reads=(*self.lease.reads, *names))
        self.renew()
        need_spared(self._store, names, witness=self.run)

    def renew(self) -> None:
        """Writes it again. One that ran out once is not made good by that."""
        with self._writing:
            # Before the write: the store's clock stamps it at some time after that.
            begun = self._now()
            self._store.write(lease_path(self.run), to_record(self.lease))
            self._has_lapsed = not self.is_good
            self._renewed = begun

    def _now(self) -> tuple[float, ...]:
        return tuple(clock() for clock in self._clocks)

    def _silence(self) -> float:
        """Seconds since it was renewed, by the clock that saw most: some stand still while the machine sleeps."""
        return max(now - then for now, then in zip(self._now(), self._renewed, strict=True))


@contextmanager
def hold_lease(
    store: Store,
    purpose: str,
    *,
    reads: Sequence[str] = (),
    ttl_s: float = TTL_S,
    clocks: Sequence[Callable[[], float]] = (time.monotonic, time.time),
) -> Iterator[HeldLease]:
    """A lease for as long as the block lasts; `reads` are the datasets and plans that no sweep may take meanwhile.

    Raises `SweptMeanwhile` when a sweep is just taking one of them.
    """
    lease = Lease(
        run=uuid.uuid4().hex,
        holder=f"{purpose} on {socket.gethostname()}, process {os.getpid()}",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ttl_s=ttl_s,
    )
    held = HeldLease(store, lease, clocks)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(held, over), name="lease", daemon=True)
    keeper.start()
    try:
        held.need(*reads)
        yield held
    finally:
        over.set()
        keeper.join()
        try:
            store.delete(lease_path(lease.run))
        except StoreError as error:
            # It runs out by itself; an error here must not hide how the run went.
            log.warning("the lease of this run could not be given back: %s", error)


def _keep(held: HeldLease, over: threading.Event) -> None:
    while not over.wait(held.lease.ttl_s / RENEWALS_PER_TTL):
        try:
            held.renew()
        except StoreError as error:
            log.warning("the lease of this run could not be renewed (tried again): %s", error)


def leases(store: Store, witness: str | None = None) -> list[Seen]:
    """Every lease. It is taken to be as late as when `witness`, a run that is alive, last renewed its own: never too
    late. Without a witness this machine's clock is asked, which is good enough for people."""
    renewed = {entry.path: entry.modified for entry in store.entries(RUNS)}
    now = _time(store, renewed, witness)
    found = ((path, read_lease(store, PurePosixPath(path).stem)) for path in renewed)
    return [Seen(lease, renewed[path], _seconds(now - renewed[path])) for path, lease in found if lease is not None]


def _time(store: Store, renewed: Mapping[str, datetime], witness: str | None) -> datetime:
    if witness is None:
        return datetime.now(UTC)
    if (path := lease_path(witness)) not in renewed:
        raise StoreError(f"{store.uri}/{path} is gone: this run was out of touch with the store for too long; again")
    return renewed[path]


def read_lease(store: Store, run: str) -> Lease | None:
    """The run's lease, or None when it was given back."""
    try:
        return from_record(_lease, store.read(lease_path(run)), f"{store.uri}/{lease_path(run)}")
    except ObjectMissing:
        return None


# -- what is being removed ---------------------------------------------------------------------------------------------


def sweep_path(number: int, suffix: str) -> str:
    return f"{SWEEPS}{number}.{suffix}"


def sweep_files(store: Store) -> dict[int, set[str]]:
    """Number -> suffixes, of every sweep that left a file."""
    found: dict[int, set[str]] = {}
    for path in store.list(SWEEPS):
        if match := _SWEEP_FILE.fullmatch(path):
            found.setdefault(int(match[1]), set()).add(match[2])
    return found


def sweep_run(store: Store, number: int) -> str | None:
    """The run that does, or did, that sweep; None when its record is gone."""
    path = sweep_path(number, "json")
    try:
        return from_record(_sweep, store.read(path), f"{store.uri}/{path}").run
    except ObjectMissing:
        return None


def condemned(store: Store) -> dict[int, frozenset[str]]:
    """Sweep -> the names (of objects by digest, of plans, units, datasets) that it is removing."""
    found = {}
    for number, suffixes in sweep_files(store).items():
        if "about" in suffixes:
            try:
                data = store.read(sweep_path(number, "about"))
            except ObjectMissing:
                continue  # done since
            found[number] = frozenset(data.decode().splitlines())
    return found


def need_spared(store: Store, names: Sequence[str], *, witness: str | None = None) -> None:
    """Raises `SweptMeanwhile` when one of the names is being removed. To be asked after saying that they are needed.

    What a sweep long dead was removing is free again; to tell, a `witness` is needed: a run that is alive.
    """
    for number, going in condemned(store).items() if names else ():
        if (hit := going.intersection(names)) and not _is_abandoned(store, number, witness):
            raise SweptMeanwhile(
                f"{store.uri}: {min(hit)} is being removed by a sweep; again once that is over. One that died is"
                f" passed over {MARGIN_S / 60:.0f} min after it was last seen, or at the next `dubwright store gc`"
            )


def _is_abandoned(store: Store, number: int, witness: str | None) -> bool:
    """That the sweep's run cannot come back: its lease was given back, or ran out long ago."""
    if (run := sweep_run(store, number)) is None:
        return False
    renewed = {entry.path: entry.modified for entry in store.entries(RUNS)}
    then, lease = renewed.get(lease_path(run)), read_lease(store, run)
    if then is None or lease is None:
        return True
    now = renewed.get(lease_path(witness)) if witness is not None else None
    # The witness's own last renewal: it is later than that by now, never earlier.
    return now is not None and Seen(lease, then, _seconds(now - then)).is_long_over


def _seconds(span: timedelta) -> float:
    return span.total_seconds()
