"""Verify finds whatever is not as recorded, and names it, the units to do again, the datasets hit, and the remedy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shards.commit import Ledger, commit_path
from shards.errors import UnknownSchemaVersion
from shards.index import index_path, info_path
from shards.pack import PackConfig, finalize
from shards.reader import open_dataset
from shards.records import Decision, Receipt, to_record
from shards.sealed import sealed_json
from shards.store import Store, open_store
from shards.verify import verify
from tests.support.datasets import claim, make_dataset, make_plan
from tests.support.sweeps import orphan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two units of two clips each, published."""
    store = open_store(tmp_path / "store")
    make_dataset(store, tmp_path, num_units=2, clips_per_unit=2)
    return store


def flip(store: Store, path: str, place: float = 0.5) -> None:
    data = bytearray(store.read(path))
    data[int(place * len(data))] ^= 1
    store.write(path, bytes(data))


def fragment_of(store: Store, unit_id: str) -> str:
    receipt = Ledger(store).receipt(unit_id)
    assert receipt is not None
    return receipt.objects[0].path


def rewrite(store: Store, unit_id: str, change: Callable[[Receipt], Receipt]) -> None:
    """A decision that is whole and says something else."""
    decision = Ledger(store).decision(unit_id)
    assert decision is not None
    assert isinstance(decision.result, Receipt)
    changed: Decision = replace(decision, result=change(decision.result))
    store.write(commit_path(unit_id), to_record(changed))


class Seen:
    def __init__(self) -> None:
        self.of, self.counts = 0, dict[str, int]()

    def total(self, number: int) -> None:
        self.of = number

    def advance(self, category: str, number: int = 1) -> None:
        self.counts[category] = self.counts.get(category, 0) + number


class TestObjects:
    def test_a_whole_store_is_whole(self, store: Store) -> None:
        found = verify(store)
        assert found.damaged == ()
        assert found.objects == len(list(store.list("objects/")))
        assert found.size_bytes == sum(store.size(path) for path in store.list("objects/"))
        # In fragments and in shards.
        assert found.samples == 2 * 4
        assert (found.unnamed, found.unnamed_bytes) == (0, 0)

    def test_a_flipped_byte_names_its_unit(self, store: Store) -> None:
        path = fragment_of(store, "unit-1")
        flip(store, path)
        (damage,) = verify(store).damaged
        assert (damage.kind, damage.path, damage.units, damage.datasets) == ("object", path, ("unit-1",), ())
        assert f"dubwright store retry {store.uri} --damaged" in damage.remedy
        assert verify(store).units_to_redo == ("unit-1",)

    def test_a_missing_and_a_truncated_object_are_found_even_in_haste(self, store: Store) -> None:
        gone, short = fragment_of(store, "unit-0"), fragment_of(store, "unit-1")
        store.delete(gone)
        store.write(short, store.read(short)[:-512])
        for quick in (True, False):
            found = verify(store, quick=quick)
            problems = {damage.path: damage.problem for damage in found.damaged}
            assert problems[gone] == "missing"
            assert "are recorded" in problems[short]

    def test_in_haste_only_sizes_are_asked(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        flip(store, fragment_of(store, "unit-1"))
        monkeypatch.setattr(Store, "blocks", lambda *_: pytest.fail("bytes were read"))
        assert verify(store, quick=True).damaged == ()

    def test_a_damaged_shard_names_its_dataset_and_its_pack_unit(self, store: Store) -> None:
        info = open_dataset(store).info
        flip(store, info.shards[0].path)
        (damage,) = verify(store).damaged
        (pack_unit,) = damage.units
        assert damage.datasets == verify(store).datasets_hit == (info.hash,)
        assert Ledger(store).receipt(pack_unit).objects == (info.shards[0],)  # type: ignore[union-attr]

    def test_two_objects_that_changed_places_are_found(self, store: Store) -> None:
        one, two = fragment_of(store, "unit-0"), fragment_of(store, "unit-1")
        data = store.read(one)
        store.write(one, store.read(two))
        store.write(two, data)
        assert {damage.path for damage in verify(store).damaged} == {one, two}

    def test_an_object_that_nobody_names_is_counted_and_not_judged(self, store: Store) -> None:
        flip(store, orphan(store, b"not needed"))
        found = verify(store)
        assert (found.damaged, found.unnamed, found.unnamed_bytes) == ((), 1, len(b"not needed"))

    def test_a_damaged_object_of_a_void_epoch_is_nobodys(self, store: Store) -> None:
        flip(store, fragment_of(store, "unit-1"))
        Ledger(store).void("unit-1", "retry", "")
        assert verify(store).damaged == ()

    def test_who_watches_sees_every_object(self, store: Store) -> None:
        flip(store, fragment_of(store, "unit-1"))
        seen = Seen()
        found = verify(store, watch=seen)
        assert (seen.of, seen.counts) == (found.objects, {"whole": found.objects - 1, "damaged": 1})


class TestRows:
    def test_a_decision_whose_sample_lies_elsewhere_is_found(self, store: Store) -> None:
        """The record is whole and the object is whole; only together are they wrong."""

        def moved(receipt: Receipt) -> Receipt:
            first, *rest = receipt.samples
            return replace(receipt, samples=(replace(first, offset=first.offset + 512), *rest))

        rewrite(store, "unit-0", moved)
        (damage,) = verify(store).damaged
        assert (damage.path, damage.units) == (fragment_of(store, "unit-0"), ("unit-0",))
        assert "not as recorded" in damage.problem

    def test_a_decision_that_names_another_object_by_its_path_is_found(self, store: Store) -> None:
        rewrite(store, "unit-0", lambda r: replace(r, objects=(replace(r.objects[0], sha256="0" * 64),)))
        (damage,) = verify(store).damaged
        assert (damage.kind, damage.units) == ("decision", ("unit-0",))
        assert "by the path of another" in damage.problem

    def test_an_index_of_other_rows_is_found(self, store: Store) -> None:
        """Whole as a file, and with as many rows: only the dataset's name gives it away."""
        info = open_dataset(store).info
        other = finalize(Ledger(store), make_plan(2), PackConfig(seed=5, val_share=0, test_share=0))
        assert other.hash != info.hash
        store.write(index_path(info.hash), store.read(index_path(other.hash)))
        assert [damage.path for damage in verify(store).damaged] == [index_path(info.hash)]


class TestRecords:
    def test_a_damaged_decision_is_found_and_its_unit_named(self, store: Store) -> None:
        flip(store, commit_path("unit-0"))
        (damage,) = verify(store).damaged
        assert (damage.path, damage.units) == (commit_path("unit-0"), ("unit-0",))

    @pytest.mark.parametrize("data", [b"", b"{}", b"\0" * 500])
    def test_what_a_power_cut_may_leave_is_found(self, store: Store, data: bytes) -> None:
        store.write(commit_path("unit-0"), data)
        assert verify(store).units_to_redo == ("unit-0",)

    def test_the_decision_of_another_unit_is_found(self, store: Store) -> None:
        store.write(commit_path("unit-0"), store.read(commit_path("unit-1")))
        assert verify(store).units_to_redo == ("unit-0",)

    @pytest.mark.parametrize("of", [info_path, index_path])
    def test_damaged_dataset_records_say_what_makes_them_again(self, store: Store, of: Callable[[str], str]) -> None:
        name = open_dataset(store).info.hash
        flip(store, of(name))
        (damage,) = verify(store).damaged
        assert (damage.kind, damage.path, damage.datasets) == ("dataset", of(name), (name,))
        assert "`dubwright preprocess`" in damage.remedy

    def test_damaged_plans_tries_and_voids_are_found(self, store: Store) -> None:
        Ledger(store).void("unit-9", "retry", "")
        paths = {f"plans/{make_plan(2).plan_id}.json", "attempts/unit-0/1.1.json", "voids/unit-9/1.json"}
        for path in paths:
            flip(store, path)
        assert {damage.path for damage in verify(store).damaged} == paths

    def test_a_void_that_lies_in_anothers_place_is_found(self, store: Store) -> None:
        Ledger(store).void("unit-8", "retry", "")
        store.write("voids/unit-9/1.json", store.read("voids/unit-8/1.json"))
        assert [damage.path for damage in verify(store).damaged] == ["voids/unit-9/1.json"]

    def test_a_current_that_names_no_dataset_is_found(self, store: Store) -> None:
        store.write("CURRENT/000002", b"not a hash\n")
        assert [(damage.kind, damage.path) for damage in verify(store).damaged] == [("current", "CURRENT/000002")]

    def test_a_record_of_a_newer_program_is_refused_and_not_called_damaged(self, store: Store) -> None:
        data = sealed_json({"unit_id": "unit-0"}).replace(b'"schema_version":', b'"schema_version":9')
        body = data[data.index(b",") + 1 :]
        store.write(commit_path("unit-0"), b'{"checksum":"%s",' % hashlib.sha256(body).hexdigest().encode() + body)
        with pytest.raises(UnknownSchemaVersion, match=commit_path("unit-0")):
            verify(store)
        # With a checksum that is wrong besides, it is only damaged.
        flip(store, commit_path("unit-0"), 0.05)
        assert verify(store).units_to_redo == ("unit-0",)

    def test_a_try_under_way_is_no_damage(self, store: Store) -> None:
        claim(Ledger(store), "unit-5")
        assert verify(store).damaged == ()
