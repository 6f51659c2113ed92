"""The one sequence of samples that all readers of a run share, and each reader's part of it. Numbers only: no bytes.

An epoch's order is a pure function of (dataset, split, seed, epoch, selection). A position in the sequence is all the
state there is, so a run stopped on one process goes on with four, then three, over what an uninterrupted one sees.
Which samples there are is `selection.py`'s, reading them `reader.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from shards.errors import RequestError
from shards.fingerprint import fingerprint
from shards.schema import F64, I64

MIXED_SHARDS = 32
"""Shards whose samples are mixed with each other. A shard holds a few neighbours in time, so one alone mixes badly;
all of them at once would leave a cache nothing to keep."""
ORDER_VERSION = 2
"""Raised by any change of the order: a saved position would point at other samples."""
_GROUP_BITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderState:
    """Where a run is in the global sequence; saved with the model."""

    seed: int
    epoch: int
    consumed: int
    """Samples of this epoch that all readers together have consumed."""
    dataset_hash: str
    global_batch: int
    """Samples per step, over all readers."""
    selection: str
    """`Selection.name` of what the run draws from."""
    order_version: int = ORDER_VERSION

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> ReaderState:
        """The state that `dataclasses.asdict` wrote; one of another shape is refused by its fields."""
        known = {field.name for field in fields(cls)}
        if wrong := sorted(known ^ saved.keys()):
            raise RequestError("another release wrote this reader state; fields differ", field=", ".join(wrong))
        return cls(**saved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A reader's part: of each global batch `batch[rank::world_size]`, and of the steps `steps[worker::workers]`.

    So the first `global_batch % world_size` ranks have one sample more than the others when it does not divide.
    """

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    """Of the processes that read ahead for this rank."""
    workers: int = 1

    def __post_init__(self) -> None:
        for field, total in (("rank", self.world_size), ("worker", self.workers)):
            if not 0 <= (value := getattr(self, field)) < total:
                raise RequestError(f"is from 0 to {total - 1}", field=field, value=value)


class Step(NamedTuple):
    """A reader's part of a global batch."""

    after: ReaderState
    """What to save once the whole global batch is done."""
    rows: I64
    """Row numbers of the index, in the order of the batch."""


class GlobalOrder:
    """The sequence of one run: epoch after epoch without end, cut into global batches that may run over an epoch's end.

    `rows` are the index rows drawn from, `shards` a number for the object each lies in, `weights` how often an epoch
    has each (None: once). Made by `Dataset.sequence`.
    """

    def __init__(self, rows: I64, shards: I64, weights: F64 | None, *, split: str, first: ReaderState) -> None:
        self._rows, self._shards, self._split, self.first = rows, shards, split, first
        # numpy adds up a running sum one by one: the same on every machine, which `np.sum` does not promise.
        self._reach = None if weights is None else np.cumsum(weights)
        self.num_samples = len(rows) if self._reach is None else round(float(self._reach[-1]))
        self._kept: tuple[int, I64] | None = None
        if first.global_batch < 1:
            raise RequestError("a global batch has at least one sample", field="global_batch", value=first.global_batch)
        if not self.num_samples:
            raise RequestError("the weights add up to less than half a sample an epoch", field="selection")

    def epoch(self, epoch: int) -> I64:
        """The index rows of that epoch in their order; made once for the epoch that is under way."""
        if self._kept is None or self._kept[0] != epoch:
            self._kept = epoch, self._mixed(epoch)
        return self._kept[1]

    def steps(self, state: ReaderState, share: Share) -> Iterator[Step]:
        """This reader's steps from `state` on, without end. Starts anywhere in the time it takes to make one order."""
        self.check(state, share)
        return self._steps(state, share)

    def check(self, state: ReaderState, share: Share) -> None:
        """Refuses a state of another run with both values, one that is no place in the sequence, and too many ranks."""
        for field, hint in (
            ("dataset_hash", "open that dataset"),
            ("seed", "give that seed"),
            ("global_batch", "keep it: readers may differ in number, their samples per step together may not"),
            ("selection", "give that selection"),
            ("order_version", "use the release that began the run"),
        ):
            began, given = getattr(state, field), getattr(self.first, field)
            if began != given:
                raise RequestError(f"the run began with {began}; {hint}, or begin anew", field=field, value=given)
        if state.epoch < 0 or not 0 <= state.consumed < self.num_samples:
            message = f"no place in a sequence of {self.num_samples} samples an epoch"
            raise RequestError(message, field="state", value=f"epoch {state.epoch}, consumed {state.consumed}")
        if share.world_size > state.global_batch:
            message = f"{share.world_size} readers cannot share a global batch of {state.global_batch}"
            raise RequestError(message, field="world_size")

    def _steps(self, state: ReaderState, share: Share) -> Iterator[Step]:
        batch, start = state.global_batch, state.epoch * self.num_samples + state.consumed
        for number in count(share.worker, share.workers):
            first = start + number * batch
            positions = np.arange(first + share.rank, first + batch, share.world_size)
            yield Step(self._state_at(first + batch), self._rows_at(positions))

    def _rows_at(self, positions: I64) -> I64:
        epochs, places = np.divmod(positions, self.num_samples)
        return np.concatenate([self.epoch(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])

    def _state_at(self, position: int) -> ReaderState:
        epoch, consumed = divmod(position, self.num_samples)
        first = self.first
        return ReaderState(
            seed=first.seed,
            epoch=epoch,
            consumed=consumed,
            dataset_hash=first.dataset_hash,
            global_batch=first.global_batch,
            selection=first.selection,
        )

    def _mixed(self, epoch: int) -> I64:
        """Shards in random order, dealt into groups of about MIXED_SHARDS; within a group all samples mixed fully."""
        drawn = self._drawn(epoch)
        shards = self._shards[drawn]
        present = np.flatnonzero(np.bincount(shards))
        turn = np.empty(int(present[-1]) + 1, dtype=np.int64)
        turn[present[np.argsort(self._noise(len(present), "shards", epoch), kind="stable")]] = np.arange(len(present))
        # As even as can be: a last group of one shard would be a badly mixed end of every epoch.
        num_groups = -(-len(present) // MIXED_SHARDS)
        group = (turn * num_groups // len(present)).astype(np.uint64)
        # One sort of whole numbers: the group in the high bits, the place within it in the low ones.
        noise = self._noise(len(drawn), "samples", epoch) >> np.uint64(_GROUP_BITS)
        key = group[shards] << np.uint64(64 - _GROUP_BITS) | noise
        return self._rows[drawn[np.argsort(key, kind="stable")]]

    def _drawn(self, epoch: int) -> I64:
        """Numbers into `rows`, with repeats. Weights are dealt by even steps from a random start: each sample comes
        as often as its share of the sum says, rounded down or up, and every epoch has the same length."""
        if self._reach is None:
            return np.arange(len(self._rows))
        start = float(self._noise(1, "start", epoch)[0] >> np.uint64(11)) / 2**53
        marks = (np.arange(self.num_samples) + start) * (self._reach[-1] / self.num_samples)
        drawn: I64 = np.minimum(np.searchsorted(self._reach, marks, side="right"), len(self._rows) - 1)
        return drawn

    def _noise(self, count: int, what: str, epoch: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
        # Raw generator output is fixed for good, which numpy does not promise of `Generator.permutation`.
        first = self.first
        parts = (ORDER_VERSION, first.dataset_hash, self._split, first.seed, epoch, first.selection, what)
        return np.asarray(np.random.PCG64(int(fingerprint("order", *parts)[:32], 16)).random_raw(count))
