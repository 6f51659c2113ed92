"""Committed fragments -> a published dataset: split, shuffle, cut into equal shards, index, publish.

Made from commits alone, and a pure function of them: whatever the order of commits, equal commits give the same shard
bytes and the same dataset hash. Samples are copied as they are, never encoded again, and checked on the way.
"""

from __future__ import annotations

import logging
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shards.ahead import read_ahead
from shards.codec import checked_header
from shards.commit import READS_AT_ONCE, Account, Ledger, ObjectRef, Plan, SampleEntry
from shards.errors import ObjectDamaged, RequestError, StoreError
from shards.fingerprint import fingerprint, plain
from shards.index import (
    CURRENT_PATH,
    SPLITS,
    DatasetInfo,
    IndexRow,
    Split,
    dataset_hash,
    index_bytes,
    index_path,
    index_table,
    info_path,
)
from shards.records import to_record
from shards.schema import Rejection
from shards.store import Store
from shards.tar import END, run_members

__all__ = ["Accept", "DatasetInfo", "PackConfig", "PackedDataset", "finalize", "pack", "split_identities"]

log = logging.getLogger(__name__)

Accept = Callable[[SampleEntry], Rejection | None]
"""A threshold: None keeps the sample. Scores are stored raw, so moving one measures nothing again."""


class PackConfig(BaseModel):
    """How samples are dealt into shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_bytes: int = Field(256 << 20, gt=0, description="about how many bytes a shard has")
    seed: int = Field(0, description="deals identities to splits and orders the samples")
    val_share: float = Field(0.05, ge=0, lt=1, description="part of the identities that is kept for validation")
    test_share: float = Field(0.05, ge=0, lt=1, description="part of the identities that is kept for the final test")

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> PackConfig:
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share leave nothing to train on")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedDataset:
    """Shards and index in the store's objects, not yet published."""

    table: pa.Table
    shards: tuple[ObjectRef, ...]
    rejections: Mapping[str, int]
    """Code -> how often, from the commits and from `accept`."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A committed sample and the fragment that holds it."""

    entry: SampleEntry
    fragment: str
    unit_id: str


def pack(ledger: Ledger, plan: Plan, config: PackConfig, *, accept: Accept | None = None) -> PackedDataset:
    """Deals the plan's committed samples into shards."""
    sources, rejections = _gather(ledger, plan, accept)
    splits = split_identities({s.entry.identity for s in sources}, config)
    rows: list[IndexRow] = []
    shards: list[ObjectRef] = []
    for split in SPLITS:
        members = [s for s in sources if splits[s.entry.identity] == split]
        members.sort(key=lambda s: fingerprint(config.seed, s.entry.key))
        for shard in _cut(members, config.target_bytes):
            ref, entries = _write_shard(ledger, shard)
            shards.append(ref)
            rows += [IndexRow(object=ref.path, split=split, entry=entry) for entry in entries]
    return PackedDataset(table=index_table(rows), shards=tuple(shards), rejections=dict(sorted(rejections.items())))


def finalize(
    ledger: Ledger,
    plan: Plan,
    config: PackConfig,
    *,
    accept: Accept | None = None,
    thresholds: Mapping[str, Any] | None = None,
) -> DatasetInfo:
    """Proves the account, packs, publishes and makes the dataset CURRENT. Again, it changes nothing."""
    account = ledger.account(plan)
    account.check()
    packed = pack(ledger, plan, config, accept=accept)
    if not packed.table.num_rows:
        raise RequestError(f"nothing to publish from {account.planned} units; {_reasons(packed.rejections, account)}")
    info = _describe(packed, plan, account, config, thresholds or {})
    store = ledger.store
    # dataset.json last: a dataset that has it is whole.
    store.write(index_path(info.hash), index_bytes(packed.table))
    store.write(info_path(info.hash), to_record(info))
    store.write(CURRENT_PATH, info.hash.encode() + b"\n")
    log.info("published dataset %s: %d samples in %d shards", info.hash, info.num_samples, len(info.shards))
    return info


def split_identities(identities: Iterable[str], config: PackConfig) -> dict[str, Split]:
    """Identity -> split. Each has its place on [0, 1) by its hash, so it stays in its split as the dataset grows.

    Few identities: val, then test, get at least one each as long as train keeps one.
    """
    place = {name: int(fingerprint("split", config.seed, name)[:13], 16) / 16**13 for name in set(identities)}
    ordered = sorted(place, key=lambda name: (place[name], name))
    spare = max(len(ordered) - 1, 0)
    out: dict[str, Split] = dict.fromkeys(ordered, "train")

    def stop_of(reach: float, share: float, start: int, limit: int) -> int:
        stop = bisect_left(ordered, reach, lo=start, key=lambda name: place[name]) if share else start
        return min(max(stop, start + (share > 0)), limit)

    kept_for_test = int(config.test_share > 0 and spare >= 2)
    val_stop = stop_of(config.val_share, config.val_share, 0, spare - kept_for_test)
    test_stop = stop_of(config.val_share + config.test_share, config.test_share, val_stop, spare)
    out |= dict.fromkeys(ordered[:val_stop], "val")
    out |= dict.fromkeys(ordered[val_stop:test_stop], "test")
    return out


def _gather(ledger: Ledger, plan: Plan, accept: Accept | None) -> tuple[list[_Source], Counter[str]]:
    sources: dict[str, _Source] = {}
    rejections: Counter[str] = Counter()
    for receipt in ledger.receipts(plan):
        rejections.update(r.code for r in receipt.rejections)
        for entry in receipt.samples:
            if accept is not None and (rejection := accept(entry)) is not None:
                rejections[rejection.code] += 1
                continue
            if (other := sources.get(entry.key)) is not None:
                raise StoreError(f"clip {entry.key} is in two units: {other.unit_id} and {receipt.unit_id}")
            sources[entry.key] = _Source(entry, receipt.objects[0].path, receipt.unit_id)
    return list(sources.values()), rejections


def _cut(members: Sequence[_Source], target_bytes: int) -> Iterator[Sequence[_Source]]:
    """Equal shards of about the target: the number is fixed first, so no small rest is left over."""
    total = sum(s.entry.size_bytes for s in members)
    num_shards = min(len(members), max(1, round(total / target_bytes)))
    shards: list[list[_Source]] = [[] for _ in range(num_shards)]
    done = 0
    for source in members:
        # A sample belongs to the shard that its middle falls into.
        middle = done + source.entry.size_bytes / 2
        shards[int(middle * num_shards / total)].append(source)
        done += source.entry.size_bytes
    return (shard for shard in shards if shard)


def _write_shard(ledger: Ledger, sources: Sequence[_Source]) -> tuple[ObjectRef, list[SampleEntry]]:
    with tempfile.TemporaryDirectory(prefix="dubwright-pack-") as folder:
        path = Path(folder) / "shard.tar"
        entries = []
        with path.open("xb") as stream:
            runs = read_ahead(lambda s: _checked_run(ledger.store, s), sources, depth=READS_AT_ONCE)
            for source, run in zip(sources, runs, strict=True):
                entries.append(replace(source.entry, offset=stream.tell()))
                stream.write(run)
            stream.write(END)
        return ledger.put_object(path, "tar"), entries


def _checked_run(store: Store, source: _Source) -> bytes:
    """The sample's bytes, as they were committed: damage must not spread from a fragment to a shard."""
    try:
        run = store.read_range(source.fragment, source.entry.offset, source.entry.size_bytes)
        checked_header(source.entry.key, run_members(source.entry.key, run))
    except StoreError as error:
        raise ObjectDamaged(
            f"{store.uri}/{source.fragment}, byte {source.entry.offset}: {error}; "
            f"`dubwright store verify` lists what is damaged; unit {source.unit_id} must be done again"
        ) from error
    return run


def _describe(
    packed: PackedDataset, plan: Plan, account: Account, config: PackConfig, thresholds: Mapping[str, Any]
) -> DatasetInfo:
    rows = packed.table.to_pylist()
    info = DatasetInfo(
        hash="",
        plan_id=plan.plan_id,
        num_samples=len(rows),
        num_frames=sum(row["num_frames"] for row in rows),
        hours=sum(row["duration_s"] for row in rows) / 3600,
        size_bytes=sum(shard.size_bytes for shard in packed.shards),
        samples_by_split=_counts(row["split"] for row in rows),
        identities_by_split=_counts(split for split, _ in {(row["split"], row["identity"]) for row in rows}),
        samples_by_language=_counts(row["language"] or "unknown" for row in rows),
        rejections=packed.rejections,
        account=account,
        shards=packed.shards,
        config=plan.config,
        pack_config=plain(config),
        thresholds=plain(thresholds),
    )
    return replace(info, hash=dataset_hash(info, packed.table))


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _reasons(rejections: Mapping[str, int], account: Account) -> str:
    codes = ", ".join(f"{code}: {count}" for code, count in rejections.items()) or "none"
    return f"rejections by code: {codes}; {account.quarantined} units quarantined"
