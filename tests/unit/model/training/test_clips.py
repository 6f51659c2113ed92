from __future__ import annotations

import dataclasses
import json
from itertools import islice

import pytest

from model.errors import CheckpointMismatch
from model.training.clips import ClipSource, DatasetClips, ListedClips, fitted
from model.training.config import StageConfig, TrainConfig
from shards.errors import RequestError
from shards.reader import Dataset, Selection, Share, open_dataset
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import make_dataset
from tests.support.models import nano_config

CLIPS = [make_clip(seed, frames=5) for seed in range(4)]


def test_every_clip_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    keys = [clip.key for clip in islice(ListedClips(CLIPS).train(), 40)]
    epochs = [keys[i : i + 4] for i in range(0, 40, 4)]
    assert all(set(epoch) == {clip.key for clip in CLIPS} for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_restored_source_goes_on_where_it_was() -> None:
    first = ListedClips(CLIPS, seed=3)
    row = [clip.key for clip in islice(first.train(), 20)]
    stopped = ListedClips(CLIPS, seed=3)
    list(islice(stopped.train(), 7))
    again = ListedClips(CLIPS, seed=3)
    again.restore(stopped.state())
    assert [clip.key for clip in islice(again.train(), 13)] == row[7:]


def test_other_clips_or_another_seed_are_refused() -> None:
    state = ListedClips(CLIPS, seed=3).state()
    with pytest.raises(RequestError, match=r"clips\.seed"):
        ListedClips(CLIPS, seed=4).restore(state)
    with pytest.raises(RequestError, match=r"clips\.clips"):
        ListedClips(CLIPS[:2], seed=3).restore(state)


def test_no_clips_are_refused() -> None:
    with pytest.raises(RequestError, match="no clips"):
        ListedClips([])


def test_a_run_is_fitted_to_its_clips_and_refuses_others() -> None:
    stage = StageConfig(steps=1, rate=1e-3)
    config = TrainConfig(
        model=nano_config(16), autoencoder=stage, completion=stage, diffusion=stage, joint=stage, seed=5
    )
    made = fitted(config, CLIPS[0])
    assert made.model.condition.feature_versions == (CLIPS[0].feature("mel").version,)
    assert made.seed == 5
    assert fitted(made, CLIPS[1]) == made
    newer = dataclasses.replace(CLIPS[0].feature("mel"), version="test-2")
    with pytest.raises(CheckpointMismatch, match="test-2"):
        fitted(made, dataclasses.replace(CLIPS[0], features=(newer,)))


# -- over a dataset ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """12 clips, all for training."""
    folder = tmp_path_factory.mktemp("clips")
    store = open_store(folder / "store")
    make_dataset(store, folder)
    return open_dataset(store)


def keys(source: DatasetClips, count: int) -> list[str]:
    return [clip.key for clip in islice(source.train(), count)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_read_again_goes_on_where_a_saved_state_stood(dataset: Dataset, workers: int) -> None:
    straight = keys(DatasetClips(dataset, seed=3), 20)
    first = DatasetClips(dataset, seed=3)
    begun = keys(first, 7)
    saved = json.loads(json.dumps(first.state()))
    second = DatasetClips(dataset, seed=3, workers=workers)
    second.restore(saved)
    assert begun + keys(second, 13) == straight


def test_a_dataset_has_every_clip_once_an_epoch(dataset: Dataset) -> None:
    assert sorted(keys(DatasetClips(dataset, seed=0), 12)) == sorted(dataset.keys("train"))


@pytest.mark.parametrize("source", ["dataset", "listed"])
def test_any_number_of_processes_and_of_clips_a_step_share_one_row(dataset: Dataset, source: str) -> None:
    def made() -> ClipSource:
        return DatasetClips(dataset, seed=1) if source == "dataset" else ListedClips(CLIPS, seed=1)

    row = [clip.key for clip in islice(made().train(), 30)]
    for world_size, clips in ((2, 5), (3, 3), (1, 4)):
        shares = [made().steps(clips, Share(rank=rank, world_size=world_size)) for rank in range(world_size)]
        for step in range(6):
            dealt = [[clip.key for clip in next(share)] for share in shares]
            batch = row[step * clips : (step + 1) * clips]
            assert dealt == [batch[rank::world_size] for rank in range(world_size)]


@pytest.mark.parametrize("source", ["dataset", "listed"])
def test_a_row_goes_on_with_another_number_of_clips_a_step(dataset: Dataset, source: str) -> None:
    made = DatasetClips(dataset, seed=1) if source == "dataset" else ListedClips(CLIPS, seed=1)
    row = [clip.key for clip in islice(type(made)(dataset if source == "dataset" else CLIPS, seed=1).train(), 11)]  # type: ignore[arg-type]
    first = next(made.steps(3, Share()))
    rest = list(islice(made.steps(4, Share()), 2))
    assert [clip.key for batch in (first, *rest) for clip in batch] == row


def test_a_state_of_another_seed_or_selection_is_refused_at_once(dataset: Dataset) -> None:
    state = DatasetClips(dataset, seed=3).state()
    with pytest.raises(RequestError, match=r"`seed`: the run began with 3;.*got 4"):
        DatasetClips(dataset, seed=4).restore(state)
    with pytest.raises(RequestError, match="`selection`: the run began with all"):
        DatasetClips(dataset, seed=3, selection=Selection(identities=("person-1",))).restore(state)
