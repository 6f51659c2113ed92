"""Packing: the same commits give the same bytes in whatever order they came; people never cross splits."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shards.codec import decode_clip
from shards.commit import Ledger, SampleEntry
from shards.errors import AccountError, ObjectDamaged, RequestError, StoreError
from shards.index import SPLITS, DatasetInfo, read_info
from shards.pack import PackConfig, finalize, pack, split_identities
from shards.reader import current_dataset, open_dataset
from shards.schema import Rejection
from shards.store import Store, open_store
from tests.support.clips import make_clip
from tests.support.datasets import commit_clips, commit_rejection, make_dataset, make_plan, unit_clips
from tests.support.stock import stock_samples

SMALL = PackConfig(target_bytes=60_000, val_share=0.2, test_share=0.2)


def all_objects(store: Store) -> dict[str, str]:
    return {path: store.sha256(path) for path in store.list() if path.startswith(("objects/", "datasets/"))}


def build(folder: Path, order: list[int], config: PackConfig = SMALL) -> tuple[Store, DatasetInfo]:
    """Six units of two clips, committed in this order; unit 5 has no face in it."""
    store = open_store(folder / "store")
    ledger, plan = Ledger(store), make_plan(6)
    ledger.write_plan(plan)
    for number in order:
        if number == 5:
            commit_rejection(ledger, "unit-5")
        else:
            commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), folder)
    return store, finalize(ledger, plan, config)


class TestDeterminism:
    def test_the_order_of_commits_changes_neither_hash_nor_bytes(self, tmp_path: Path) -> None:
        stores = []
        for shuffle in range(3):
            order = list(range(6))
            random.Random(shuffle).shuffle(order)
            stores.append(build(tmp_path / str(shuffle), order))
        assert len({info.hash for _, info in stores}) == 1
        first, *others = (all_objects(store) for store, _ in stores)
        assert all(objects == first for objects in others)

    def test_publishing_again_changes_nothing(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        before = all_objects(store)
        assert finalize(Ledger(store), make_plan(6), SMALL) == info
        assert all_objects(store) == before

    def test_what_was_published_is_read_back(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        assert read_info(store, info.hash) == info
        assert current_dataset(store) == info.hash

    def test_another_seed_is_another_dataset_of_the_same_samples(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        other = finalize(Ledger(store), make_plan(6), SMALL.model_copy(update={"seed": 1}))
        assert other.hash != info.hash
        keys = [sorted(open_dataset(store, h).table.column("key").to_pylist()) for h in (info.hash, other.hash)]
        assert keys[0] == keys[1]
        assert current_dataset(store) == other.hash


class TestShards:
    def test_samples_are_copied_as_they_were_committed(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(1)
        clips = unit_clips(0, 4)
        receipt = commit_clips(ledger, "unit-0", clips, tmp_path)
        packed = pack(ledger, plan, PackConfig())
        place = {entry.key: entry for entry in receipt.samples}
        for row in packed.table.to_pylist():
            entry = place[row["key"]]
            committed = ledger.store.read_range(receipt.objects[0].path, entry.offset, entry.size_bytes)
            assert ledger.store.read_range(row["object"], row["offset"], row["size_bytes"]) == committed

    def test_shards_are_of_about_equal_size_with_no_small_rest(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(3)
        for number in range(3):
            commit_clips(ledger, f"unit-{number}", unit_clips(number, 10), tmp_path)
        total = sum(e.size_bytes for r in ledger.receipts(plan) for e in r.samples)
        shards = pack(ledger, plan, PackConfig(target_bytes=total // 4 - 1, val_share=0, test_share=0)).shards
        assert len(shards) == 4
        sizes = [shard.size_bytes for shard in shards]
        assert max(sizes) - min(sizes) <= 2 * total / 30

    def test_a_target_smaller_than_a_sample_gives_a_shard_each(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(1)
        commit_clips(ledger, "unit-0", unit_clips(0, 3), tmp_path)
        assert len(pack(ledger, plan, PackConfig(target_bytes=1)).shards) == 3

    def test_no_shard_holds_two_splits(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        splits = defaultdict(set)
        for row in open_dataset(store, info.hash).table.to_pylist():
            splits[row["object"]].add(row["split"])
        assert all(len(found) == 1 for found in splits.values())
        assert set(splits) == {shard.path for shard in info.shards}

    def test_the_stock_library_reads_the_shards(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        found = [sample for shard in info.shards for sample in stock_samples(f"{store.uri}/{shard.path}")]
        assert [decode_clip(key, members).key for key, members in found] == [key for key, _ in found]
        assert [key for key, _ in found] == open_dataset(store).table.column("key").to_pylist()

    def test_a_damaged_fragment_does_not_reach_a_shard(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(1)
        receipt = commit_clips(ledger, "unit-0", unit_clips(0, 3), tmp_path)
        path = receipt.objects[0].path
        data = bytearray(ledger.store.read(path))
        data[data.index(b"fLaC") + 90] ^= 1
        ledger.store.write(path, bytes(data))
        with pytest.raises(ObjectDamaged, match=r"objects/.*speech\.flac.*unit unit-0 must be done again"):
            finalize(ledger, plan, PackConfig())
        assert current_dataset(ledger.store) is None

    def test_a_clip_in_two_units_is_refused(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(2)
        for number in range(2):
            commit_clips(ledger, f"unit-{number}", [make_clip(7)], tmp_path)
        with pytest.raises(StoreError, match="in two units: unit-0 and unit-1"):
            pack(ledger, plan, PackConfig())


class TestSplits:
    @given(
        people=st.sets(st.text(max_size=5), min_size=1, max_size=40),
        val_share=st.floats(0, 0.45),
        test_share=st.floats(0, 0.45),
        seed=st.integers(0, 9),
    )
    def test_everybody_is_in_one_split_and_train_is_never_empty(
        self, people: set[str], val_share: float, test_share: float, seed: int
    ) -> None:
        config = PackConfig(val_share=val_share, test_share=test_share, seed=seed)
        splits = split_identities(people, config)
        assert splits.keys() == people
        assert "train" in splits.values()
        assert splits == split_identities(sorted(people), config)
        found = set(splits.values())
        if val_share > 0 and len(people) >= 2:
            assert "val" in found
        if test_share > 0 and len(people) >= 3:
            assert "test" in found
        if val_share == 0:
            assert "val" not in found
        if test_share == 0:
            assert "test" not in found

    def test_one_person_is_all_for_training(self) -> None:
        assert split_identities(["only"], PackConfig(val_share=0.4, test_share=0.4)) == {"only": "train"}

    def test_shares_are_met_among_many_people(self) -> None:
        splits = list(split_identities(map(str, range(4000)), PackConfig(val_share=0.1, test_share=0.2)).values())
        assert splits.count("val") / 4000 == pytest.approx(0.1, abs=0.02)
        assert splits.count("test") / 4000 == pytest.approx(0.2, abs=0.02)

    def test_nobody_changes_split_when_others_join(self) -> None:
        """Else a model tested on tonight's dataset was trained on its people last night."""
        config = PackConfig(val_share=0.1, test_share=0.1)
        before = split_identities(map(str, range(200)), config)
        after = split_identities(map(str, range(400)), config)
        assert {name: after[name] for name in before} == before

    def test_nobody_is_in_two_splits_of_a_published_dataset(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        splits = defaultdict(set)
        for row in open_dataset(store).table.to_pylist():
            splits[row["identity"]].add(row["split"])
        assert sorted(len(found) for found in splits.values()) == [1, 1, 1]
        assert info.identities_by_split == dict.fromkeys(SPLITS, 1)

    def test_shares_that_leave_nothing_to_train_on_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="nothing to train on"):
            PackConfig(val_share=0.5, test_share=0.5)


class TestPublishing:
    def test_the_figures_are_those_of_the_samples(self, tmp_path: Path) -> None:
        _, info = build(tmp_path, list(range(6)))
        assert (info.num_samples, info.num_frames) == (10, 20)
        assert info.hours == pytest.approx(20 / 25 / 3600)
        assert info.rejections == {"no_face": 1}
        assert (info.account.planned, info.account.kept, info.account.rejected) == (6, 5, 1)
        assert sum(info.samples_by_split.values()) == 10
        assert info.samples_by_language == {"en": 10}
        assert info.config == {"size_px": 16}
        assert info.pack_config["target_bytes"] == 60_000

    def test_an_unfinished_plan_is_not_published(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(2)
        commit_clips(ledger, "unit-0", unit_clips(0, 1), tmp_path)
        with pytest.raises(AccountError, match="1 pending"):
            finalize(ledger, plan, PackConfig())
        assert list(ledger.store.list("datasets/")) == []

    def test_an_empty_dataset_is_refused_with_the_reasons(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(3)
        for number, code in enumerate(["no_face", "too_short", "no_face"]):
            commit_rejection(ledger, f"unit-{number}", code)
        with pytest.raises(RequestError, match=r"nothing to publish from 3 units.*no_face: 2, too_short: 1"):
            finalize(ledger, plan, PackConfig())
        assert current_dataset(ledger.store) is None

    def test_a_threshold_moves_samples_to_the_rejections_without_measuring_again(self, tmp_path: Path) -> None:
        store, info = build(tmp_path, list(range(6)))
        scores = sorted(row["scores"][1][1] for row in open_dataset(store).table.to_pylist())

        def accept(entry: SampleEntry) -> Rejection | None:
            if entry.scores["sync"] >= scores[4]:
                return None
            return Rejection(code="out_of_sync", detail="low", value=entry.scores["sync"], threshold=scores[4])

        filtered = finalize(Ledger(store), make_plan(6), SMALL, accept=accept, thresholds={"sync": scores[4]})
        assert filtered.num_samples == 6
        assert filtered.rejections == {"no_face": 1, "out_of_sync": 4}
        assert filtered.account == info.account
        assert filtered.thresholds == {"sync": scores[4]}
        assert filtered.hash != info.hash

    def test_a_dataset_of_any_size_has_what_was_committed(self, tmp_path: Path) -> None:
        info = make_dataset(open_store(tmp_path / "s"), tmp_path, num_units=2, clips_per_unit=2)
        assert info.num_samples == 4
