"""Damaged, truncated, exchanged and missing bytes: named wherever they are met, never silently fewer; and mended.

`finalize` must refuse a store that was made inconsistent by hand, whatever part of it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.catalog import current_dataset
from shards.commit import Ledger
from shards.errors import DubwrightError, StoreError
from shards.index import index_path, info_path
from shards.pack import finalize
from shards.reader import Dataset, open_dataset
from shards.repair import repair
from shards.store import open_store
from shards.verify import verify
from tests.support.faults import Fault, damage
from tests.support.pipeline import PACK, ClipWorker, decide_all, make_plan, outcome, run_pipeline

PLAN = make_plan(("keep", "keep", "reject", "keep", "keep", "keep"))


def flip(store: Path, path: str, _: str) -> None:
    damage(store / path, Fault.FLIP)


def truncate(store: Path, path: str, _: str) -> None:
    damage(store / path, Fault.TRUNCATE)


def remove(store: Path, path: str, _: str) -> None:
    (store / path).unlink()


def empty(store: Path, path: str, _: str) -> None:
    (store / path).write_bytes(b"")


def exchange(store: Path, path: str, other: str) -> None:
    mine, others = (store / path).read_bytes(), (store / other).read_bytes()
    (store / path).write_bytes(others)
    (store / other).write_bytes(mine)


def edit(store: Path, path: str, _: str) -> None:
    """Somebody meant well: a file that is whole, and says something else."""
    if path.endswith(".json"):
        text = (store / path).read_text()
        (store / path).write_text(re.sub(r'"(num_\w+)":\d+', r'"\1":1', text))
        return
    table = pq.read_table(store / path)
    rows = table.to_pylist()
    field = "payload" if "payload" in rows[0] else "identity"
    rows[1][field] = rows[1][field].replace("e", "i")
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), store / path)


Ruin = Callable[[Path, str, str], None]
RUINS: list[Ruin] = [flip, truncate, remove, empty, exchange]


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every unit is decided and nothing is packed."""
    store = tmp_path_factory.mktemp("extracted") / "store"
    decide_all(Ledger(open_store(store)), PLAN, ClipWorker)
    return store


@pytest.fixture(scope="module")
def published(extracted: Path) -> Path:
    """The same, with its dataset."""
    store = extracted.with_name("published")
    shutil.copytree(extracted, store)
    run_pipeline(str(store), plan=PLAN)
    return store


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    def copied(store: Path) -> Path:
        shutil.copytree(store, tmp_path / "store")
        return tmp_path / "store"

    return copied


def objects(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in (store / "objects").rglob("*.tar"))


class TestFragments:
    @pytest.mark.parametrize("ruin", RUINS)
    def test_one_is_named_when_it_is_packed_and_nothing_is_published(
        self, ruin: Ruin, extracted: Path, copy: Callable[[Path], Path], published: Path
    ) -> None:
        store = copy(extracted)
        path, other = objects(store)[:2]
        ruin(store, path, other)
        ledger = Ledger(open_store(store))
        with pytest.raises(StoreError, match=f"{path}|{other}" if ruin is exchange else path):
            finalize(ledger, PLAN, PACK)
        assert current_dataset(ledger.store) is None

        found = verify(ledger.store)
        assert {each.path for each in found.damaged} == ({path, other} if ruin is exchange else {path})
        assert len(found.units_to_redo) == len(found.damaged)
        repair(ledger.store, found)
        run_pipeline(str(store), plan=PLAN)
        assert outcome(str(store), PLAN) == outcome(str(published), PLAN)


class TestShards:
    @pytest.mark.parametrize("ruin", RUINS)
    def test_one_is_named_by_the_reader_and_no_sample_is_silently_missing(
        self, ruin: Ruin, copy: Callable[[Path], Path], published: Path
    ) -> None:
        store = copy(published)
        dataset = open_dataset(open_store(store))
        path, other = (shard.path for shard in dataset.info.shards[:2])
        ruin(store, path, other)
        read, refused = list(read_all(dataset)), list(refusals(dataset))
        assert len(read) + len(refused) == dataset.info.num_samples
        assert refused
        assert all(path in text or (ruin is exchange and other in text) for text in refused)

        found = verify(dataset.store)
        assert {each.path for each in found.damaged} == ({path, other} if ruin is exchange else {path})
        assert all(each.datasets == (dataset.info.hash,) for each in found.damaged)
        repair(dataset.store, found)
        run_pipeline(str(store), plan=PLAN)
        assert outcome(str(store), PLAN) == outcome(str(published), PLAN)


def read_all(dataset: Dataset) -> Iterator[str]:
    """The keys of the samples that can be read."""
    for row, key in enumerate(dataset.table.column("key").to_pylist()):
        try:
            assert dataset.read_row(row).key == key
        except StoreError:
            continue
        yield key


def refusals(dataset: Dataset) -> Iterator[str]:
    """What is said of the others."""
    for row in range(dataset.table.num_rows):
        try:
            dataset.read_row(row)
        except StoreError as error:
            yield str(error)


class TestDatasetRecords:
    @pytest.mark.parametrize("ruin", [edit, truncate, remove, empty])
    @pytest.mark.parametrize("path_of", [index_path, info_path])
    def test_one_is_named_by_verify_and_the_run_writes_it_anew(
        self, ruin: Ruin, path_of: Callable[[str], str], published: Path, copy: Callable[[Path], Path]
    ) -> None:
        store = copy(published)
        expected = outcome(str(published), PLAN)
        path = path_of(expected["dataset"])
        ruin(store, path, path)
        told = [f"{each.path} {each.problem}" for each in verify(open_store(store)).damaged]
        assert len(told) == 1
        assert path in told[0] or expected["dataset"] in told[0]
        run_pipeline(str(store), plan=PLAN)
        assert outcome(str(store), PLAN) == expected

    @pytest.mark.parametrize("ruin", [truncate, remove, empty])
    @pytest.mark.parametrize("path_of", [index_path, info_path])
    def test_a_dataset_without_one_is_not_opened(
        self, ruin: Ruin, path_of: Callable[[str], str], published: Path, copy: Callable[[Path], Path]
    ) -> None:
        store = copy(published)
        name = current_dataset(open_store(store))
        assert name is not None
        ruin(store, path_of(name), "")
        with pytest.raises(DubwrightError, match=name):
            open_dataset(open_store(store))


class TestFinalizeRefuses:
    """A store made inconsistent by hand."""

    @pytest.fixture
    def store(self, extracted: Path, copy: Callable[[Path], Path]) -> Path:
        return copy(extracted)

    def refusal(self, store: Path) -> str:
        with pytest.raises(StoreError) as refused:
            finalize(Ledger(open_store(store)), PLAN, PACK)
        assert current_dataset(open_store(store)) is None
        return str(refused.value)

    @pytest.mark.parametrize("place", range(len(PLAN.units)))
    def test_a_decision_that_was_deleted(self, store: Path, place: int) -> None:
        (store / "commits" / f"{PLAN.units[place].unit_id}.json").unlink()
        told = self.refusal(store)
        assert f"{len(PLAN.units)} planned" in told
        assert "1 pending" in told
        assert PLAN.units[place].unit_id in told

    @pytest.mark.parametrize("place", range(len(PLAN.units)))
    def test_a_decision_that_was_edited(self, store: Path, place: int) -> None:
        path = store / "commits" / f"{PLAN.units[place].unit_id}.json"
        path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":2'))
        told = self.refusal(store)
        assert str(path) in told
        assert "checksum" in told

    def test_two_decisions_that_were_exchanged(self, store: Path) -> None:
        first, second = (f"commits/{unit.unit_id}.json" for unit in PLAN.units[:2])
        exchange(store, first, second)
        told = self.refusal(store)
        assert first in told
        assert "of another" in told

    def test_a_plan_that_was_exchanged_for_another(self, store: Path) -> None:
        smaller = make_plan(("keep", "keep", "reject"))
        Ledger(open_store(store)).write_plan(smaller)
        for suffix in (".json", ".parquet"):
            shutil.copy(store / f"plans/{smaller.plan_id}{suffix}", store / f"plans/{PLAN.plan_id}{suffix}")
        assert PLAN.plan_id in self.refusal(store)

    @pytest.mark.parametrize("suffix", [".json", ".parquet"])
    @pytest.mark.parametrize("ruin", [edit, truncate, remove, empty])
    def test_a_plan_that_was_damaged_or_edited(self, store: Path, suffix: str, ruin: Ruin) -> None:
        ruin(store, f"plans/{PLAN.plan_id}{suffix}", "")
        assert PLAN.plan_id in self.refusal(store)
