"""Reads a published dataset: one sample by key, or all of them in an order that any number of readers share.

The order of an epoch is a pure function of (dataset, split, seed, epoch). Position in it is all the state there is, so
a run stopped on one process goes on with four, then three, over exactly the sequence of an uninterrupted one. No torch
here: batching is the model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from shards.ahead import read_ahead
from shards.codec import decode_clip
from shards.errors import ObjectDamaged, ObjectMissing, RequestError, StoreError
from shards.fingerprint import fingerprint
from shards.index import CURRENT_PATH, SPLITS, DatasetInfo, index_path, read_index, read_info
from shards.schema import I64, ClipSample
from shards.store import Store
from shards.tar import run_members

SHUFFLE_WINDOW = 1024
"""Samples that are mixed with each other. Part of the order: another number is another order."""
READ_AHEAD = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderState:
    """Where a reader is in the global sequence; saved with the model."""

    seed: int
    epoch: int
    consumed: int
    """Samples of this epoch that all readers together have consumed."""
    dataset_hash: str
    global_batch: int
    """Samples per step, over all readers."""


class Dataset:
    """One published dataset. Made by `open_dataset`."""

    def __init__(self, store: Store, info: DatasetInfo, table: pa.Table) -> None:
        self.store, self.info, self.table = store, info, table

    def keys(self, split: str) -> list[str]:
        """The split's keys, as they lie."""
        column = self.table.column("key")
        return [column[int(row)].as_py() for row in self.rows(split)]

    def rows(self, split: str) -> I64:
        """The split's row numbers in `table`, as they lie; refuses an unknown split."""
        if split not in SPLITS:
            raise RequestError("unknown split", field="split", value=split, choices=SPLITS)
        return self._rows_by_split[split]

    def read(self, key: str) -> ClipSample:
        """The sample of that key."""
        if key not in self._row_by_key:
            raise RequestError(f"no such sample in dataset {self.info.hash}", field="key", value=key)
        return self.read_row(self._row_by_key[key])

    def read_row(self, row: int) -> ClipSample:
        """The sample of that row of `table`, by one ranged read; a damaged or missing one is named."""
        where = {name: self.table.column(name)[int(row)].as_py() for name in ("key", "object", "offset", "size_bytes")}
        try:
            run = self.store.read_range(where["object"], where["offset"], where["size_bytes"])
            return decode_clip(where["key"], run_members(where["key"], run))
        except StoreError as error:
            place = f"{self.store.uri}/{where['object']}, byte {where['offset']}"
            raise type(error)(f"dataset {self.info.hash[:12]}, sample {where['key']}, {place}: {error}") from error

    def order(self, split: str, seed: int, epoch: int) -> I64:
        """Every row number of the split once, in the order of that epoch.

        Shards come in random order and are read through, and within a window of samples all is mixed: near-sequential
        reads, and (as packing has already mixed the samples) batches as good as fully shuffled ones.
        """
        rows = self.rows(split)
        objects = self._object_codes[rows]
        shards = np.unique(objects)
        rank = np.empty(int(shards.max(initial=-1)) + 1, dtype=np.int64)
        rank[shards[self._permutation(len(shards), "shards", split, seed, epoch)]] = np.arange(len(shards))
        by_shard = rows[np.argsort(rank[objects], kind="stable")]
        noise = self._permutation(len(rows), "samples", split, seed, epoch)
        window = np.arange(len(rows)) // SHUFFLE_WINDOW
        return by_shard[np.lexsort((noise, window))]

    def first_state(self, seed: int, global_batch: int) -> ReaderState:
        """The beginning of the sequence."""
        return ReaderState(
            seed=seed, epoch=0, consumed=0, dataset_hash=self.info.hash, global_batch=_positive(global_batch)
        )

    def stream(
        self, split: str, state: ReaderState, *, rank: int = 0, world_size: int = 1, global_batch: int
    ) -> Iterator[tuple[ReaderState, ClipSample]]:
        """This reader's samples from `state` on, epoch after epoch, without end.

        Of each global batch reader r takes samples r, r + world_size, ... With each sample comes the state at the end
        of its global batch: what to save once that step is done. A batch may run over the end of an epoch.
        """
        self._check(state, rank, world_size, global_batch)
        if not len(self.rows(split)):
            raise RequestError(f"dataset {self.info.hash} has no samples in this split", field="split", value=split)
        turns = self._turns(split, state, rank, world_size)
        return read_ahead(lambda turn: (turn[0], self.read_row(turn[1])), turns, depth=READ_AHEAD)

    def _turns(self, split: str, state: ReaderState, rank: int, world_size: int) -> Iterator[tuple[ReaderState, int]]:
        """(state after the batch, row) of this reader's samples."""
        size, epoch = len(self.rows(split)), state.epoch
        order = self.order(split, state.seed, epoch)
        start = epoch * size + state.consumed
        while True:
            stop = start + state.global_batch
            after = ReaderState(
                seed=state.seed,
                epoch=stop // size,
                consumed=stop % size,
                dataset_hash=state.dataset_hash,
                global_batch=state.global_batch,
            )
            for position in range(start + rank, stop, world_size):
                if position // size != epoch:
                    epoch = position // size
                    order = self.order(split, state.seed, epoch)
                yield after, int(order[position % size])
            start = stop

    def _check(self, state: ReaderState, rank: int, world_size: int, global_batch: int) -> None:
        if state.dataset_hash != self.info.hash:
            raise RequestError(
                f"the run was started on dataset {state.dataset_hash} and this is {self.info.hash}; "
                "open the first, or start a new run",
                field="dataset_hash",
            )
        if state.global_batch != _positive(global_batch):
            raise RequestError(
                f"the run was started with a global batch of {state.global_batch}, not {global_batch}",
                field="global_batch",
            )
        if not 0 <= rank < world_size:
            raise RequestError(f"rank is from 0 to world_size - 1 = {world_size - 1}", field="rank", value=rank)
        if world_size > global_batch:
            raise RequestError(
                f"{world_size} readers cannot share a global batch of {global_batch}", field="world_size"
            )

    def _permutation(self, count: int, *names: object) -> I64:
        # Raw generator output is fixed for good, which numpy does not promise of `Generator.permutation`.
        seed = int(fingerprint(self.info.hash, *names)[:32], 16)
        return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)

    @cached_property
    def _rows_by_split(self) -> dict[str, I64]:
        column = np.asarray(self.table.column("split").to_pylist(), dtype=object)
        return {split: np.flatnonzero(column == split).astype(np.int64) for split in SPLITS}

    @cached_property
    def _row_by_key(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.table.column("key").to_pylist())}

    @cached_property
    def _object_codes(self) -> I64:
        """(rows,) which object a row lies in, as a number."""
        _, codes = np.unique(np.asarray(self.table.column("object").to_pylist(), dtype=str), return_inverse=True)
        return codes.astype(np.int64)


def open_dataset(store: Store, dataset_hash: str | None = None) -> Dataset:
    """The dataset of that hash, or the newest (None)."""
    name = current_dataset(store) if dataset_hash is None else dataset_hash
    if name is None:
        raise RequestError("no dataset has been published here yet", where=store.uri, field="dataset")
    try:
        info = read_info(store, name)
    except ObjectMissing:
        choices = published(store)
        raise RequestError("no such dataset", where=store.uri, field="dataset", value=name, choices=choices) from None
    table = read_index(store.read(index_path(name)), f"{store.uri}/{index_path(name)}")
    if table.num_rows != info.num_samples:
        raise ObjectDamaged(f"{store.uri}/{index_path(name)}: {table.num_rows} rows, {info.num_samples} recorded")
    return Dataset(store, info, table)


def current_dataset(store: Store) -> str | None:
    """The hash that CURRENT names, or None before the first is published."""
    try:
        return store.read(CURRENT_PATH).decode().strip()
    except ObjectMissing:
        return None


def published(store: Store) -> list[str]:
    """The hashes of all datasets, sorted."""
    return [path.split("/")[1] for path in store.list("datasets/") if path.endswith("/dataset.json")]


def _positive(global_batch: int) -> int:
    if global_batch < 1:
        raise RequestError("a global batch has at least one sample", field="global_batch", value=global_batch)
    return global_batch
