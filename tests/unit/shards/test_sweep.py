"""The sweep removes what nobody needs and never what somebody does."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.catalog import current_dataset, published
from shards.commit import Ledger, Plan, commit_path
from shards.errors import ObjectDamaged, RequestError, Superseded, SweptMeanwhile
from shards.index import index_path, info_path
from shards.leases import TTL_S, condemned, hold_lease, lease_path
from shards.reader import open_dataset
from shards.store import Store, open_store
from shards.sweep import sweep
from tests.support.datasets import commit_clips, make_plan, unit_clips
from tests.support.sweeps import (
    DAY_S,
    aged,
    do,
    leave_lease,
    leave_sweep,
    missing,
    orphan,
    publish,
    put,
    receipt,
    unit,
    whole,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


@pytest.fixture
def footage(ledger: Ledger, tmp_path: Path) -> Ledger:
    """Two units of two clips each, done."""
    ledger.write_plan(make_plan(2))
    for number in range(2):
        commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), tmp_path)
    return ledger


class TestObjects:
    def test_what_nobody_names_goes_and_what_a_decision_names_stays(self, ledger: Ledger, tmp_path: Path) -> None:
        ref = do(ledger, "a", b"needed", tmp_path)
        path = orphan(ledger.store, b"not needed")
        swept = sweep(ledger.store)
        assert (swept.objects, swept.freed_bytes) == (1, len(b"not needed"))
        assert swept.kept["named by a decision"] == 1
        assert list(ledger.store.list("objects/")) == [ref.path]
        assert not ledger.store.exists(path)

    def test_a_second_sweep_finds_nothing(self, ledger: Ledger, tmp_path: Path) -> None:
        do(ledger, "a", b"needed", tmp_path)
        orphan(ledger.store, b"not needed")
        sweep(ledger.store)
        before = set(ledger.store.list())
        again = sweep(ledger.store)
        assert (again.objects, again.tries, again.decisions, again.units_fenced) == (0, 0, 0, [])
        # But for its number.
        assert {path for path in before if "sweeps/" not in path} == {
            path for path in ledger.store.list() if "sweeps/" not in path
        }

    def test_an_object_of_a_try_under_way_stays(self, ledger: Ledger, tmp_path: Path) -> None:
        with hold_lease(ledger.store, "driver") as lease:
            claim = ledger.begin(unit("a"), lease.run)
            ref = put(ledger, claim, b"soon needed", tmp_path)
            swept = sweep(ledger.store)
            assert (swept.objects, swept.units_fenced, swept.kept["of a try under way"]) == (0, [], 1)
            assert ledger.commit(claim, receipt("a", ref)).objects == (ref,)

    def test_an_object_that_another_unit_named_stays(self, ledger: Ledger, tmp_path: Path) -> None:
        ref = do(ledger, "a", b"same", tmp_path)
        do(ledger, "b", b"same", tmp_path)
        ledger.void("a", "retry", "")
        sweep(ledger.store)
        assert ledger.store.read(ref.path) == b"same"

    def test_files_that_are_no_objects_are_left_alone(self, store: Store) -> None:
        store.write("objects/readme.txt", b"somebody's")
        sweep(store)
        assert store.read("objects/readme.txt") == b"somebody's"

    def test_a_decision_that_cannot_be_read_stops_the_sweep(self, ledger: Ledger, tmp_path: Path) -> None:
        """Nobody knows what it names."""
        do(ledger, "a", b"needed", tmp_path)
        path = orphan(ledger.store, b"not needed")
        ledger.store.write(commit_path("a"), b"{}")
        with pytest.raises((ObjectDamaged, RequestError)):
            sweep(ledger.store)
        assert ledger.store.exists(path)
        assert condemned(ledger.store) == {}

    def test_a_damaged_decision_says_what_comes_first(self, ledger: Ledger, tmp_path: Path) -> None:
        do(ledger, "a", b"needed", tmp_path)
        data = ledger.store.read(commit_path("a"))
        ledger.store.write(commit_path("a"), data.replace(b'"run":"gone"', b'"run":"gune"'))
        with pytest.raises(ObjectDamaged, match=r"dubwright store retry .* --damaged"):
            sweep(ledger.store)


class TestTries:
    def test_tries_and_pins_of_a_decided_unit_go(self, ledger: Ledger, tmp_path: Path) -> None:
        do(ledger, "a", b"needed", tmp_path)
        assert sweep(ledger.store).tries == 2
        assert list(ledger.store.list("attempts/")) == []

    def test_a_try_of_a_dead_run_is_fenced_and_what_it_put_goes(self, ledger: Ledger, tmp_path: Path) -> None:
        claim = ledger.begin(unit("a"), "gone")
        put(ledger, claim, b"half done", tmp_path)
        swept = sweep(ledger.store)
        assert (swept.units_fenced, swept.objects) == (["a"], 1)
        assert ledger.epoch("a") == 2

    def test_a_zombie_of_a_fenced_unit_cannot_come_back(self, ledger: Ledger, tmp_path: Path) -> None:
        leave_lease(ledger.store, "slow", age_s=TTL_S + 60)
        zombie = ledger.begin(unit("a"), "slow")
        put(ledger, zombie, b"half done", tmp_path)
        sweep(ledger.store)
        ref = put(ledger, zombie, b"half done", tmp_path)  # it wakes up and goes on
        with pytest.raises(Superseded, match="epoch 1 was voided"):
            ledger.commit(zombie, receipt("a", ref))
        assert ledger.pending(Plan.of("extract", [unit("a")], {})) == [unit("a")]
        sweep(ledger.store)
        assert list(ledger.store.list("commits/")) == list(ledger.store.list("objects/")) == []

    def test_records_of_an_open_unit_stay_for_they_count_its_crashes(self, ledger: Ledger, tmp_path: Path) -> None:
        claim = ledger.begin(unit("a"), "gone", is_isolated=False)
        put(ledger, claim, b"half done", tmp_path)
        sweep(ledger.store)
        sweep(ledger.store)
        (attempt,) = ledger.attempts("a")
        assert (attempt.epoch, attempt.is_isolated, ledger.opened_by_hand("a")) == (1, False, 0)
        assert [path for path in ledger.store.list("attempts/") if path.endswith(".pin")] == []

    def test_a_unit_that_a_dead_and_a_living_run_try_is_not_fenced(self, ledger: Ledger, tmp_path: Path) -> None:
        ledger.begin(unit("a"), "gone")
        with hold_lease(ledger.store, "driver") as lease:
            claim = ledger.begin(unit("a"), lease.run)
            ref = put(ledger, claim, b"mine", tmp_path)
            assert sweep(ledger.store).units_fenced == []
            ledger.commit(claim, receipt("a", ref))
        assert missing(ledger) == []

    def test_what_a_called_off_try_put_goes_once_its_run_is_over(self, ledger: Ledger, tmp_path: Path) -> None:
        with hold_lease(ledger.store, "driver") as lease:
            claim = ledger.begin(unit("a"), lease.run)
            put(ledger, claim, b"half done", tmp_path)
            ledger.call_off(claim)
        assert sweep(ledger.store).objects == 1

    def test_decisions_of_void_epochs_go_and_voids_stay(self, ledger: Ledger, tmp_path: Path) -> None:
        do(ledger, "a", b"first", tmp_path)
        ledger.void("a", "retry", "")
        ref = do(ledger, "a", b"second", tmp_path)
        swept = sweep(ledger.store)
        assert (swept.decisions, swept.objects) == (1, 1)
        assert list(ledger.store.list("commits/")) == [commit_path("a", 2)]
        assert list(ledger.store.list("voids/")) == ["voids/a/1.json"]
        assert list(ledger.store.list("objects/")) == [ref.path]

    def test_leases_that_ran_out_go_and_others_stay(self, store: Store) -> None:
        leave_lease(store, "dead", age_s=TTL_S + 60)
        leave_lease(store, "alive")
        assert sweep(store).leases == 1
        assert list(store.list("runs/")) == [lease_path("alive")]

    def test_what_killed_writers_left_goes_when_it_is_old(self, store: Store) -> None:
        for name, age_s in (("old", 2 * DAY_S), ("young", 0)):
            Path(store.uri, ".parts").mkdir(exist_ok=True)
            Path(store.uri, ".parts", f"{name}.part").write_bytes(b"half")
            aged(store, f".parts/{name}.part", age_s)
        swept = sweep(store)
        assert (swept.leftovers, swept.freed_bytes) == (1, 4)
        assert [path.name for path in Path(store.uri, ".parts").iterdir()] == ["young.part"]


class TestDatasets:
    def test_the_newest_stay_whole_and_older_ones_go_with_their_shards(self, footage: Ledger) -> None:
        names = [publish(footage, seed) for seed in range(4)]
        assert len(set(names)) == 4
        swept = sweep(footage.store, keep_datasets=2)
        assert sorted(swept.datasets) == sorted(names[:2])
        assert published(footage.store) == sorted(names[2:])
        assert current_dataset(footage.store) == names[3]
        for name in names[2:]:
            whole(footage.store, name)
        assert missing(footage) == []
        shards = {ref.path for name in names[2:] for ref in open_dataset(footage.store, name).info.shards}
        fragments = {ref.path for unit_receipt in footage.receipts(make_plan(2)) for ref in unit_receipt.objects}
        assert set(footage.store.list("objects/")) == shards | fragments
        assert len(list(footage.store.list("datasets/"))) == 4

    def test_one_that_was_made_the_newest_again_is_new(self, footage: Ledger) -> None:
        first, second = publish(footage, 1), publish(footage, 2)
        assert publish(footage, 1) == first
        assert sweep(footage.store, keep_datasets=1).datasets == [second]
        whole(footage.store, first)

    def test_a_dataset_that_was_swept_comes_back_with_the_same_bytes(self, footage: Ledger) -> None:
        first = publish(footage, 1)
        before = {path: footage.store.sha256(path) for path in footage.store.list("objects/")}
        publish(footage, 2)
        sweep(footage.store, keep_datasets=1)
        assert publish(footage, 1) == first
        sweep(footage.store, keep_datasets=1)
        assert {path: footage.store.sha256(path) for path in footage.store.list("objects/")} == before
        whole(footage.store, first)

    def test_its_shards_stay_even_when_no_decision_names_them(self, footage: Ledger) -> None:
        """A person had a shard packed again, and the run for it has not come yet."""
        name = publish(footage)
        for unit_id in list(footage.decided()):
            footage.void(unit_id, "retry", "")
        sweep(footage.store)
        whole(footage.store, name)

    def test_a_dataset_that_a_living_run_reads_stays(self, footage: Ledger) -> None:
        first, second, third = (publish(footage, seed) for seed in range(3))
        with hold_lease(footage.store, "train", reads=(first,)):
            swept = sweep(footage.store, keep_datasets=1)
            assert swept.datasets == [second]
            assert swept.in_use[first].startswith("train on ")
            whole(footage.store, first)
        assert sweep(footage.store, keep_datasets=1).datasets == [first]
        assert published(footage.store) == [third]

    def test_a_dataset_that_is_just_going_cannot_be_taken_up(self, footage: Ledger) -> None:
        name = publish(footage)
        leave_lease(footage.store, "sweeper")
        leave_sweep(footage.store, "sweeper", (name,))
        with pytest.raises(SweptMeanwhile, match=name), hold_lease(footage.store, "train", reads=(name,)):
            raise AssertionError("the lease was given")
        assert list(footage.store.list("runs/")) == [lease_path("sweeper")]

    def test_only_the_newest_kept_datasets_generations_are_remembered(self, footage: Ledger) -> None:
        for seed in range(4):
            publish(footage, seed)
        sweep(footage.store, keep_datasets=2)
        assert list(footage.store.list("CURRENT/")) == ["CURRENT/000003", "CURRENT/000004"]

    def test_what_never_became_a_dataset_goes_when_it_is_old(self, footage: Ledger) -> None:
        name = publish(footage)
        for other, age_s in (("a" * 64, 2 * DAY_S), ("b" * 64, 60)):
            footage.store.write(index_path(other), b"index")
            aged(footage.store, index_path(other), age_s)
        assert sweep(footage.store).leftovers == 1
        assert not footage.store.exists(index_path("a" * 64))
        assert footage.store.exists(index_path("b" * 64))
        whole(footage.store, name)

    def test_keeping_none_is_refused(self, store: Store) -> None:
        with pytest.raises(RequestError, match="newest dataset is always kept"):
            sweep(store, keep_datasets=0)

    def test_a_kept_dataset_that_cannot_be_read_stops_the_sweep(self, footage: Ledger) -> None:
        name = publish(footage)
        path = orphan(footage.store, b"not needed")
        data = footage.store.read(info_path(name))
        footage.store.write(info_path(name), data.replace(b'"num_samples":4', b'"num_samples":5'))
        with pytest.raises(ObjectDamaged, match="publish it again"):
            sweep(footage.store)
        assert footage.store.exists(path)


class TestPlans:
    def test_plans_and_their_decisions_stay_unless_asked(self, footage: Ledger, tmp_path: Path) -> None:
        aged(footage.store, f"plans/{make_plan(2).plan_id}.json", 1000 * DAY_S)
        footage.write_plan(make_plan(1))
        assert sweep(footage.store).plans == []
        assert footage.pending(make_plan(2)) == []

    def test_a_plan_long_unused_goes_and_what_only_it_names(self, footage: Ledger) -> None:
        aged(footage.store, f"plans/{make_plan(2).plan_id}.json", 31 * DAY_S)
        footage.write_plan(make_plan(1))
        swept = sweep(footage.store, forget_plans_days=30)
        assert (swept.plans, swept.units_forgotten, swept.objects) == ([make_plan(2).plan_id], 1, 1)
        assert footage.plans() == [make_plan(1).plan_id]
        assert set(footage.decided()) == {"unit-0"}
        assert missing(footage) == []

    def test_a_plan_that_was_used_of_late_stays(self, footage: Ledger) -> None:
        aged(footage.store, f"plans/{make_plan(2).plan_id}.json", 31 * DAY_S)
        footage.write_plan(make_plan(1))
        footage.write_plan(make_plan(2))  # the old command again
        aged(footage.store, f"plans/{make_plan(1).plan_id}.json", DAY_S)
        assert sweep(footage.store, forget_plans_days=30).plans == []

    def test_a_plan_that_a_dataset_or_a_living_run_names_stays(self, footage: Ledger) -> None:
        publish(footage)
        old = make_plan(3)
        footage.write_plan(old)
        for plan in (make_plan(2), old):
            aged(footage.store, f"plans/{plan.plan_id}.json", 31 * DAY_S)
        footage.write_plan(make_plan(1))
        with hold_lease(footage.store, "driver", reads=(old.plan_id,)):
            assert sweep(footage.store, forget_plans_days=30).plans == []
        assert sweep(footage.store, forget_plans_days=30).plans == [old.plan_id]

    def test_a_zombie_of_a_forgotten_unit_cannot_come_back(self, footage: Ledger, tmp_path: Path) -> None:
        zombie = footage.begin(unit("unit-1"), "gone")
        ref = put(footage, zombie, b"late", tmp_path)
        aged(footage.store, f"plans/{make_plan(2).plan_id}.json", 31 * DAY_S)
        footage.write_plan(make_plan(1))
        sweep(footage.store, forget_plans_days=30)
        footage.store.write(ref.path, b"late")
        with pytest.raises(Superseded):
            footage.commit(zombie, receipt("unit-1", ref))

    def test_a_plan_that_is_just_going_cannot_be_taken_up(self, footage: Ledger) -> None:
        leave_lease(footage.store, "sweeper")
        leave_sweep(footage.store, "sweeper", ("unit-1",))
        with pytest.raises(SweptMeanwhile, match="unit-1 is being removed"):
            footage.write_plan(make_plan(2))
        footage.write_plan(make_plan(1))

    def test_a_plan_of_today_is_not_forgotten(self, store: Store) -> None:
        with pytest.raises(RequestError, match="a plan of today"):
            sweep(store, forget_plans_days=0)


class TestDryRun:
    def test_it_says_what_a_sweep_would_do_and_changes_nothing(self, footage: Ledger, tmp_path: Path) -> None:
        for seed in range(3):
            publish(footage, seed)
        do(footage, "x", b"old", tmp_path)
        footage.void("x", "retry", "")
        put(footage, footage.begin(unit("y"), "gone"), b"half done", tmp_path)
        aged(footage.store, f"plans/{make_plan(2).plan_id}.json", 31 * DAY_S)
        footage.write_plan(make_plan(1))
        leave_lease(footage.store, "dead", age_s=TTL_S + 60)
        before = {path: footage.store.read(path) for path in footage.store.list()}
        rehearsed = sweep(footage.store, keep_datasets=1, forget_plans_days=30, dry_run=True)
        assert {path: footage.store.read(path) for path in footage.store.list()} == before
        swept = sweep(footage.store, keep_datasets=1, forget_plans_days=30)
        assert rehearsed.is_dry_run
        swept.is_dry_run = True
        assert swept == rehearsed
        assert (len(swept.datasets), swept.units_fenced, swept.leases) == (2, ["y"], 1)
