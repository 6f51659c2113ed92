"""Opens units again: what was given up, what is asked for by name, what is damaged. The next run does them anew.

Damage is cleared away under the sweep's protocol (`removal.py`): to condemn a damaged object first keeps a driver that
makes the same bytes from taking the damaged one for whole, since it has the right name and maybe the right size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from shards.commit import Ledger
from shards.errors import RequestError
from shards.needs import Needs
from shards.records import Quarantine, Void, to_record
from shards.removal import take_turn
from shards.store import Store
from shards.verify import Damage, Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was done about damage, and what is left to do."""

    units: tuple[str, ...]
    """Opened again."""
    removed: tuple[str, ...]
    """Damaged objects and records, by path."""
    left: tuple[Damage, ...]
    """Datasets and plans: each says which command writes it anew."""


def reopen(ledger: Ledger, unit_ids: Sequence[str] = ()) -> list[str]:
    """Opens these units again, whatever they came to, or (none given) all that were given up; those it opened."""
    decided = ledger.decided()
    if unknown := sorted(set(unit_ids) - decided.keys()):
        raise RequestError(
            "this unit is not decided: there is nothing to open again",
            where=ledger.store.uri,
            field="unit",
            value=unknown[0],
        )
    if not unit_ids:
        found = ledger.decisions_of(sorted(decided.items()))
        unit_ids = [decision.unit_id for decision in found if isinstance(decision.result, Quarantine)]
    for unit_id in unit_ids:
        ledger.void(unit_id, "retry", "asked for by hand", epoch=decided[unit_id])
    return sorted(unit_ids)


def repair(store: Store, found: Verification) -> Repaired:
    """Removes what is damaged and opens the units it belongs to; a second time, it does nothing."""
    ledger = Ledger(store)
    by_kind = {kind: [d for d in found.damaged if d.kind == kind] for kind in ("decision", "object", "void")}
    opened = {unit_id for damage in by_kind["decision"] for unit_id in damage.units}
    for unit_id in opened:
        ledger.void(unit_id, "damaged", "its decision cannot be read")
    for damage in by_kind["void"]:
        _write_void(store, damage.path)
    loose = [damage.path for damage in found.damaged if damage.kind in ("try", "current")]
    for path in loose:
        store.delete(path)
    if by_kind["object"]:
        opened |= _remove_objects(ledger, [damage.path for damage in by_kind["object"]])
    return Repaired(
        units=tuple(sorted(opened)),
        removed=tuple(sorted([*loose, *(damage.path for damage in by_kind["object"])])),
        left=tuple(damage for damage in found.damaged if damage.kind in ("dataset", "plan")),
    )


def _remove_objects(ledger: Ledger, paths: Iterable[str]) -> set[str]:
    """Removes them, and opens every unit that has come to rest on one: by its decision, or by a try under way."""
    needs, by_digest, holders = Needs(ledger.store), {PurePosixPath(path).stem: path for path in paths}, {}

    def look() -> Collection[str]:
        holders.update(needs.holders(by_digest))
        return ()

    def remove(digest: str) -> None:
        # The object first: were we killed between, its units would still name it, and `verify` tell that it is missing.
        ledger.store.delete(by_digest[digest])
        for unit_id, epoch in holders.get(digest, ()):
            ledger.void(unit_id, "damaged", f"{by_digest[digest]} is damaged or missing", epoch=epoch)

    with take_turn(ledger.store, "repair") as turn:
        turn.remove(by_digest, needed=look, by=remove)
    return {unit_id for found in holders.values() for unit_id, _ in found}


def _write_void(store: Store, path: str) -> None:
    """Its name is what counts; why it was written is lost."""
    unit_id, epoch = PurePosixPath(path).parent.name, int(PurePosixPath(path).stem)
    entry = Void(unit_id=unit_id, epoch=epoch, reason="damaged", detail="the record of why was damaged")
    store.write(path, to_record(entry))
