"""The reader under torch's DataLoader: any number of ranks and workers, forked or spawned, disk and bucket."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch.utils.data import DataLoader

from shards.errors import ObjectMissing, RequestError
from shards.loader import ClipStream, StartMethod, clip_loader
from shards.reader import Batch, Dataset, ReaderState, Selection, open_dataset
from shards.store import open_store
from tests.support.datasets import make_dataset
from tests.support.s3 import environment, new_bucket

# Forking a process that has threads is what a DataLoader does by default; Python 3.12 begins to warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

SEED, BATCH = 5, 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """26 clips, all for training."""
    folder = tmp_path_factory.mktemp("loader")
    store = open_store(folder / "store")
    make_dataset(store, folder, num_units=13, clips_per_unit=2)
    return open_dataset(store)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Six clips in an S3 bucket."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{new_bucket()}/store")
    make_dataset(store, tmp_path, num_units=3, clips_per_unit=2)
    return open_dataset(store)


def stream(dataset: Dataset, **options: Any) -> ClipStream:
    return ClipStream(dataset, **{"seed": SEED, "global_batch": BATCH, "rank": 0, "world_size": 1, **options})


def taken(made: ClipStream, num_steps: int, workers: int = 0, start: StartMethod = "fork") -> list[Batch]:
    return list(islice(clip_loader(made, workers=workers, start=start), num_steps))


def keys(batches: list[Batch]) -> list[list[str]]:
    return [[clip.key for clip in batch.clips] for batch in batches]


def one_run(
    dataset: Dataset, state: ReaderState | None, world_size: int, workers: int, num_steps: int
) -> tuple[list[list[str]], ReaderState]:
    """(keys of the global batches, state after the last), as that many ranks with that many workers each have them."""
    ranks = [
        taken(stream(dataset, state=state, rank=rank, world_size=world_size), num_steps, workers)
        for rank in range(world_size)
    ]
    found = []
    for parts in zip(*ranks, strict=True):
        assert len({part.state for part in parts}) == 1
        batch = [""] * BATCH
        for rank, part in enumerate(parts):
            batch[rank::world_size] = [clip.key for clip in part.clips]
        found.append(batch)
    return found, ranks[0][-1].state


def test_stopped_on_one_rank_then_four_then_three_with_two_workers_it_sees_the_uninterrupted_sequence(
    dataset: Dataset,
) -> None:
    uninterrupted, _ = one_run(dataset, None, 1, 0, 12)
    found, state = [], None
    for world_size, workers, num_steps in ((1, 0, 3), (4, 0, 5), (3, 2, 4)):
        batches, state = one_run(dataset, state, world_size, workers, num_steps)
        found += batches
    assert found == uninterrupted


@pytest.mark.parametrize(("workers", "start"), [(0, "fork"), (1, "fork"), (2, "fork"), (2, "spawn")])
def test_workers_give_what_one_process_reads(dataset: Dataset, workers: int, start: StartMethod) -> None:
    expected = list(islice(stream(dataset), 5))
    found = taken(stream(dataset), 5, workers, start)
    assert [batch.state for batch in found] == [batch.state for batch in expected]
    for batch, other in zip(found, expected, strict=True):
        for clip, made in zip(batch.clips, other.clips, strict=True):
            assert (clip.key, clip.scores, clip.provenance) == (made.key, made.scores, made.provenance)
            np.testing.assert_array_equal(clip.frames, made.frames)
            np.testing.assert_array_equal(clip.landmarks.points, made.landmarks.points)
            np.testing.assert_array_equal(clip.speech.samples, made.speech.samples)


def test_a_loader_of_torchs_own_making_gives_the_same(dataset: Dataset) -> None:
    loader = DataLoader(stream(dataset), batch_size=None, num_workers=1, multiprocessing_context="fork")
    found = list(islice(loader, 3))
    assert keys(found) == keys(list(islice(stream(dataset), 3)))
    assert [batch.state for batch in found] == [batch.state for batch in islice(stream(dataset), 3)]


def test_clips_from_a_worker_outlive_it_and_may_be_changed(dataset: Dataset) -> None:
    (batch,) = taken(stream(dataset), 1, workers=1)
    before = batch.clips[0].frames.copy()
    batch.clips[1].frames[:] = 0
    np.testing.assert_array_equal(batch.clips[0].frames, before)
    assert batch.clips[0].frames.any()


def test_a_bucket_is_read_by_spawned_workers(bucket: Dataset) -> None:
    expected = keys(list(islice(stream(bucket, global_batch=4), 4)))
    assert keys(taken(stream(bucket, global_batch=4), 4, workers=1, start="spawn")) == expected


def test_a_bucket_is_refused_by_forked_workers_which_would_hang(bucket: Dataset) -> None:
    with pytest.raises(RequestError, match="cannot be read in a forked process"):
        taken(stream(bucket, global_batch=4), 1, workers=1, start="fork")


def test_damage_met_by_a_worker_stops_the_loader_by_name(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    made = make_dataset(store, tmp_path, num_units=2, clips_per_unit=2)
    opened = open_dataset(store)
    store.delete(made.shards[0].path)
    with pytest.raises(ObjectMissing, match=rf"sample \w+, .*{made.shards[0].path}, byte \d+: "):
        taken(stream(opened), 1, workers=1)


@pytest.mark.parametrize(
    ("given", "field", "values"),
    [
        ({"seed": 6}, "seed", "began with 5;.*got 6"),
        ({"global_batch": 8}, "global_batch", "began with 12;.*got 8"),
        ({"selection": Selection(languages=("en",))}, "selection", "began with all;.*got '[0-9a-f]{64}'"),
    ],
)
def test_a_state_of_another_run_is_refused_at_once_with_both_values(
    dataset: Dataset, given: dict[str, Any], field: str, values: str
) -> None:
    state = stream(dataset).state
    with pytest.raises(RequestError, match=f"`{field}`: the run {values}"):
        stream(dataset, state=state, **given)


def test_a_selection_leaves_samples_out_in_workers_too(dataset: Dataset) -> None:
    made = stream(dataset, selection=Selection(identities=("person-2",)))
    assert {clip.identity for batch in taken(made, 2, workers=1) for clip in batch.clips} == {"person-2"}


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_rank_and_world_are_those_of_torch_distributed_where_there_is_one(
    dataset: Dataset, group: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (ClipStream(dataset, seed=0, global_batch=3).share.world_size) == 1
    monkeypatch.setattr(distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    share = ClipStream(dataset, seed=0, global_batch=3).share
    assert (share.rank, share.world_size) == (2, 3)


def test_without_torch_distributed_it_is_one_of_one(dataset: Dataset) -> None:
    share = ClipStream(dataset, seed=0, global_batch=3).share
    assert (share.rank, share.world_size) == (0, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_callers_random_numbers_are_left_alone(dataset: Dataset, workers: int) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    taken(stream(dataset), 2, workers)
    assert torch.equal(torch.rand(3), expected)
