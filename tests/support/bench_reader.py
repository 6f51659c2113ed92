"""The reader measured: against the stock `webdataset` library, by worker processes, for a seek, and in memory.

Both sides read the same tars with the same decode function. Each public function returns a line for `make bench`.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shards.codec import decode_clip
from shards.commit import Ledger
from shards.index import SCHEMA
from shards.loader import ClipStream, clip_loader
from shards.order import MIXED_SHARDS, Share
from shards.pack import PackConfig, finalize
from shards.reader import Dataset, open_dataset
from shards.schema import ClipSample
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import commit_clips, make_dataset, make_plan

NUM_UNITS, CLIPS_PER_UNIT, FRAMES, SIZE_PX = 16, 8, 50, 128
"""Two seconds of a 128 px crop a clip, 50 MB of shards."""
SHUFFLE_BUFFER = 1000
"""Of the stock library. Ours mixes MIXED_SHARDS whole shards, which here is all of them, and needs no buffer."""
REPEATS = 5
BATCH = 4


def reader_ratio() -> str:
    """Samples a second of ours over stock's, in one process."""
    with _dataset() as dataset:
        _stock_rate(dataset)
        rounds = [(_stock_rate(dataset), _our_rate(dataset, 1), _our_rate(dataset, 2)) for _ in range(REPEATS)]
    one, two = (statistics.median(row[column] / row[0] for row in rounds) for column in (1, 2))
    stock = statistics.median(row[0] for row in rounds)
    return (
        f"{one:.2f}x decoding in one thread as stock does (our reads run ahead in others), {two:.2f}x in two; "
        f"stock {stock:.0f} samples/s (shuffle buffer {SHUFFLE_BUFFER}; ours mixes {MIXED_SHARDS} shards), "
        f"median of {REPEATS} interleaved rounds{_busy()}"
    )


def workers_ratio() -> str:
    """Samples a second of two DataLoader workers over one's."""
    with _dataset() as dataset:
        rounds = [(_worker_rate(dataset, 1), _worker_rate(dataset, 2)) for _ in range(3)]
    ratio = statistics.median(two / one for one, two in rounds)
    one = statistics.median(one for one, _ in rounds)
    return f"{ratio:.2f}x; one worker {one:.0f} samples/s, batches of {BATCH}{_busy()}"


def seek_seconds(num_samples: int = 1_000_000, num_shards: int = 4_000) -> str:
    """From an index in memory to the first step in the middle of an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder, "store"))
        make_dataset(store, Path(folder), num_units=1, clips_per_unit=1)
        small, table = open_dataset(store), _large_index(num_samples, num_shards)
        begun = time.perf_counter()
        order = Dataset(store, small.info, table).sequence("train", seed=0, global_batch=256)
        opened = time.perf_counter()
        next(order.steps(replace(order.first, epoch=3, consumed=num_samples // 2), Share()))
        over = time.perf_counter()
    seconds = f"{over - begun:.2f} s, of which opening {opened - begun:.2f} s"
    return f"{seconds}, for {num_samples:,} samples in {num_shards:,} shards"


def reader_memory() -> str:
    """By how much the process grows at most while it streams two epochs in batches."""
    with _dataset() as dataset:
        stream = iter(_stream(dataset))
        shown = next(stream)
        before = _memory_bytes("VmRSS")
        # Linux forgets the peak so far.
        Path("/proc/self/clear_refs").write_text("5")
        for _ in range(2 * dataset.info.num_samples // BATCH):
            shown = next(stream)
        grown = _memory_bytes("VmHWM") - before
        decoded = sum(clip.frames.nbytes for clip in shown.clips)
    return (
        f"{grown / 2**20:.0f} MiB while {2 * dataset.info.size_bytes / 2**20:.0f} MiB of tars went through; "
        f"a decoded batch of {BATCH} is {decoded / 2**20:.0f} MiB"
    )


@contextmanager
def _dataset() -> Iterator[Dataset]:
    """Shards of about 4 MB in a local store, all for training."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder, "store"))
        ledger, plan = Ledger(store), make_plan(NUM_UNITS)
        ledger.write_plan(plan)
        for unit in range(NUM_UNITS):
            clips = [make_clip(1000 * unit + i, frames=FRAMES, size=SIZE_PX) for i in range(CLIPS_PER_UNIT)]
            commit_clips(ledger, f"unit-{unit}", clips, Path(folder))
        finalize(ledger, plan, PackConfig(target_bytes=4 << 20, val_share=0.0, test_share=0.0))
        yield open_dataset(store)


def _stream(dataset: Dataset) -> ClipStream:
    return ClipStream(dataset, seed=0, global_batch=BATCH, rank=0, world_size=1)


def _our_rate(dataset: Dataset, decoders: int) -> float:
    order = dataset.sequence("train", seed=0, global_batch=BATCH)
    batches = dataset.batches(order, order.first, decoders=decoders)
    begun = time.perf_counter()
    found = sum(len(batch.clips) for batch in islice(batches, dataset.info.num_samples // BATCH))
    seconds = time.perf_counter() - begun
    batches.close()
    return found / seconds


def _stock_rate(dataset: Dataset) -> float:
    """The stock pipeline as its manual writes it: shuffled shards, a shuffle buffer, our decode function."""
    import webdataset

    tars = [str(Path(dataset.store.uri, shard.path)) for shard in dataset.info.shards]
    with warnings.catch_warnings():
        # The library leaves its tars open until they are collected.
        warnings.simplefilter("ignore")
        pipeline = webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(SHUFFLE_BUFFER).map(_stock_clip)
        begun = time.perf_counter()
        found = sum(1 for _ in pipeline)
        seconds = time.perf_counter() - begun
        gc.collect()
    return found / seconds


def _stock_clip(sample: dict[str, Any]) -> ClipSample:
    members = {name: data for name, data in sample.items() if not name.startswith("__")}
    return decode_clip(sample["__key__"], members)


def _worker_rate(dataset: Dataset, workers: int) -> float:
    """Past the start of the processes and what they read meanwhile."""
    batches = iter(clip_loader(_stream(dataset), workers=workers))
    for _ in range(8 * workers):
        next(batches)
    begun, steps = time.perf_counter(), 3 * dataset.info.num_samples // BATCH
    for _ in range(steps):
        next(batches)
    return BATCH * steps / (time.perf_counter() - begun)


def _large_index(num_samples: int, num_shards: int) -> pa.Table:
    """An index as a dataset of that size has it; made by columns, as a million rows one by one would take a minute."""
    number = np.arange(num_samples)
    paths = pa.array([f"objects/{shard % 256:02x}/{shard:064x}.tar" for shard in range(num_shards)])
    ends = pa.array(np.arange(num_samples + 1, dtype=np.int32))
    columns = {
        "key": pa.array([f"{key:032x}" for key in range(num_samples)]),
        "object": paths.take(pa.array(number * num_shards // num_samples)),
        "offset": pa.array(number % (num_samples // num_shards) << 20),
        "size_bytes": pa.array(np.full(num_samples, 1 << 20)),
        "split": pa.array(["train"]).take(pa.array(0 * number)),
        "identity": pa.array([f"person-{person}" for person in range(10_000)]).take(pa.array(number % 10_000)),
        "language": pa.array(["en", "es", None]).take(pa.array(number % 3)),
        "duration_s": pa.array(np.full(num_samples, 2.0)),
        "num_frames": pa.array(np.full(num_samples, 50, dtype=np.int32)),
        "scores": pa.MapArray.from_arrays(ends, pa.array(["sync"] * num_samples), pa.array(number % 10 * 1.0)),
    }
    return pa.table([columns[field.name] for field in SCHEMA], schema=SCHEMA)


def _busy() -> str:
    """A warning where other programs want the cores as well: then no ratio of speeds means much."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return f" (load {load:.1f} on {cores} cores: measure again when idle)" if load > 1.5 * cores else ""


def _memory_bytes(name: str) -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


BENCHES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("reader against stock webdataset, samples/s", reader_ratio),
    ("reader, from 1 to 2 workers", workers_ratio),
    ("reader, to the middle of 1,000,000 samples", seek_seconds),
    ("reader, memory while it streams", reader_memory),
)
