"""Reading: every sample by one ranged read in the shared order, from the index on; damage fails loudly."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shards import reader
from shards.codec import decode_clip
from shards.errors import ObjectDamaged, ObjectMissing, RequestError, UnknownSchemaVersion
from shards.index import index_bytes, index_path
from shards.pack import PackConfig
from shards.reader import Dataset, Selection, Share, open_dataset
from shards.store import Store, open_store
from tests.support.clips import make_clip
from tests.support.datasets import make_dataset
from tests.support.stock import stock_samples


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """26 clips of three people in several shards, all for training."""
    folder = tmp_path_factory.mktemp("reader")
    store = open_store(folder / "store")
    make_dataset(store, folder, num_units=13, clips_per_unit=2)
    return open_dataset(store)


def a_store(folder: Path) -> tuple[Store, Dataset]:
    """Four clips."""
    store = open_store(folder / "store")
    make_dataset(store, folder, num_units=2, clips_per_unit=2)
    return store, open_dataset(store)


def two_shards(folder: Path) -> Dataset:
    """Eight clips in two shards."""
    store = open_store(folder / "store")
    config = PackConfig(target_bytes=40_000, val_share=0.0, test_share=0.0)
    made = make_dataset(store, folder, num_units=4, clips_per_unit=2, config=config)
    assert len(made.shards) >= 2
    return open_dataset(store)


def keys_in(dataset: Dataset, num_batches: int, *, batch: int = 4, **options: Any) -> list[str]:
    """The keys of the first batches."""
    order = dataset.sequence("train", seed=0, global_batch=batch, selection=options.pop("selection", None))
    batches = dataset.batches(order, order.first, **options)
    found = [clip.key for made in islice(batches, num_batches) for clip in made.clips]
    batches.close()
    return found


class TestOneSample:
    def test_is_read_by_its_key(self, dataset: Dataset) -> None:
        key = dataset.keys("train")[3]
        clip = dataset.read(key)
        made = make_clip(int(key, 16), frames=2, identity=clip.identity)
        assert clip.key == key
        np.testing.assert_array_equal(clip.landmarks.points, made.landmarks.points)
        np.testing.assert_array_equal(clip.speech.samples, made.speech.samples)

    def test_of_an_unknown_key_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="no such sample"):
            dataset.read("f" * 32)


def flip_a_byte(store: Store, row: dict[str, Any]) -> None:
    data = bytearray(store.read(row["object"]))
    data[data.index(b"\xff\xd8\xff", row["offset"]) + 50] ^= 1
    store.write(row["object"], bytes(data))


def cut_short(store: Store, row: dict[str, Any]) -> None:
    store.write(row["object"], store.read(row["object"])[: row["offset"] + 700])


def remove(store: Store, row: dict[str, Any]) -> None:
    store.delete(row["object"])


class TestDamage:
    @pytest.mark.parametrize(
        ("spoil", "kind", "says"),
        [
            (flip_a_byte, ObjectDamaged, r"frames\.mjpeg"),
            (cut_short, ObjectDamaged, "ends at byte"),
            (remove, ObjectMissing, "it is not there"),
        ],
    )
    def test_is_named_with_sample_object_and_byte(
        self, tmp_path: Path, spoil: Callable[[Store, dict[str, Any]], None], kind: type[Exception], says: str
    ) -> None:
        store, dataset = a_store(tmp_path)
        row = dataset.table.to_pylist()[-1]
        spoil(store, row)
        place = f"sample {row['key']}, {store.uri}/{row['object']}, byte {row['offset']}: .*{says}"
        with pytest.raises(kind, match=place):
            dataset.read(row["key"])
        # Of a whole epoch it may be another sample of the object that meets it first.
        with pytest.raises(kind, match=rf"sample \w+, {store.uri}/{row['object']}, byte \d+: .*{says}"):
            keys_in(dataset, 1, batch=dataset.info.num_samples)

    def test_of_two_objects_exchanged_is_found_at_every_sample(self, tmp_path: Path) -> None:
        dataset = two_shards(tmp_path)
        one, other = (shard.path for shard in dataset.info.shards[:2])
        contents = dataset.store.read(one), dataset.store.read(other)
        dataset.store.write(one, contents[1])
        dataset.store.write(other, contents[0])
        rows = [row for row in dataset.table.to_pylist() if row["object"] in (one, other)]
        for row in rows:
            with pytest.raises(ObjectDamaged, match=f"sample {row['key']}, .*{row['object']}, byte {row['offset']}"):
                dataset.read(row["key"])
        with pytest.raises(ObjectDamaged):
            keys_in(dataset, 1, batch=dataset.info.num_samples)

    def test_of_the_index_is_found_before_anything_is_read(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        other = make_dataset(store, tmp_path, num_units=3, clips_per_unit=2)
        store.write(index_path(other.hash), store.read(index_path(dataset.info.hash)))
        with pytest.raises(ObjectDamaged, match="4 rows, 6 recorded"):
            open_dataset(store, other.hash)

    def test_of_an_index_of_other_shards_is_found(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        moved = dataset.table.set_column(1, dataset.table.schema.field(1), pa.array(["objects/ff/other.tar"] * 4))
        store.write(index_path(dataset.info.hash), index_bytes(moved))
        with pytest.raises(ObjectDamaged, match=r"index\.parquet and dataset\.json are not the rows"):
            open_dataset(store)

    def test_an_index_of_an_unknown_schema_version_is_refused_by_name(self, tmp_path: Path) -> None:
        store, dataset = a_store(tmp_path)
        newer = dataset.table.replace_schema_metadata({"schema_version": "99"})
        store.write(index_path(dataset.info.hash), index_bytes(newer))
        with pytest.raises(UnknownSchemaVersion, match=r"index\.parquet, `schema_version`: schema version 99 is not"):
            open_dataset(store)


class TestBatches:
    @pytest.mark.parametrize("decoders", [1, 3])
    def test_follow_the_order_over_epochs(self, dataset: Dataset, decoders: int) -> None:
        order = dataset.sequence("train", seed=0, global_batch=4)
        column = dataset.table.column("key").to_pylist()
        expected = [column[row] for epoch in range(4) for row in order.epoch(epoch)]
        assert keys_in(dataset, 20, decoders=decoders) == expected[:80]

    def test_come_with_the_state_after_the_whole_batch(self, dataset: Dataset) -> None:
        order = dataset.sequence("train", seed=0, global_batch=10)
        batches = dataset.batches(order, order.first, Share(rank=1, world_size=3))
        found = [next(batches) for _ in range(4)]
        assert [(b.state.epoch, b.state.consumed, len(b.clips)) for b in found] == [
            (0, 10, 3),
            (0, 20, 3),
            (1, 4, 3),
            (1, 14, 3),
        ]
        batches.close()

    def test_larger_than_the_split_go_round(self, tmp_path: Path) -> None:
        _, dataset = a_store(tmp_path)
        assert len(set(keys_in(dataset, 1, batch=10))) == 4

    def test_of_a_selection_have_nothing_else(self, dataset: Dataset) -> None:
        selection = Selection(identities=("person-1",))
        persons = {key for key in dataset.keys("train") if dataset.read(key).identity == "person-1"}
        assert set(keys_in(dataset, 6, selection=selection)) == persons

    def test_of_weights_have_a_sample_as_often(self, dataset: Dataset) -> None:
        selection = Selection(identity_weights={"person-1": 3.0, "person-0": 0.0})
        order = dataset.sequence("train", seed=0, global_batch=1, selection=selection)
        keys = keys_in(dataset, order.num_samples, batch=1, selection=selection)
        times = {key: keys.count(key) for key in dataset.keys("train")}
        wanted = {"person-0": 0, "person-1": 3, "person-2": 1}
        assert times == {key: wanted[dataset.read(key).identity] for key in times}

    def test_read_ahead_within_bounds(self, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        largest = int(dataset._sizes.max())
        monkeypatch.setattr(reader, "PREFETCH_BYTES", 3 * largest)
        begun: list[int] = []
        fetch = dataset._fetch
        monkeypatch.setattr(dataset, "_fetch", lambda row: begun.append(row) or fetch(row))
        order = dataset.sequence("train", seed=0, global_batch=2)
        batches = dataset.batches(order, order.first)
        for number in range(1, 6):
            next(batches)
            assert sum(int(dataset._sizes[row]) for row in begun[2 * number :]) <= 3 * largest
        batches.close()

    def test_left_half_way_leave_no_thread(self, dataset: Dataset) -> None:
        keys_in(dataset, 1, decoders=2)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]

    def test_of_an_empty_split_are_refused(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="no samples in this split"):
            dataset.sequence("test", seed=0, global_batch=4)

    def test_of_an_unknown_split_are_refused_with_the_nearest(self, dataset: Dataset) -> None:
        with pytest.raises(RequestError, match="did you mean 'train'"):
            dataset.sequence("trian", seed=0, global_batch=4)


class TestSavedStates:
    def test_of_another_dataset_or_batch_are_refused_with_both(self, dataset: Dataset) -> None:
        state = dataset.first_state(0, 4)
        with pytest.raises(RequestError, match=f"began with {'e' * 64};.*got '{dataset.info.hash}'"):
            dataset.batches(dataset.sequence("train", seed=0, global_batch=4), replace(state, dataset_hash="e" * 64))
        with pytest.raises(RequestError, match=r"began with 4;.*got 8"):
            dataset.batches(dataset.sequence("train", seed=0, global_batch=8), state)


class TestWithoutThisReader:
    """The shards are ordinary WebDataset tars."""

    def test_the_stock_library_reads_every_sample_whole(self, dataset: Dataset) -> None:
        found = stock_samples([Path(dataset.store.uri, shard.path) for shard in dataset.info.shards])
        assert [key for key, _ in found] == dataset.table.column("key").to_pylist()
        for key, members in found:
            clip, ours = decode_clip(key, members), dataset.read(key)
            assert (clip.key, clip.identity, clip.scores) == (ours.key, ours.identity, ours.scores)
            np.testing.assert_array_equal(clip.frames, ours.frames)
            np.testing.assert_array_equal(clip.speech.samples, ours.speech.samples)

    def test_the_stock_library_decodes_what_it_knows_by_extension(self, dataset: Dataset) -> None:
        key, members = stock_samples(Path(dataset.store.uri, dataset.info.shards[0].path), is_decoded=True)[0]
        ours = dataset.read(key)
        assert members["json"]["identity"] == ours.identity
        np.testing.assert_array_equal(members["landmarks.npy"], ours.landmarks.points)
        np.testing.assert_array_equal(members["mel.npy"], ours.features[0].values)


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

    def test_splits_share_out_the_dataset(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "s")
        config = PackConfig(val_share=0.3, test_share=0.3)
        make_dataset(store, tmp_path, num_units=3, clips_per_unit=2, config=config)
        dataset = open_dataset(store)
        keys = [dataset.keys(split) for split in ("train", "val", "test")]
        assert [len(found) for found in keys] == [2, 2, 2]
        assert sorted(chain(*keys)) == sorted(dataset.table.column("key").to_pylist())

    def test_a_dataset_goes_to_another_process_as_its_name(self, dataset: Dataset) -> None:
        sent = pickle.dumps(dataset)
        assert len(sent) < 1000
        there = pickle.loads(sent)  # noqa: S301
        assert there.info == dataset.info
        assert keys_in(there, 3) == keys_in(dataset, 3)
