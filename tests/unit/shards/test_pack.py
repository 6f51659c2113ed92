"""From decisions to a dataset: the same commits give the same bytes, however they came about."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from shards import pack as room
from shards.commit import Claim, Ledger, Receipt
from shards.errors import AccountError, ObjectDamaged, RequestError
from shards.index import DatasetInfo
from shards.pack import PackConfig, finalize
from shards.reader import current_dataset, open_dataset
from shards.records import SampleEntry
from shards.schema import Rejection
from shards.store import Store, open_store
from tests.support.datasets import claim, commit_clips, commit_rejection, make_plan, unit_clips

SMALL = PackConfig(target_bytes=60_000, val_share=0.2, test_share=0.2)
PLAN = make_plan(6)


def contents(store: Store) -> dict[str, str]:
    """Fragments, shards and datasets, by what is really in them."""
    return {path: store.sha256(path) for path in store.list() if path.startswith(("objects/", "datasets/"))}


def commit_unit(ledger: Ledger, number: int, folder: Path) -> None:
    """Two clips; unit 5 has no face in it."""
    if number == 5:
        commit_rejection(ledger, "unit-5")
    else:
        commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), folder)


def committed(folder: Path, order: list[int] | None = None) -> Ledger:
    """Six units, committed in this order."""
    ledger = Ledger(open_store(folder / "store"))
    ledger.write_plan(PLAN)
    for number in order or range(6):
        commit_unit(ledger, number, folder)
    return ledger


def tries(ledger: Ledger, info: DatasetInfo) -> dict[str, int]:
    """Shard -> how often it was begun."""
    units = ledger.read_plan(info.pack_plan_id).units
    return {unit.unit_id: len(ledger.attempts(unit.unit_id)) for unit in units}


class TestDeterminism:
    def test_the_order_of_commits_changes_neither_hash_nor_bytes(self, tmp_path: Path) -> None:
        found = []
        for shuffle in range(3):
            order = list(range(6))
            random.Random(shuffle).shuffle(order)
            ledger = committed(tmp_path / str(shuffle), order)
            found.append((finalize(ledger, PLAN, SMALL), contents(ledger.store)))
        assert found[1:] == found[:1] * 2

    def test_nor_does_the_try_or_the_epoch_that_decided(self, tmp_path: Path) -> None:
        plain, tried = committed(tmp_path / "plain"), committed(tmp_path / "tried")
        for unit_id in ("unit-2", "unit-4"):
            tried.void(unit_id, "retry", "once more")
            claim(tried, unit_id)
        for number in (4, 2):
            commit_unit(tried, number, tmp_path)
        assert tried.epoch("unit-2") == 2
        assert finalize(tried, PLAN, SMALL) == finalize(plain, PLAN, SMALL)
        assert contents(tried.store) == contents(plain.store)

    def test_publishing_again_changes_nothing(self, tmp_path: Path) -> None:
        ledger = committed(tmp_path)
        info = finalize(ledger, PLAN, SMALL)
        before, begun = contents(ledger.store), tries(ledger, info)
        assert finalize(ledger, PLAN, SMALL) == info
        assert contents(ledger.store) == before
        assert tries(ledger, info) == begun == dict.fromkeys(begun, 1)

    def test_another_seed_is_another_dataset_of_the_same_samples(self, tmp_path: Path) -> None:
        ledger = committed(tmp_path)
        first = finalize(ledger, PLAN, SMALL)
        other = finalize(ledger, PLAN, SMALL.model_copy(update={"seed": 1}))
        assert other.hash != first.hash
        keys = [sorted(open_dataset(ledger.store, i.hash).table.column("key").to_pylist()) for i in (first, other)]
        assert keys[0] == keys[1]
        assert current_dataset(ledger.store) == other.hash


class TestResuming:
    def test_a_run_that_was_cut_off_resumes_at_the_shard(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def cut_off(ledger: Ledger, claim: Claim) -> Receipt:
            done.append(claim.unit.unit_id)
            if len(done) == 2:
                raise KeyboardInterrupt
            return pack_shard(ledger, claim)

        done: list[str] = []
        pack_shard = room.pack_shard
        ledger = committed(tmp_path / "cut off")
        monkeypatch.setattr(room, "pack_shard", cut_off)
        with pytest.raises(KeyboardInterrupt):
            finalize(ledger, PLAN, SMALL)
        monkeypatch.undo()
        assert current_dataset(ledger.store) is None
        info = finalize(ledger, PLAN, SMALL)
        begun = tries(ledger, info)
        assert len(begun) > 2
        assert begun == dict.fromkeys(begun, 1) | {done[1]: 2}
        undisturbed = committed(tmp_path / "undisturbed")
        assert finalize(undisturbed, PLAN, SMALL) == info
        assert contents(undisturbed.store) == contents(ledger.store)

    def test_new_footage_packs_only_what_it_moves_and_the_old_dataset_stays(self, tmp_path: Path) -> None:
        ledger = Ledger(open_store(tmp_path / "s"))
        config = PackConfig(target_bytes=60_000, val_share=0, test_share=0)
        for number in range(12):
            commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), tmp_path)
        ledger.write_plan(before := make_plan(11))
        ledger.write_plan(after := make_plan(12))
        old = finalize(ledger, before, config)
        new = finalize(ledger, after, config)
        kept = tries(ledger, old).keys() & tries(ledger, new).keys()
        assert len(new.shards) > 4
        assert len(kept) > len(new.shards) / 2
        assert {tries(ledger, new)[unit_id] for unit_id in kept} == {1}
        assert (current_dataset(ledger.store), new.num_samples - old.num_samples) == (new.hash, 2)
        reader = open_dataset(ledger.store, old.hash)
        assert [reader.read(key).key for key in reader.keys("train")] == reader.keys("train")


class TestRefusals:
    def test_an_unfinished_plan_is_not_published(self, tmp_path: Path) -> None:
        ledger = Ledger(open_store(tmp_path / "s"))
        commit_clips(ledger, "unit-0", unit_clips(0, 1), tmp_path)
        with pytest.raises(AccountError, match="1 pending"):
            finalize(ledger, make_plan(2), SMALL)
        # Before any shard is planned, let alone packed.
        assert list(ledger.store.list("plans/")) == list(ledger.store.list("datasets/")) == []

    def test_a_damaged_fragment_does_not_reach_a_dataset(self, tmp_path: Path) -> None:
        ledger = committed(tmp_path)
        receipt = ledger.receipt("unit-0")
        assert receipt is not None
        path = receipt.objects[0].path
        data = bytearray(ledger.store.read(path))
        data[data.index(b"fLaC") + 90] ^= 1
        ledger.store.write(path, bytes(data))
        with pytest.raises(ObjectDamaged, match=r"objects/.*speech\.flac.*unit unit-0 must be done again"):
            finalize(ledger, PLAN, SMALL)
        assert current_dataset(ledger.store) is None

    def test_footage_without_one_clip_is_refused_with_the_reasons(self, tmp_path: Path) -> None:
        ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(3)
        for number, code in enumerate(["no_face", "too_short", "no_face"]):
            commit_rejection(ledger, f"unit-{number}", code)
        with pytest.raises(RequestError, match=r"nothing to publish from 3 units.*no_face: 2, too_short: 1"):
            finalize(ledger, plan, PackConfig())
        assert list(ledger.store.list("plans/")) == list(ledger.store.list("datasets/")) == []


def test_a_threshold_moves_samples_to_the_rejections_without_measuring_again(tmp_path: Path) -> None:
    ledger = committed(tmp_path)
    info = finalize(ledger, PLAN, SMALL)
    scores = sorted(row["scores"][1][1] for row in open_dataset(ledger.store).table.to_pylist())

    def accept(entry: SampleEntry) -> Rejection | None:
        if entry.scores["sync"] >= scores[4]:
            return None
        return Rejection(code="out_of_sync", detail="low", value=entry.scores["sync"], threshold=scores[4])

    filtered = finalize(ledger, PLAN, SMALL, accept=accept, thresholds={"sync": scores[4]})
    assert filtered.num_samples == 6
    assert filtered.rejections == {"no_face": 1, "out_of_sync": 4}
    assert filtered.account == info.account
    assert filtered.thresholds == {"sync": scores[4]}
    assert filtered.hash != info.hash
