"""A shard is a unit: named by its bytes, copied with care, committed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shards import shard
from shards.codec import decode_clip
from shards.commit import Claim, Ledger, Plan, Receipt, commit_path
from shards.deal import PackConfig
from shards.errors import ObjectDamaged, StoreError
from shards.harvest import harvest
from shards.shard import Packing, pack_shard, plan_shards
from shards.store import open_store
from tests.support.datasets import commit_clips, make_plan, unit_clips
from tests.support.stock import stock_samples

PLAN = make_plan(3)
CONFIG = PackConfig(target_bytes=1 << 20, val_share=0, test_share=0)
SMALL = PackConfig(target_bytes=20_000, val_share=0.3, test_share=0.3)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(open_store(tmp_path / "s"))
    for number in range(3):
        commit_clips(made, f"unit-{number}", unit_clips(number, 2), tmp_path)
    return made


def planned(ledger: Ledger, config: PackConfig = CONFIG, plan: Plan = PLAN) -> Packing:
    return plan_shards(harvest(ledger, plan), config)


def claims(ledger: Ledger, packing: Packing) -> list[Claim]:
    """A try at each shard, in the order of shards."""
    units = {unit.unit_id: unit for unit in packing.plan.units}
    return [ledger.begin(units[unit_id], "test") for unit_id in packing.unit_ids]


class TestPlanning:
    def test_a_shard_is_a_unit_and_its_name_is_that_of_its_bytes(self, ledger: Ledger) -> None:
        first, again = planned(ledger, SMALL), planned(ledger, SMALL)
        assert first.plan == again.plan
        assert len(first.plan.units) == len(first.unit_ids) == len(first.deal.splits) > 3
        assert sorted(first.unit_ids) == [unit.unit_id for unit in first.plan.units]

    def test_the_same_shard_asked_for_by_another_plan_or_config_is_the_same_unit(
        self, ledger: Ledger, tmp_path: Path
    ) -> None:
        before = planned(ledger)
        other = planned(ledger, CONFIG.model_copy(update={"target_bytes": 2 << 20}))
        assert other.plan.plan_id != before.plan.plan_id
        assert other.unit_ids == before.unit_ids
        commit_clips(ledger, "unit-3", unit_clips(3, 1), tmp_path)
        assert planned(ledger, plan=make_plan(4)).unit_ids != before.unit_ids

    def test_the_payload_is_text_and_not_an_object_per_sample(self, ledger: Ledger) -> None:
        (unit,) = planned(ledger).plan.units
        lines = unit.payload["samples"].split("\n")
        assert len(lines) == 6
        for line, row in zip(lines, planned(ledger).deal.samples.to_pylist(), strict=True):
            place, offset, size, key = line.split(" ")
            assert (int(offset), int(size), key) == (row["source_offset"], row["size_bytes"], row["key"])
            assert unit.payload["units"][int(place)] == PLAN.units[row["unit"]].unit_id


class TestPacking:
    def test_samples_are_copied_as_they_were_committed_to_where_they_were_dealt(self, ledger: Ledger) -> None:
        packing = planned(ledger, SMALL)
        paths = [pack_shard(ledger, claim).objects[0].path for claim in claims(ledger, packing)]
        fragments = {unit_id: refs[0].path for unit_id, refs in harvest(ledger, PLAN).objects.items()}
        for number, path in enumerate(paths):
            start, stop = (int(at) for at in packing.deal.bounds[number : number + 2])
            for row in packing.deal.samples.slice(start, stop - start).to_pylist():
                fragment = fragments[PLAN.units[row["unit"]].unit_id]
                committed = ledger.store.read_range(fragment, row["source_offset"], row["size_bytes"])
                assert ledger.store.read_range(path, row["offset"], row["size_bytes"]) == committed
            assert ledger.store.size(path) == packing.deal.sizes[number]

    def test_the_stock_library_reads_the_shard(self, ledger: Ledger) -> None:
        packing = planned(ledger)
        (claim,) = claims(ledger, packing)
        found = stock_samples(f"{ledger.store.uri}/{pack_shard(ledger, claim).objects[0].path}")
        assert [key for key, _ in found] == packing.deal.samples.column("key").to_pylist()
        assert [decode_clip(key, members).key for key, members in found] == [key for key, _ in found]

    def test_of_two_drivers_the_second_adopts_what_the_first_committed(self, ledger: Ledger) -> None:
        packing = planned(ledger)
        (first,), (second,) = claims(ledger, packing), claims(ledger, packing)
        assert (first.number, second.number) == (1, 2)
        assert pack_shard(ledger, first) == pack_shard(ledger, second)
        decision = ledger.decision(packing.unit_ids[0])
        assert decision is not None
        assert decision.number == 1

    def test_the_receipt_says_what_was_packed(self, ledger: Ledger) -> None:
        (claim,) = claims(ledger, planned(ledger))
        receipt = pack_shard(ledger, claim)
        assert receipt == ledger.receipt(claim.unit.unit_id)
        assert isinstance(receipt, Receipt)
        assert (receipt.stage, receipt.details, receipt.samples) == ("pack", {"samples": 6}, ())

    @pytest.mark.parametrize(
        ("harm", "problem"),
        [
            (lambda data: data.replace(b"fLaC", b"fLaX", 1), "speech.flac` is damaged"),
            (lambda data: data[: len(data) // 2], "ends at byte"),
            (lambda data: data[512:] + bytes(512), "no tar members|foreign member|is of clip"),
        ],
    )
    def test_a_damaged_fragment_is_named_with_its_place_its_unit_and_the_remedy(
        self, ledger: Ledger, harm: Callable[[bytes], bytes], problem: str
    ) -> None:
        (claim,) = claims(ledger, planned(ledger))
        fragment = harvest(ledger, PLAN).objects["unit-1"][0].path
        ledger.store.write(fragment, harm(ledger.store.read(fragment)))
        place = rf"{fragment}, byte \d+: .*({problem}).*"
        with pytest.raises(
            ObjectDamaged, match=place + r"unit unit-1 must be done again: `dubwright store retry .*--damaged`"
        ):
            pack_shard(ledger, claim)
        assert ledger.receipt(claim.unit.unit_id) is None
        assert not list(ledger.store.list(commit_path(claim.unit.unit_id)))

    def test_a_fragment_that_is_gone_is_named_in_the_same_way(self, ledger: Ledger) -> None:
        (claim,) = claims(ledger, planned(ledger))
        fragment = harvest(ledger, PLAN).objects["unit-2"][0].path
        ledger.store.delete(fragment)
        with pytest.raises(ObjectDamaged, match=rf"{fragment}, byte .*not there; unit unit-2 must be done again"):
            pack_shard(ledger, claim)

    def test_a_disk_that_gives_back_other_bytes_is_found_before_anything_is_put(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def decaying(path: Path) -> str:
            with path.open("r+b") as stream:
                stream.seek(700)
                stream.write(b"?")
            return read(path)

        read = shard.file_sha256
        (claim,) = claims(ledger, planned(ledger))
        before = list(ledger.store.list("objects/"))
        monkeypatch.setattr(shard, "file_sha256", decaying)
        with pytest.raises(StoreError, match="reads back other bytes than were written"):
            pack_shard(ledger, claim)
        assert list(ledger.store.list("objects/")) == before

    def test_a_try_that_was_voided_meanwhile_is_refused(self, ledger: Ledger) -> None:
        (claim,) = claims(ledger, planned(ledger))
        ledger.void(claim.unit.unit_id, "retry", "by hand")
        with pytest.raises(StoreError, match="voided"):
            pack_shard(ledger, claim)
