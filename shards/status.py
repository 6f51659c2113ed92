"""What is in a store: plans with their accounts, datasets, who is at work, what was given up and why. Reads only.

Each decision is read once, whatever plans name its unit. Whether the bytes are right is `verify.py`'s question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from shards import plans
from shards.ahead import read_ahead
from shards.catalog import current_dataset, published
from shards.commit import READS_AT_ONCE, Ledger, commit_path
from shards.errors import ObjectDamaged, ObjectMissing, StoreError
from shards.fingerprint import plain
from shards.index import read_info
from shards.leases import leases, read_lease, sweep_files, sweep_run
from shards.records import Account, Void, from_record
from shards.sealed import unsealed
from shards.store import Store

QUARANTINED_SHOWN = 20
_READ_TOGETHER = 64
"""Records that one thread reads in one go: handing each to a thread by itself costs more than reading it."""

T = TypeVar("T")
Outcome = Literal["kept", "rejected", "quarantined", "unreadable"]
_void: TypeAdapter[Void] = TypeAdapter(Void)


@dataclass(frozen=True, slots=True)
class _Given:
    """A unit in quarantine, as it is shown."""

    unit_id: str
    error_class: str
    message: str
    reproduce: str


def status(store: Store) -> dict[str, Any]:
    """Everything in plain values, the newest plan first."""
    ledger = Ledger(store)
    outcomes, given_up = _outcomes(ledger)
    return {
        "uri": store.uri,
        "plans": [_plan(store, plan_id, outcomes) for plan_id in ledger.plans()],
        "quarantined": [plain(given) for given in given_up[:QUARANTINED_SHOWN]],
        "unreadable": sorted(unit_id for unit_id, outcome in outcomes.items() if outcome == "unreadable"),
        "reopened": _voids_by_reason(store),
        "datasets": [_summary(store, name) for name in published(store)],
        "current": current_dataset(store),
        "runs": _runs(store),
        "sweep": _sweep(store),
    }


def _outcomes(ledger: Ledger) -> tuple[dict[str, Outcome], list[_Given]]:
    """What each decided unit came to, and those given up, by unit id."""
    decided = sorted(ledger.decided().items())
    outcomes: dict[str, Outcome] = {}
    given_up: list[_Given] = []
    for unit_id, outcome, given in _together(lambda which: _outcome(ledger.store, *which), decided):
        if outcome is not None:
            outcomes[unit_id] = outcome
        if given is not None:
            given_up.append(given)
    return outcomes, given_up


def _outcome(store: Store, unit_id: str, epoch: int) -> tuple[str, Outcome | None, _Given | None]:
    """Of a record of a thousand samples only the kind is wanted: its checksum is proof enough of the rest."""
    path = commit_path(unit_id, epoch)
    try:
        result = unsealed(store.read(path), f"{store.uri}/{path}")["result"]
    except ObjectMissing:
        return unit_id, None, None  # voided and swept since
    except (StoreError, KeyError):
        return unit_id, "unreadable", None
    if "error_class" not in result:
        return unit_id, "kept" if result["objects"] or result["samples"] else "rejected", None
    given = _Given(unit_id, result["error_class"], result["message"], result["reproduce"])
    return unit_id, "quarantined", given


def _plan(store: Store, plan_id: str, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    try:
        head, unit_ids = plans.read_head(store, plan_id), plans.read_unit_ids(store, plan_id)
    except (ObjectDamaged, ObjectMissing) as error:
        return {"plan_id": plan_id, "problem": str(error)}
    counts = Counter(outcomes.get(unit_id, "pending") for unit_id in unit_ids)
    account = Account(
        planned=len(unit_ids),
        kept=counts["kept"],
        rejected=counts["rejected"],
        quarantined=counts["quarantined"],
        pending=counts["pending"],
    )
    unreadable = {"unreadable": counts["unreadable"]} if counts["unreadable"] else {}
    return {"plan_id": plan_id, "stage": head["stage"], "account": plain(account) | unreadable}


def _voids_by_reason(store: Store) -> dict[str, int]:
    def reason(path: str) -> str:
        try:
            return from_record(_void, store.read(path), f"{store.uri}/{path}").reason
        except StoreError:
            return "unreadable"

    return dict(sorted(Counter(_together(reason, list(store.list("voids/")))).items()))


def _summary(store: Store, name: str) -> dict[str, Any]:
    shown = ("hash", "plan_id", "num_samples", "hours", "size_bytes", "samples_by_split", "rejections")
    try:
        info = read_info(store, name)
    except StoreError as error:
        return {"hash": name, "problem": str(error)}
    return {field: plain(getattr(info, field)) for field in shown}


def _runs(store: Store) -> list[dict[str, Any]]:
    return [
        {
            "run": seen.lease.run,
            "holder": seen.lease.holder,
            "since": seen.lease.started_at,
            "seen_s_ago": max(round(seen.age_s), 0),
            "is_alive": seen.is_alive,
            "reads": list(seen.lease.reads),
        }
        for seen in leases(store)
    ]


def _sweep(store: Store) -> dict[str, Any] | None:
    """The sweep under way, or the one that died there."""
    files = sweep_files(store)
    last = max(files, default=0)
    if not last or "over" in files[last] or (run := sweep_run(store, last)) is None:
        return None
    lease = read_lease(store, run)
    return {"number": last, "run": run, "holder": lease.holder if lease is not None else "a run that is over"}


def _together(work: Any, items: Sequence[Any]) -> Iterator[Any]:
    """`map(work, items)`, many at a time in each of several threads."""
    for results in read_ahead(lambda chunk: [work(item) for item in chunk], _chunks(items), depth=READS_AT_ONCE):
        yield from results


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    waiting = iter(items)
    while chunk := list(islice(waiting, _READ_TOGETHER)):
        yield chunk
