"""Deals samples to shards: which split, which shard, where in it. Pure arithmetic over columns: no bytes are touched.

The result is a function of the set of samples alone, whoever committed them and in whatever order; and a set that
differs little is dealt nearly alike, so that new footage leaves most shards as they are:

- An identity has its place on a line by its hash, and so keeps its split as others join.
- Within a split samples lie by (hash of the unit, hash of the key): new footage is inserted, it displaces nothing.
- A split is cut where a sample's hash is lowest, each half again, as long as every part can become shards of about the
  target. A half that got nothing new is cut as before. With the cuts at fixed distances everything behind the first
  new sample would move.
- Within a shard samples lie by another hash, which mixes its units.

Copying the bytes is `pack.py`'s.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shards.errors import AccountError
from shards.fingerprint import fingerprint
from shards.index import SPLITS, Split
from shards.schema import I64
from shards.tar import END

SMALLEST, LARGEST = 0.75, 1.25
"""Targets a shard may have, unless its whole split is smaller than `SMALLEST_CUT`, or its samples are large."""
SMALLEST_CUT = 1.6
"""Targets; less is one shard. A little over 2 * SMALLEST, so that a cut has a choice of places: for samples of up to
0.07 targets there always is one."""

U64 = NDArray[np.uint64]
_ROWS_AT_ONCE = 1 << 16


class PackConfig(BaseModel):
    """How samples are dealt into shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_bytes: int = Field(256 << 20, gt=0, description="about how many bytes a shard has")
    seed: int = Field(0, description="deals identities to splits and orders the samples")
    val_share: float = Field(0.05, ge=0, lt=1, description="part of the identities that is kept for validation")
    test_share: float = Field(0.05, ge=0, lt=1, description="part of the identities that is kept for the final test")
    held_out: tuple[str, ...] = Field((), description="identities that are in test whatever their hash says")

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> PackConfig:
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share leave nothing to train on")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """Every sample's place."""

    samples: pa.Table
    """As they will lie. The columns that were dealt, `offset` being the one in the shard, and `source_offset`."""
    bounds: I64
    """(shards + 1,) the row each shard starts at, and the number of rows."""
    splits: tuple[Split, ...]
    """By shard."""

    @property
    def sizes(self) -> I64:
        """(shards,) bytes of each tar, its end included."""
        ends = self.bounds[1:] - 1
        offset, size = (self.samples.column(name).to_numpy() for name in ("offset", "size_bytes"))
        return np.asarray(offset[ends] + size[ends] + len(END), dtype=np.int64)


def deal(samples: pa.Table, unit_ids: Sequence[str], config: PackConfig) -> Deal:
    """The samples in shards. `samples` has a row each, whose `unit` is a position in `unit_ids`."""
    units = samples.column("unit").to_numpy()
    in_unit, tie, cut_at, in_shard = _hashes(config.seed, samples.column("key"))
    _need_once(samples, in_unit, tie, unit_ids)
    split_of = _split_codes(samples.column("identity"), config)
    order = np.lexsort((tie, in_unit, _unit_ranks(config.seed, unit_ids)[units], split_of))
    sizes = samples.column("size_bytes").to_numpy()[order]
    bounds = _bounds(split_of[order], sizes, cut_at[order], config.target_bytes)
    shard_of = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    mixed = np.lexsort((tie[order], in_shard[order], shard_of))
    order, sizes = order[mixed], sizes[mixed]
    dealt = samples.take(pa.array(order))
    source = dealt.schema.get_field_index("offset")
    dealt = dealt.append_column("source_offset", dealt.column(source))
    dealt = dealt.set_column(source, "offset", pa.array(_offsets(sizes, bounds)))
    splits = tuple(SPLITS[code] for code in split_of[order[bounds[:-1]]])
    return Deal(samples=dealt, bounds=bounds, splits=splits)


def cut(sizes: I64, priority: U64, target: int) -> list[int]:
    """Where each shard starts, for samples of these bytes; of the possible cuts that of lowest `priority` comes first.

    With c the first cut, `cut(all) == cut(all[:c]) + cut(all[c:])`: what is new on one side leaves the other alone.
    """
    ends = np.concatenate(([0], np.cumsum(sizes)))
    starts, waiting = [], [(0, len(sizes))] if len(sizes) else []
    while waiting:
        start, stop = waiting.pop()
        at = _first_cut(ends[start : stop + 1] - ends[start], priority[start:stop], target)
        if at is None:
            starts.append(start)
        else:
            waiting += [(start + at, stop), (start, start + at)]
    return starts


def split_identities(identities: Iterable[str], config: PackConfig) -> dict[str, Split]:
    """Identity -> split. Each has its place on [0, 1) by its hash, so it stays in its split as the dataset grows.

    Few identities: val, then test, get at least one each as long as train keeps one. Those held out by name are none
    of these.
    """
    dealt = set(identities) - set(config.held_out)
    place = {name: int(fingerprint("split", config.seed, name)[:13], 16) / 16**13 for name in dealt}
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
    out |= dict.fromkeys(set(identities) & set(config.held_out), "test")
    return out


def _first_cut(ends: I64, priority: U64, target: int) -> int | None:
    """Before which of these samples to cut first, or None to leave them in one shard. `ends` starts with 0."""
    total = ends[-1]
    if len(priority) < 2 or total < SMALLEST_CUT * target:
        return None
    left = ends[1:-1]
    possible = np.flatnonzero(_makes_shards(left, target) & _makes_shards(total - left, target))
    if not len(possible):
        # Samples so large that no cut suits both sides: as evenly as they allow.
        return 1 + int(np.argmin(np.abs(2 * left - total)))
    return 1 + int(possible[np.argmin(priority[1:][possible])])


def _makes_shards(size: I64, target: int) -> NDArray[np.bool_]:
    one = (size >= SMALLEST * target) & (size <= LARGEST * target)
    return np.asarray(one | (size >= SMALLEST_CUT * target))


def _bounds(split_of: I64, sizes: I64, priority: U64, target: int) -> I64:
    bounds: list[int] = []
    for code in range(len(SPLITS)):
        start, stop = np.searchsorted(split_of, (code, code + 1))
        bounds += [int(start) + at for at in cut(sizes[start:stop], priority[start:stop], target)]
    return np.array([*bounds, len(sizes)], dtype=np.int64)


def _offsets(sizes: I64, bounds: I64) -> I64:
    """Where each sample starts in its shard."""
    starts = np.cumsum(sizes) - sizes
    return np.asarray(starts - np.repeat(starts[bounds[:-1]], np.diff(bounds)), dtype=np.int64)


def _hashes(seed: int, keys: pa.ChunkedArray) -> tuple[U64, U64, U64, U64]:
    """Four independent numbers per key."""
    prefix = f"{seed}:"
    blocks = [
        b"".join(hashlib.sha256((prefix + key).encode()).digest() for key in keys.slice(row, _ROWS_AT_ONCE).to_pylist())
        for row in range(0, len(keys), _ROWS_AT_ONCE)
    ]
    words = np.frombuffer(b"".join(blocks), dtype=">u8").astype(np.uint64).reshape(-1, 4)
    first, second, third, fourth = words.T
    return first, second, third, fourth


def _unit_ranks(seed: int, unit_ids: Sequence[str]) -> I64:
    """Each unit's place among the units of the split."""
    digests = [hashlib.sha256(f"{seed}:{unit_id}".encode()).digest() for unit_id in unit_ids]
    ranks = np.empty(len(digests), dtype=np.int64)
    ranks[sorted(range(len(digests)), key=digests.__getitem__)] = np.arange(len(digests))
    return ranks


def _split_codes(identities: pa.ChunkedArray, config: PackConfig) -> I64:
    """Each sample's split, as a position in `SPLITS`."""
    names = pc.unique(identities)
    splits = split_identities(names.to_pylist(), config)
    codes = np.array([SPLITS.index(splits[name]) for name in names.to_pylist()], dtype=np.int64)
    return codes[pc.index_in(identities, names).to_numpy()] if len(names) else codes


def _need_once(samples: pa.Table, first: U64, second: U64, unit_ids: Sequence[str]) -> None:
    order = np.lexsort((second, first))
    twice = np.flatnonzero((np.diff(first[order]) == 0) & (np.diff(second[order]) == 0))
    if not len(twice):
        return
    rows = [samples.slice(int(order[at]), 1) for at in (twice[0], twice[0] + 1)]
    key = rows[0].column("key")[0].as_py()
    units = " and ".join(sorted(unit_ids[row.column("unit")[0].as_py()] for row in rows))
    raise AccountError(
        f"clip {key} is in two units: {units} ({len(twice)} clips are there twice); no dataset can be made of both"
    )
