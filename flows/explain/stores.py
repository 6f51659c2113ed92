"""A store, a dataset in it, a unit of work: what the records say of each, and what to ask next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from flows.explain.clip import write_whole
from flows.report.dataset import card_page, card_path
from flows.report.rejected import read_sample
from shards import plans
from shards.catalog import current_dataset, published
from shards.commit import Ledger
from shards.errors import ObjectMissing, RequestError
from shards.fingerprint import plain
from shards.index import DatasetInfo
from shards.reader import Dataset, open_dataset
from shards.records import Quarantine, Unit
from shards.schema import ClipSample, Rejection
from shards.status import status
from shards.store import Store

CLIPS_SHOWN = 5
SHARDS_SHOWN = 5
_SHORTEST_PREFIX = 6


def store_facts(store: Store, page: Path | None) -> dict[str, Any]:
    """Everything `store status` knows, and the newest dataset."""
    found = {"kind": "store", **status(store)}
    if (name := current_dataset(store)) is not None:
        told = dataset_facts(store, name, page)
        found |= {"dataset": {k: v for k, v in told.items() if k != "clips"}, "clips": told["clips"]}
    elif page is not None:
        raise RequestError("no dataset has been published here yet, so it has no page", field="--page", where=store.uri)
    return found


def dataset_facts(store: Store, name: str, page: Path | None) -> dict[str, Any]:
    """The figures of a dataset, where its page is, and what can be looked at in it."""
    dataset = open_dataset(store, full_hash(store, name))
    info = dataset.info
    return {
        "kind": "dataset",
        "hash": info.hash,
        "hours": round(info.hours, 4),
        "clips_in_all": info.num_samples,
        "frames": info.num_frames,
        "size_mb": round(info.size_bytes / 1e6, 3),
        "samples_by_split": dict(info.samples_by_split),
        "identities_by_split": dict(info.identities_by_split),
        "samples_by_language": dict(info.samples_by_language),
        "account": str(info.account),
        "rejections": dict(info.rejections),
        "thresholds": dict(info.thresholds),
        "page": _page(store, info, page),
        "shards": [f"{store.uri}#{ref.path}" for ref in info.shards[:SHARDS_SHOWN]],
        "clips": _clips(store, dataset),
    }


def full_hash(store: Store, name: str) -> str:
    """The one dataset whose hash begins so."""
    choices = published(store)
    found = [known for known in choices if known.startswith(name)]
    if len(found) != 1 or len(name) < _SHORTEST_PREFIX:
        problem = "this fits more than one dataset" if len(found) > 1 else "no such dataset"
        message = f"{problem}; name one by the first letters of its hash, at least {_SHORTEST_PREFIX}"
        raise RequestError(message, where=store.uri, field="dataset", value=name, choices=choices)
    return found[0]


def find_clip(dataset: Dataset, key: str) -> ClipSample:
    """The clip of that key, in the dataset or among those that were measured for it and left out."""
    if pc.index(dataset.table.column("key"), key).as_py() >= 0:
        return dataset.read(key)
    ledger = Ledger(dataset.store)
    for receipt in ledger.receipts(ledger.read_plan(dataset.info.plan_id)):
        for entry in receipt.samples:
            if entry.key == key:
                return read_sample(dataset.store, receipt.objects[0].path, entry)
    raise RequestError(
        f"no such clip; `dubwright inspect {dataset.store.uri}` names some", where=dataset.store.uri, value=key
    )


def unit_facts(store: Store, unit_id: str) -> dict[str, Any] | None:
    """What became of a unit of work; None where nobody has heard of it."""
    ledger = Ledger(store)
    decision, attempts, unit = ledger.decision(unit_id), ledger.attempts(unit_id), _planned(store, ledger, unit_id)
    if decision is None and not attempts and unit is None:
        return None
    facts: dict[str, Any] = {
        "kind": "unit",
        "unit": unit_id,
        "stage": unit.stage if unit else None,
        "epoch": ledger.epoch(unit_id),
        "attempts": [f"{a.epoch}.{a.number} at {a.started_at} by {a.run}" for a in attempts],
    }
    result = decision.result if decision is not None else None
    if result is None:
        facts["decision"] = "open: the next run that wants it does it"
    elif isinstance(result, Quarantine):
        facts["decision"] = f"given up after {result.attempts} attempts"
        facts |= {"error": f"{result.error_class}: {result.message}", "last_words": result.stderr_tail}
        facts["reproduce"] = result.reproduce
    else:
        facts["decision"] = "kept" if result.is_kept else "rejected"
        facts["stage"] = result.stage
        facts["rejections"] = [_told(rejection) for rejection in result.rejections]
        facts["objects"] = [f"{store.uri}#{ref.path}" for ref in result.objects]
        facts["samples"] = len(result.samples)
        facts["details"] = plain(result.details)
    facts["payload"] = plain(unit.payload) if unit else None
    facts["again"] = f"dubwright store retry {shlex.quote(store.uri)} {unit_id}"
    return facts


def _planned(store: Store, ledger: Ledger, unit_id: str) -> Unit | None:
    """The unit as the newest plan names it."""
    for plan_id in ledger.plans():
        try:
            if unit_id in plans.read_unit_ids(store, plan_id):
                return next(unit for unit in ledger.read_plan(plan_id).units if unit.unit_id == unit_id)
        except ObjectMissing:
            continue  # swept since it was listed
    return None


def _told(rejection: Rejection) -> str:
    at = (
        f" at {float(rejection.span.start.seconds):.2f} to {float(rejection.span.end.seconds):.2f} s"
        if rejection.span
        else ""
    )
    return f"{rejection.code}{at}: {rejection.detail}"


def _page(store: Store, info: DatasetInfo, page: Path | None) -> str:
    """Where the page is; a copy is made where one was asked for."""
    if page is not None:
        write_whole(page, card_page(store, info.hash).encode())
        return str(page)
    where = f"{store.uri}/{card_path(info.hash)}"
    return where if store.exists(card_path(info.hash)) else "none was made; --page FILE.html makes one"


def _clips(store: Store, dataset: Dataset) -> list[str]:
    keys = dataset.table.column("key").slice(0, CLIPS_SHOWN).to_pylist()
    is_newest = current_dataset(store) == dataset.info.hash
    at = "" if is_newest else f"@{dataset.info.hash[:12]}"
    return [f"{store.uri}{at}#{key}" for key in keys]
