"""Publishing proves first: a store that was made inconsistent by hand is refused, with what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from shards.catalog import current_dataset, published
from shards.commit import Ledger, Plan, Quarantine, commit_path
from shards.deal import PackConfig
from shards.errors import AccountError, ObjectDamaged, RequestError, StoreError
from shards.fingerprint import fingerprint, plain
from shards.harvest import Harvest, harvest
from shards.index import dataset_hash, info_path, read_info, rows_digest
from shards.leases import hold_lease
from shards.pack import open_shards
from shards.publish import Publication, publish
from shards.reader import open_dataset
from shards.records import SampleEntry
from shards.schema import Rejection
from shards.shard import Packing, pack_shard, plan_shards
from shards.store import open_store
from tests.support.datasets import commit_clips, commit_rejection, make_plan, unit_clips

CONFIG = PackConfig(target_bytes=60_000, val_share=0.3, test_share=0.3)


def published_from(ledger: Ledger, harvested: Harvest, packing: Packing) -> Publication:
    """Under a lease of its own, as a run publishes."""
    with hold_lease(ledger.store, "test") as lease:
        return publish(ledger, harvested, packing, CONFIG, lease=lease, thresholds={})


@dataclass(frozen=True)
class Packed:
    """Three units of clips and one without; every shard is there, and nothing is published."""

    ledger: Ledger
    plan: Plan
    harvested: Harvest
    packing: Packing

    def publish(self) -> Publication:
        return published_from(self.ledger, self.harvested, self.packing)

    def from_decisions(self) -> Publication:
        """As a run that starts over: what decisions say is read again, shards that are there are left as they are."""
        found = harvest(self.ledger, self.plan)
        found.check()
        packing = plan_shards(found, CONFIG)
        for unit in open_shards(self.ledger, packing.plan):
            pack_shard(self.ledger, self.ledger.begin(unit, "test"))
        return published_from(self.ledger, found, packing)

    def fragment(self, unit_id: str) -> str:
        return self.harvested.objects[unit_id][0].path

    def shard(self, number: int) -> str:
        receipt = self.ledger.receipt(self.packing.unit_ids[number])
        assert receipt is not None
        return receipt.objects[0].path


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    ledger, plan = Ledger(open_store(tmp_path / "s")), make_plan(4)
    ledger.write_plan(plan)
    for number in range(3):
        commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), tmp_path)
    commit_rejection(ledger, "unit-3")
    harvested = harvest(ledger, plan)
    packing = plan_shards(harvested, CONFIG)
    for unit in open_shards(ledger, packing.plan):
        pack_shard(ledger, ledger.begin(unit, "test"))
    return Packed(ledger, plan, harvested, packing)


def cut_short(packed: Packed, path: str) -> None:
    packed.ledger.store.write(path, packed.ledger.store.read(path)[:-1])


def exchange(packed: Packed, first: str, second: str) -> None:
    store = packed.ledger.store
    one, other = store.read(commit_path(first)), store.read(commit_path(second))
    store.write(commit_path(first), other)
    store.write(commit_path(second), one)


def edit_plan(packed: Packed, plan_id: str, of: str) -> None:
    """Puts another plan's units under this plan's name."""
    store = packed.ledger.store
    store.write(f"plans/{plan_id}.parquet", store.read(f"plans/{of}.parquet"))


def edit_commit(packed: Packed, unit_id: str) -> None:
    path = commit_path(unit_id)
    packed.ledger.store.write(path, packed.ledger.store.read(path).replace(b'"epoch":1', b'"epoch":2', 1))


class TestRefusals:
    @pytest.mark.parametrize(
        ("harm", "kind", "told"),
        [
            (lambda p: p.ledger.store.delete(commit_path("unit-1")), AccountError, "1 pending.*first pending: unit-1"),
            (lambda p: edit_commit(p, "unit-1"), ObjectDamaged, r"commits/unit-1\.json is damaged: its checksum"),
            (lambda p: exchange(p, "unit-0", "unit-1"), ObjectDamaged, "holds the decision of another"),
            (lambda p: exchange(p, "unit-0", "unit-3"), ObjectDamaged, "holds the decision of another: unit-3"),
            (lambda p: exchange(p, *p.packing.unit_ids[:2]), ObjectDamaged, "holds the decision of another"),
            (lambda p: edit_commit(p, p.packing.unit_ids[0]), ObjectDamaged, "its checksum differs"),
            (lambda p: p.ledger.store.delete(p.fragment("unit-2")), ObjectDamaged, r"unit-2 \(missing\).*retry"),
            (lambda p: cut_short(p, p.fragment("unit-2")), ObjectDamaged, r"unit-2 \(\d+ bytes, \d+ recorded\).*retry"),
            (lambda p: p.ledger.store.delete(p.shard(0)), ObjectDamaged, r"objects/.* \(missing\).*--damaged"),
            (lambda p: cut_short(p, p.shard(1)), ObjectDamaged, r"objects/.* \(\d+ bytes, \d+ recorded\).*--damaged"),
            (lambda p: edit_plan(p, p.plan.plan_id, p.packing.plan.plan_id), AccountError, "run again: both are"),
            (lambda p: p.ledger.store.delete(f"plans/{p.plan.plan_id}.json"), AccountError, "run again: both are"),
        ],
    )
    def test_a_store_that_was_tampered_with_is_refused(
        self, packed: Packed, harm: Callable[[Packed], None], kind: type[StoreError], told: str
    ) -> None:
        harm(packed)
        with pytest.raises(kind, match=told):
            packed.from_decisions()
        assert published(packed.ledger.store) == []
        assert current_dataset(packed.ledger.store) is None

    def test_a_shard_without_a_decision_is_refused(self, packed: Packed) -> None:
        packed.ledger.store.delete(commit_path(packed.packing.unit_ids[0]))
        with pytest.raises(AccountError, match="1 pending"):
            packed.publish()

    def test_a_pack_plan_that_was_edited_is_refused(self, packed: Packed) -> None:
        edit_plan(packed, packed.packing.plan.plan_id, packed.plan.plan_id)
        with pytest.raises(AccountError, match=rf"remove plans/{packed.packing.plan.plan_id}.*run again"):
            packed.publish()

    def test_a_shard_that_was_given_up_is_refused_with_its_error(self, packed: Packed) -> None:
        unit_id = packed.packing.unit_ids[0]
        packed.ledger.void(unit_id, "retry", "for the test")
        claim = packed.ledger.begin(next(u for u in packed.packing.plan.units if u.unit_id == unit_id), "test")
        given_up = Quarantine(
            unit_id=unit_id,
            error_class="ObjectDamaged",
            message="byte 3",
            stderr_tail="",
            reproduce="look",
            attempts=3,
        )
        packed.ledger.decide(claim, given_up)
        with pytest.raises(AccountError, match=r"given up \(ObjectDamaged: byte 3\); mend that and run again"):
            packed.publish()
        # And the next run does try it again.
        assert packed.from_decisions().is_current

    def test_a_shard_of_other_bytes_than_its_samples_have_is_refused(self, packed: Packed) -> None:
        longer = packed.packing.deal.samples.to_pydict()
        longer["size_bytes"] = [size + 512 for size in longer["size_bytes"]]
        samples = type(packed.packing.deal.samples).from_pydict(longer, schema=packed.packing.deal.samples.schema)
        wrong = replace(packed.packing, deal=replace(packed.packing.deal, samples=samples))
        with pytest.raises(ObjectDamaged, match="its samples have"):
            published_from(packed.ledger, packed.harvested, wrong)

    def test_a_store_that_was_mended_is_published(self, packed: Packed) -> None:
        path = packed.shard(0)
        data = packed.ledger.store.read(path)
        packed.ledger.store.delete(path)
        with pytest.raises(ObjectDamaged):
            packed.from_decisions()
        packed.ledger.store.write(path, data)
        assert packed.from_decisions().is_current

    def test_many_wrong_objects_are_counted_and_the_first_are_named(
        self, packed: Packed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shards.publish.NAMED", 2)
        for path in list(packed.ledger.store.list("objects/")):
            packed.ledger.store.delete(path)
        with pytest.raises(ObjectDamaged) as caught:
            packed.publish()
        assert re.search(r"and \d more", str(caught.value))
        assert str(caught.value).count("missing") == 2

    def test_an_empty_dataset_is_refused_with_the_reasons(self, packed: Packed) -> None:
        found = harvest(packed.ledger, packed.plan, accept=lambda entry: Rejection(code="dull", detail=""))
        with pytest.raises(RequestError, match=r"nothing to publish from 4 units.*dull: 6, no_face: 1; 0 units quar"):
            published_from(packed.ledger, found, plan_shards(found, CONFIG))


class TestPublications:
    def test_what_was_published_is_whole_and_the_newest(self, packed: Packed) -> None:
        done = packed.publish()
        assert done.is_current
        assert current_dataset(packed.ledger.store) == done.info.hash
        assert read_info(packed.ledger.store, done.info.hash) == done.info
        assert open_dataset(packed.ledger.store).info == done.info

    def test_again_it_changes_nothing(self, packed: Packed) -> None:
        done = packed.publish()
        before = {path: packed.ledger.store.sha256(path) for path in packed.ledger.store.list("datasets/")}
        assert packed.from_decisions() == done
        assert {path: packed.ledger.store.sha256(path) for path in packed.ledger.store.list("datasets/")} == before
        assert len(list(packed.ledger.store.list("CURRENT/"))) == 1

    def test_the_figures_are_those_of_the_samples(self, packed: Packed) -> None:
        info = packed.publish().info
        rows = open_dataset(packed.ledger.store).table.to_pylist()
        assert (info.num_samples, info.num_frames) == (6, sum(row["num_frames"] for row in rows))
        assert info.hours == pytest.approx(sum(row["duration_s"] for row in rows) / 3600)
        assert info.size_bytes == sum(packed.ledger.store.size(shard.path) for shard in info.shards)
        assert info.samples_by_split == {"test": 2, "train": 2, "val": 2}
        assert info.identities_by_split == {"test": 1, "train": 1, "val": 1}
        assert info.samples_by_language == {"en": 6}
        assert info.hours_by_licence == {}
        assert info.rejections == {"no_face": 1}
        assert info.account == packed.ledger.account(packed.plan)
        assert (info.plan_id, info.pack_plan_id) == (packed.plan.plan_id, packed.packing.plan.plan_id)
        assert info.config == {"size_px": 16}
        assert info.pack_config["target_bytes"] == 60_000

    def test_hours_are_counted_by_what_the_plan_says_of_licences(self, packed: Packed) -> None:
        units = make_plan(4, licences=("CC0-1.0", None, "CC0-1.0")).units
        plan = Plan.of("extract", units, packed.plan.config)
        packed.ledger.write_plan(plan)
        info = replace(packed, plan=plan).from_decisions().info
        assert info.hours_by_licence == pytest.approx({"CC0-1.0": info.hours * 2 / 3, "unknown": info.hours / 3})
        assert info.hash != packed.publish().info.hash

    def test_the_name_of_a_dataset_without_licences_is_that_of_before_they_were_counted(self, packed: Packed) -> None:
        info = packed.publish().info
        figures = {name: value for name, value in plain(info).items() if name != "hours_by_licence"} | {"hash": ""}
        table = open_dataset(packed.ledger.store).table
        assert info.hash == dataset_hash(info, table) == fingerprint("dataset", figures, rows_digest(table))

    def test_one_that_was_overtaken_stays_published_and_is_not_the_newest(
        self, packed: Packed, caplog: pytest.LogCaptureFixture
    ) -> None:
        def accept(entry: SampleEntry) -> Rejection | None:
            return None if entry.identity == "person-0" else Rejection(code="other", detail="")

        # Both looked at the decisions before either published.
        later = harvest(packed.ledger, packed.plan, accept=accept)
        packing = plan_shards(later, CONFIG)
        for unit in open_shards(packed.ledger, packing.plan):
            pack_shard(packed.ledger, packed.ledger.begin(unit, "test"))
        newest = published_from(packed.ledger, later, packing)
        asleep = packed.publish()
        assert (newest.is_current, asleep.is_current) == (True, False)
        assert current_dataset(packed.ledger.store) == newest.info.hash
        assert open_dataset(packed.ledger.store, asleep.info.hash).info == asleep.info
        assert "another became the newest while it was made; run again" in caplog.text
        assert packed.from_decisions() == Publication(info=asleep.info, is_current=True)

    def test_the_record_that_makes_a_dataset_whole_is_written_after_its_index(self, packed: Packed) -> None:
        order = []
        write = packed.ledger.store.write

        def noting(path: str, data: bytes) -> None:
            order.append(path)
            write(path, data)

        packed.ledger.store.write = noting  # type: ignore[method-assign]
        name = packed.publish().info.hash
        # The lease, and that it needs the dataset, before either.
        assert order[-2:] == [f"datasets/{name}/index.parquet", info_path(name)]
