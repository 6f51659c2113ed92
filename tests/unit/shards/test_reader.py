"""Reading: one global order for any number of readers, resumed exactly; damage fails loudly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest

from shards import reader
from shards.errors import ObjectDamaged, ObjectMissing, RequestError
from shards.index import IndexRow, index_path, index_table
from shards.pack import PackConfig
from shards.reader import Dataset, ReaderState, open_dataset
from shards.records import SampleEntry
from shards.store import Store, open_store
from tests.support.clips import make_clip
from tests.support.datasets import make_dataset

KNOWN_ORDER = [6, 8, 0, 1, 2, 3, 7, 5, 4]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """26 clips of three people in several shards, all for training."""
    folder = tmp_path_factory.mktemp("reader")
    store = open_store(folder / "store")
    make_dataset(store, folder, num_units=13, clips_per_unit=2)
    return open_dataset(store)


def a_store(folder: Path) -> tuple[Store, Dataset]:
    store = open_store(folder / "store")
    make_dataset(store, folder, num_units=2, clips_per_unit=2)
    return store, open_dataset(store)


def steps(
    dataset: Dataset, state: ReaderState, world_size: int, num_steps: int
) -> Iterator[tuple[ReaderState, list[str]]]:
    """(state after the step, keys of its global batch in order), as a training run of that size has them."""
    batch = state.global_batch
    readers = [
        dataset.stream("train", state, rank=rank, world_size=world_size, global_batch=batch)
        for rank in range(world_size)
    ]
    for _ in range(num_steps):
        keys, after = [], []
        for position in range(batch):
            done, clip = next(readers[position % world_size])
            after.append(done)
            keys.append(clip.key)
        assert len(set(after)) == 1
        yield after[0], keys
    for stream in readers:
        stream.close()  # type: ignore[attr-defined]


class TestOneSample:
    def test_a_sample_is_read_by_its_key(self, dataset: Dataset) -> None:
        key = dataset.keys("train")[3]
        clip = dataset.read(key)
        made = make_clip(int(key, 16), frames=2, identity=clip.identity)
        assert clip.key == key
        np.testing.assert_array_equal(clip.landmarks.points, made.landmarks.points)
        np.testing.assert_array_equal(clip.speech.samples, made.speech.samples)

    def test_an_unknown_key_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="no such sample"):
            dataset.read("f" * 32)

    def test_a_damaged_sample_is_named_with_its_place(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        row = dataset.table.to_pylist()[1]
        data = bytearray(store.read(row["object"]))
        data[data.index(b"\xff\xd8\xff", row["offset"]) + 50] ^= 1
        store.write(row["object"], bytes(data))
        with pytest.raises(ObjectDamaged, match=rf"{row['key']}.*{row['object']}, byte {row['offset']}.*frames\.mjpeg"):
            dataset.read(row["key"])

    def test_a_shard_cut_short_is_named(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        row = dataset.table.to_pylist()[-1]
        store.write(row["object"], store.read(row["object"])[: row["offset"] + 700])
        with pytest.raises(ObjectDamaged, match=f"{row['key']}.*ends at byte"):
            dataset.read(row["key"])

    def test_a_missing_shard_is_named(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        row = dataset.table.to_pylist()[0]
        store.delete(row["object"])
        with pytest.raises(ObjectMissing, match=f"{row['key']}.*it is not there"):
            dataset.read(row["key"])


class TestOrder:
    def test_an_epoch_has_every_sample_once(self, dataset: Dataset) -> None:
        assert sorted(dataset.order("train", 0, 0)) == list(range(26))

    def test_it_is_a_pure_function_of_seed_and_epoch(self, dataset: Dataset) -> None:
        again = open_dataset(dataset.store, dataset.info.hash)
        np.testing.assert_array_equal(dataset.order("train", 3, 5), again.order("train", 3, 5))
        assert dataset.order("train", 3, 5).tolist() != dataset.order("train", 3, 6).tolist()
        assert dataset.order("train", 3, 5).tolist() != dataset.order("train", 4, 5).tolist()

    def test_an_empty_split_has_an_empty_order(self, dataset: Dataset) -> None:
        assert len(dataset.order("val", 0, 0)) == 0

    def test_an_unknown_split_is_refused_with_the_nearest(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="did you mean 'train'"):
            dataset.order("trian", 0, 0)

    def test_within_a_window_few_shards_are_open(self, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        """A window of w samples touches no more shards than w samples in a row can."""
        monkeypatch.setattr(reader, "SHUFFLE_WINDOW", 5)
        objects = dataset.table.column("object").to_pylist()
        order = dataset.order("train", 0, 0)
        assert sorted(order) == list(range(26))
        smallest = min(objects.count(name) for name in objects)
        for start in range(0, 26, 5):
            touched = {objects[row] for row in order[start : start + 5]}
            assert len(touched) <= 2 + 5 // smallest
        # Shards come in another order than they were written in.
        starts = [objects[dataset.order("train", seed, 0)[0]] for seed in range(8)]
        assert len(set(starts)) > 1

    def test_the_order_does_not_change_between_releases(self, dataset: Dataset) -> None:
        """A saved run would go on over other samples: raw generator output and a stable sort only."""
        rows = []
        for number in range(9):
            place = {"offset": 0, "size_bytes": 1, "duration_s": 1.0, "num_frames": 1}
            entry = SampleEntry(key=f"{number:032x}", identity="a", language=None, **place)
            rows.append(IndexRow(object=f"objects/shard-{number // 3}", split="train", entry=entry))
        made_by_hand = Dataset(dataset.store, replace(dataset.info, hash="0" * 64), index_table(rows))
        assert made_by_hand.order("train", 7, 1).tolist() == KNOWN_ORDER


class TestStream:
    def test_the_sequence_runs_on_over_epochs_by_the_order_of_each(self, dataset: Dataset) -> None:
        found = [key for _, keys in steps(dataset, dataset.first_state(0, 4), 1, 20) for key in keys]
        column = dataset.table.column("key").to_pylist()
        expected = [column[row] for epoch in range(4) for row in dataset.order("train", 0, epoch)]
        assert found == expected[:80]

    @pytest.mark.parametrize("world_size", [2, 3, 4, 6])
    def test_any_number_of_readers_share_the_same_sequence(self, dataset: Dataset, world_size: int) -> None:
        state = dataset.first_state(1, 6)
        alone = [keys for _, keys in steps(dataset, state, 1, 10)]
        assert [keys for _, keys in steps(dataset, state, world_size, 10)] == alone

    def test_a_run_on_one_then_four_then_three_sees_what_an_uninterrupted_one_sees(self, dataset: Dataset) -> None:
        first = dataset.first_state(5, 12)
        uninterrupted = [keys for _, keys in steps(dataset, first, 1, 12)]
        found, state = [], first
        for world_size, num_steps in ((1, 3), (4, 5), (3, 4)):
            for after, keys in steps(dataset, state, world_size, num_steps):
                found.append(keys)
                state = after
        assert found == uninterrupted

    def test_a_batch_larger_than_the_split_goes_round(self, tmp_path: Path) -> None:
        _, dataset = a_store(tmp_path)
        ((state, keys),) = steps(dataset, dataset.first_state(0, 10), 2, 1)
        assert len(set(keys)) == 4
        assert (state.epoch, state.consumed) == (2, 2)

    def test_the_state_counts_whole_steps(self, dataset: Dataset) -> None:
        states = [state for state, _ in steps(dataset, dataset.first_state(0, 10), 1, 4)]
        assert [(s.epoch, s.consumed) for s in states] == [(0, 10), (0, 20), (1, 4), (1, 14)]

    def test_a_state_of_another_dataset_is_refused_with_both_names(self, dataset: Dataset) -> None:
        state = replace(dataset.first_state(0, 4), dataset_hash="e" * 64)
        with pytest.raises(RequestError, match=f"{'e' * 64} and this is {dataset.info.hash}"):
            dataset.stream("train", state, global_batch=4)

    def test_another_global_batch_is_refused_with_both_numbers(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="global batch of 4, not 8"):
            dataset.stream("train", dataset.first_state(0, 4), global_batch=8)

    @pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
    def test_a_rank_outside_the_world_is_refused(self, dataset: Dataset, rank: int, world_size: int) -> None:
        with pytest.raises(RequestError, match="`rank`"):
            dataset.stream("train", dataset.first_state(0, 4), rank=rank, world_size=world_size, global_batch=4)

    def test_more_readers_than_samples_in_a_batch_are_refused(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="5 readers cannot share a global batch of 4"):
            dataset.stream("train", dataset.first_state(0, 4), rank=4, world_size=5, global_batch=4)

    def test_an_empty_split_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="no samples in this split"):
            dataset.stream("test", dataset.first_state(0, 4), global_batch=4)

    def test_a_batch_of_nothing_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="`global_batch`"):
            dataset.first_state(0, 0)

    def test_damage_stops_the_stream_at_its_sample(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        for shard in dataset.info.shards:
            store.delete(shard.path)
        with pytest.raises(ObjectMissing, match="it is not there"):
            list(islice(dataset.stream("train", dataset.first_state(0, 1), global_batch=1), 4))


class TestOpening:
    def test_none_is_the_newest(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        newer = make_dataset(store, tmp_path, num_units=3, clips_per_unit=2)
        assert open_dataset(store).info == newer
        assert open_dataset(store, dataset.info.hash).info == dataset.info

    def test_nothing_published_yet_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="no dataset has been published here yet"):
            open_dataset(open_store(tmp_path / "s"))

    def test_an_unknown_hash_is_refused_with_those_there_are(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        with pytest.raises(RequestError, match=f"Valid: {dataset.info.hash}"):
            open_dataset(store, "nope")

    def test_an_index_with_rows_missing_is_refused(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        _, larger = store, make_dataset(store, tmp_path, num_units=3, clips_per_unit=2)
        store.write(index_path(larger.hash), store.read(index_path(dataset.info.hash)))
        with pytest.raises(ObjectDamaged, match="4 rows, 6 recorded"):
            open_dataset(store)

    def test_splits_share_out_the_dataset(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "s")
        config = PackConfig(val_share=0.3, test_share=0.3)
        make_dataset(store, tmp_path, num_units=3, clips_per_unit=2, config=config)
        dataset = open_dataset(store)
        keys = [dataset.keys(split) for split in ("train", "val", "test")]
        assert [len(found) for found in keys] == [2, 2, 2]
        assert sorted(chain(*keys)) == sorted(dataset.table.column("key").to_pylist())
