"""The reader as torch sees it: an `IterableDataset` for any number of ranks and worker processes.

What is read in which order is `order.py`'s; this file only finds out which part is this process's. The only file of
this room that imports torch: a program that reads without it need not have it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from shards.order import ReaderState, Share
from shards.reader import Batch, Dataset
from shards.selection import Selection

_ALIGNED = 64
"""Bytes: what vector instructions like."""
StartMethod = Literal["spawn", "forkserver", "fork"]


class ClipStream(IterableDataset[Batch]):
    """A rank's batches, step after step without end: (state after the step, its clips of the global batch).

    Give the same arguments at the start and when going on; `state` is where to go on, and one of another dataset,
    seed, global batch or selection is refused. Rank and world size are torch.distributed's where none are given.
    Step s is made by worker s modulo their number, which is the order in which a DataLoader asks its workers.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str = "train",
        *,
        seed: int,
        global_batch: int,
        selection: Selection | None = None,
        state: ReaderState | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.order = dataset.sequence(split, seed=seed, global_batch=global_batch, selection=selection)
        self.state = self.order.first if state is None else state
        # Asked here, not in a worker: there torch.distributed is not set up.
        alone = not (distributed.is_available() and distributed.is_initialized())
        self.share = Share(
            rank=rank if rank is not None else 0 if alone else distributed.get_rank(),
            world_size=world_size if world_size is not None else 1 if alone else distributed.get_world_size(),
        )
        self.order.check(self.state, self.share)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return self.dataset.batches(self.order, self.state, self.share, decoders=torch.get_num_threads())
        # Here processes are the parallelism: one thread decodes.
        share = replace(self.share, worker=worker.id, workers=worker.num_workers)
        return self.dataset.batches(self.order, self.state, share)


def clip_loader(
    stream: ClipStream, *, workers: int = 0, start: StartMethod = "spawn", prefetch: int = 2
) -> DataLoader[Batch]:
    """A DataLoader that hands on the stream's batches as they are; `prefetch` batches wait per worker.

    Forked workers start faster, and read local stores only.
    """
    handed_on: Callable[[Any], Any] = _Parcel if workers else _as_it_is
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=start if workers else None,
        prefetch_factor=prefetch if workers else None,
        collate_fn=handed_on,
        # Its own: a loader draws a seed, and the caller's random numbers are none of its business.
        generator=torch.Generator(),
    )


class _Parcel:
    """A batch on its way to another process, where it comes out as the batch itself.

    All its arrays lie in one block of shared memory, and the receiver's are views of it: through the queue's pipe two
    megabytes of frames a clip would cost as much as decoding them.
    """

    def __init__(self, batch: Batch) -> None:
        buffers: list[pickle.PickleBuffer] = []
        self._rest = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
        parts = [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers]
        ends = np.cumsum([-(-len(part) // _ALIGNED) * _ALIGNED for part in parts], dtype=np.int64).tolist()
        self._places = list(zip([0, *ends], map(len, parts), strict=False))
        # Not left to the queue's own thread: the end of the process would meet it in the middle of native code.
        self._block = torch.empty(ends[-1] if ends else 0, dtype=torch.uint8)
        self._block.share_memory_()  # type: ignore[no-untyped-call]
        memory = self._block.numpy()
        for (start, length), part in zip(self._places, parts, strict=True):
            memory[start : start + length] = part

    def __reduce__(self) -> tuple[Callable[..., Batch], tuple[object, ...]]:
        return _unpacked, (self._rest, self._places, self._block)


def _unpacked(rest: bytes, places: list[tuple[int, int]], block: torch.Tensor) -> Batch:
    memory = block.numpy()
    batch: Batch = pickle.loads(rest, buffers=[memory[start : start + length] for start, length in places])  # noqa: S301
    return batch


def _as_it_is(batch: Batch) -> Batch:
    return batch
