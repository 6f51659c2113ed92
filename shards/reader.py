"""Reads a published dataset: one sample by key, or all of them in an order that any number of readers share.

Each sample is one ranged read, so mixing needs no buffer, and completeness comes from the index, never from "the tar
ended". The order is `order.py`'s, what is drawn from `selection.py`'s, torch's side of it `loader.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import chain, islice, tee
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.ahead import read_ahead
from shards.catalog import current_dataset, published
from shards.codec import decode_clip
from shards.errors import ObjectDamaged, ObjectMissing, RequestError, StoreError
from shards.index import SPLITS, DatasetInfo, dataset_hash, index_path, read_index, read_info
from shards.order import GlobalOrder, ReaderState, Share, Step
from shards.schema import I64, ClipSample
from shards.selection import Labels, Selection, choose
from shards.store import Store
from shards.tar import run_members

__all__ = ["Batch", "Dataset", "ReaderState", "Selection", "Share", "current_dataset", "open_dataset", "published"]

PREFETCH_SAMPLES = 16
"""Reads under way or waiting to be decoded: enough to hide tens of milliseconds a read."""
PREFETCH_BYTES = 64 << 20
"""Their encoded bytes together."""


class Batch(NamedTuple):
    """A reader's part of a global batch."""

    state: ReaderState
    """What to save once the whole global batch is done."""
    clips: list[ClipSample]


class Dataset:
    """One published dataset. Made by `open_dataset`; pickles as its name."""

    def __init__(self, store: Store, info: DatasetInfo, table: pa.Table) -> None:
        self.store, self.info, self.table = store, info, table
        self._process = os.getpid()

    def __reduce__(self) -> tuple[object, ...]:
        return open_dataset, (self.store, self.info.hash)

    def keys(self, split: str) -> list[str]:
        """The split's keys, as they lie."""
        found: list[str] = self.table.column("key").take(pa.array(self.rows(split))).to_pylist()
        return found

    def rows(self, split: str) -> I64:
        """The split's row numbers in `table`, as they lie; refuses an unknown split."""
        if split not in SPLITS:
            raise RequestError("unknown split", field="split", value=split, choices=SPLITS)
        return np.flatnonzero(self._splits.each({split: 1.0}, 0.0))

    def check_index(self) -> None:
        """Refuses an index that is not of this dataset.json: an epoch would be shorter, or of other samples."""
        where = f"{self.store.uri}/{index_path(self.info.hash)}"
        if self.table.num_rows != self.info.num_samples:
            raise ObjectDamaged(f"{where}: {self.table.num_rows} rows, {self.info.num_samples} recorded")
        # Some flipped bits of a parquet file read as other values, without an error.
        if dataset_hash(self.info, self.table) != self.info.hash:
            raise ObjectDamaged(f"{where} and dataset.json are not the rows and figures that the dataset is named by")

    # -- samples -------------------------------------------------------------------------------------------------------

    def read(self, key: str) -> ClipSample:
        """The sample of that key."""
        row = pc.index(self.table.column("key"), key).as_py()
        if row < 0:
            raise RequestError(f"no such sample in dataset {self.info.hash}", field="key", value=key)
        return self.read_row(row)

    def read_row(self, row: int) -> ClipSample:
        """The sample of that row of `table`; a damaged or missing one is named."""
        return self._decode((row, self._fetch(row)[1]))

    def _fetch(self, row: int) -> tuple[int, bytes]:
        with self._named(row):
            object_path = self._objects.names[self._objects.codes[row]]
            return row, self.store.read_range(object_path, int(self._offsets[row]), int(self._sizes[row]))

    def _decode(self, fetched: tuple[int, bytes]) -> ClipSample:
        row, run = fetched
        with self._named(row):
            key = self.table.column("key")[row].as_py()
            return decode_clip(key, run_members(key, run))

    @contextmanager
    def _named(self, row: int) -> Iterator[None]:
        """Damage says which sample it hit and where that lies."""
        try:
            yield
        except StoreError as error:
            key = self.table.column("key")[row].as_py()
            object_path = self._objects.names[self._objects.codes[row]]
            place = f"{self.store.uri}/{object_path}, byte {self._offsets[row]}"
            raise type(error)(f"dataset {self.info.hash[:12]}, sample {key}, {place}: {error}") from error

    # -- the sequence --------------------------------------------------------------------------------------------------

    def first_state(self, seed: int, global_batch: int, selection: Selection | None = None) -> ReaderState:
        """The beginning of a run."""
        return ReaderState(
            seed=seed,
            epoch=0,
            consumed=0,
            dataset_hash=self.info.hash,
            global_batch=global_batch,
            selection=(selection or Selection()).name,
        )

    def sequence(self, split: str, *, seed: int, global_batch: int, selection: Selection | None = None) -> GlobalOrder:
        """The global order of a run over this split; refuses a selection that leaves nothing."""
        if not len(rows := self.rows(split)):
            raise RequestError(f"dataset {self.info.hash} has no samples in this split", field="split", value=split)
        where = f"split {split!r} of dataset {self.info.hash[:12]}"
        chosen = choose(self.table, rows, selection or Selection(), where)
        first = self.first_state(seed, global_batch, selection)
        return GlobalOrder(chosen.rows, self._objects.codes[chosen.rows], chosen.weights, split=split, first=first)

    def batches(
        self, order: GlobalOrder, state: ReaderState, share: Share | None = None, *, decoders: int = 1
    ) -> Generator[Batch]:
        """This reader's batches from `state` on, epoch after epoch, without end.

        Reads run ahead in threads; `decoders` threads decode, where 1 is the caller's own.
        """
        self._refuse_hanging()
        return self._batches(order.steps(state, share or Share()), decoders)

    def _refuse_hanging(self) -> None:
        """Remote stores run threads of their own, which a forked process does not have: a read would never end."""
        if os.getpid() != self._process and "://" in self.store.uri:
            raise RequestError(
                "a remote dataset cannot be read in a forked process; `clip_loader` starts its workers by spawn",
                where=self.store.uri,
                field="multiprocessing_context",
                value="fork",
                choices=("spawn", "forkserver"),
            )

    def _batches(self, steps: Iterator[Step], decoders: int) -> Generator[Batch]:
        steps, ahead = tee(steps)
        rows = chain.from_iterable(step.rows.tolist() for step in ahead)
        with closing(self._clips(rows, decoders)) as clips:
            for step in steps:
                yield Batch(step.after, list(islice(clips, len(step.rows))))

    def _clips(self, rows: Iterable[int], decoders: int) -> Generator[ClipSample]:
        bounds = {"depth": PREFETCH_SAMPLES, "budget": PREFETCH_BYTES}
        with closing(read_ahead(self._fetch, rows, cost=lambda row: int(self._sizes[row]), **bounds)) as fetched:
            if decoders == 1:
                yield from map(self._decode, fetched)
            else:
                with closing(read_ahead(self._decode, fetched, depth=decoders)) as clips:
                    yield from clips

    # -- the columns that every read needs, as arrays ------------------------------------------------------------------

    @cached_property
    def _objects(self) -> Labels:
        return Labels.of(self.table, "object")

    @cached_property
    def _offsets(self) -> I64:
        return np.asarray(self.table.column("offset").to_numpy())

    @cached_property
    def _sizes(self) -> I64:
        return np.asarray(self.table.column("size_bytes").to_numpy())

    @cached_property
    def _splits(self) -> Labels:
        return Labels.of(self.table, "split")


def open_dataset(store: Store, dataset: str | None = None) -> Dataset:
    """The dataset of that hash, or the newest (None)."""
    name = dataset or current_dataset(store)
    if name is None:
        raise RequestError("no dataset has been published here yet", where=store.uri, field="dataset")
    try:
        info = read_info(store, name)
    except ObjectMissing as error:
        if dataset is None:
            raise ObjectDamaged(
                f"{store.uri}: CURRENT names dataset {name}, which is not there; "
                f"`dubwright store retry {store.uri} --damaged` makes the one before it the newest"
            ) from error
        choices = published(store)
        raise RequestError("no such dataset", where=store.uri, field="dataset", value=name, choices=choices) from None
    table = read_index(store.read(index_path(name)), f"{store.uri}/{index_path(name)}")
    opened = Dataset(store, info, table)
    opened.check_index()
    return opened
