"""How something is removed while drivers are running: one sweep at a time, said first and looked after.

    condemn     the names that are to go are written to sweeps/{n}.about
    look        who needs them is asked only now; what is needed is spared
    remove      the rest goes

Whoever needs an object, a plan or a dataset does it the other way round: it says so (a pin, a decision, a lease, the
plan itself) and then looks whether a sweep has condemned it. Whichever came first, one sees the other: the sweep spares
the name, or the other side gets `SweptMeanwhile` and comes again. No clock is asked in that.

A clock is asked only about a sweep that died. It is passed over once its lease has run out and an hour went by; and a
sweep looks, before each single removal, that its own lease never ran out. What that cannot fence is a process that
stands still between this look and the removal for longer than the hour (no object store can make a removal depend on
another object); and that it took something needed is found by name: by the next read, and by `dubwright store verify`.

What is garbage is `sweep.py`'s to say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from shards.ahead import read_ahead
from shards.errors import RequestError, StoreError
from shards.leases import HeldLease, Seen, hold_lease, leases, sweep_files, sweep_path, sweep_run
from shards.records import Sweep, to_record
from shards.store import Store

NAMES_AT_ONCE = 10_000
"""Condemned together: whoever puts an object reads them all, so they must not be too many."""
REMOVALS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to remove: held by one sweep at a time."""

    store: Store
    held: HeldLease
    number: int

    def remove(
        self, names: Iterable[str], *, needed: Callable[[], Collection[str]], by: Callable[[str], None]
    ) -> list[str]:
        """Has `by` remove each name that is not, once all have been condemned, `needed`; the names it removed.

        `needed` must look at the store each time it is asked.
        """
        removed: list[str] = []
        waiting = iter(sorted(set(names)))
        while batch := list(islice(waiting, NAMES_AT_ONCE)):
            self._condemn(batch)
            spared = needed()
            going = [name for name in batch if name not in spared]
            self.each(going, by)
            removed += going
        return removed

    def each(self, names: Iterable[str], by: Callable[[str], None]) -> None:
        """Does it to each, several at a time: for what nobody can come to need."""

        def one(name: str) -> None:
            self._need_good_lease()
            by(name)

        for _ in read_ahead(one, names, depth=REMOVALS_AT_ONCE):
            pass

    def _condemn(self, names: Iterable[str]) -> None:
        self._need_good_lease()
        self.store.write(sweep_path(self.number, "about"), "".join(f"{name}\n" for name in names).encode())

    def _need_good_lease(self) -> None:
        if not self.held.is_good:
            raise StoreError(
                f"{self.store.uri}: the sweep stops: it was out of touch with the store for more than"
                f" {self.held.lease.ttl_s:.0f} s, and another may have taken over; run `dubwright store gc` again"
            )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Says what a `Turn` would remove, and removes nothing."""

    def remove(
        self, names: Iterable[str], *, needed: Callable[[], Collection[str]], by: Callable[[str], None]
    ) -> list[str]:
        spared = needed()
        return sorted(set(names).difference(spared))

    def each(self, names: Iterable[str], by: Callable[[str], None]) -> None:
        """Nothing."""


@contextmanager
def take_turn(store: Store, purpose: str = "gc") -> Iterator[Turn]:
    """The turn to sweep, for as long as the block lasts. Refused while another has it."""
    with hold_lease(store, purpose) as held:
        turn = Turn(store, held, _next_number(store, held))
        try:
            yield turn
        except BaseException:
            # Nothing is being removed any more. If that cannot be said, it is known when our lease is gone.
            with suppress(StoreError):
                store.delete(sweep_path(turn.number, "about"))
            raise
        _close(turn)


def _next_number(store: Store, held: HeldLease) -> int:
    """The number after the last sweep's, which is over or dead. Of two who take one at once, one is refused."""
    files = sweep_files(store)
    last = max(files, default=0)
    if last and "over" not in files[last] and (run := sweep_run(store, last)) is not None:
        seen = {seen.lease.run: seen for seen in leases(store, held.run)}
        if run in seen and not seen[run].is_long_over:
            raise _under_way(store, seen[run])
    record = Sweep(number=last + 1, run=held.run)
    # Not created may be ours all the same: put, and the answer lost on its way.
    if not store.create(sweep_path(last + 1, "json"), to_record(record)) and sweep_run(store, last + 1) != held.run:
        raise RequestError("another sweep has just begun; wait until it is over", where=store.uri)
    return last + 1


def _under_way(store: Store, seen: Seen) -> RequestError:
    text = f"a sweep is under way: {seen.lease.holder}, since {seen.lease.started_at}"
    if seen.is_alive:
        return RequestError(f"{text}; wait until it is over", where=store.uri)
    return RequestError(
        f"{text}, and out of touch for {seen.age_s / 60:.0f} min; it is taken over an hour after its lease ran out, or"
        f" at once when you have made sure that the process is gone and removed runs/{seen.lease.run}.json",
        where=store.uri,
    )


def _close(turn: Turn) -> None:
    """Says that it is over, and clears earlier sweeps away; the last number stays, so that numbers only go up."""
    turn.store.delete(sweep_path(turn.number, "about"))
    turn.store.write(sweep_path(turn.number, "over"), b"")
    for number, suffixes in sorted(sweep_files(turn.store).items()):
        # In this order: what it was removing, who it was, that it was over.
        for suffix in sorted(suffixes) if number < turn.number else ():
            turn.store.delete(sweep_path(number, suffix))
