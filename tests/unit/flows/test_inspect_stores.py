"""Datasets and units of work: what the records say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.explain.target import Outputs, inspect
from flows.report.dataset import write_card
from preprocessing.config import QualityConfig
from shards.commit import Ledger, Quarantine
from shards.deal import PackConfig
from shards.pack import finalize
from shards.schema import Rejection
from shards.store import Store, open_store
from tests.support.datasets import claim, commit_clips, commit_rejection, make_dataset, make_plan, unit_clips


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def ledger(store: Store, tmp_path: Path) -> Ledger:
    """Units 0 kept, 1 rejected, 2 given up, 3 open."""
    ledger = Ledger(store)
    ledger.write_plan(make_plan(4))
    commit_clips(ledger, "unit-0", unit_clips(0, 2), tmp_path)
    commit_rejection(ledger, "unit-1")
    given_up = Quarantine(
        unit_id="unit-2",
        error_class="Boom",
        message="it went",
        stderr_tail="two\nlines",
        reproduce="run this",
        attempts=3,
    )
    ledger.decide(claim(ledger, "unit-2"), given_up)
    return ledger


def unit(ledger: Ledger, number: int) -> dict[str, object]:
    return inspect(f"{ledger.store.uri}#unit-{number}")


def test_a_unit_that_was_kept_names_its_objects_and_tries(ledger: Ledger) -> None:
    found = unit(ledger, 0)
    assert (found["kind"], found["decision"], found["samples"], found["stage"]) == ("unit", "kept", 2, "extract")
    assert found["payload"] == {"number": 0}
    attempts, objects = found["attempts"], found["objects"]
    assert isinstance(attempts, list)
    assert isinstance(objects, list)
    assert len(attempts) == 1
    assert inspect(objects[0])["samples"] == 2


def test_a_unit_that_was_rejected_says_why(ledger: Ledger) -> None:
    found = unit(ledger, 1)
    assert (found["decision"], found["rejections"]) == ("rejected", ["no_face: made for a test"])


def test_a_unit_that_was_given_up_says_how_to_see_it_and_how_to_open_it(ledger: Ledger) -> None:
    found = unit(ledger, 2)
    assert (found["decision"], found["error"]) == ("given up after 3 attempts", "Boom: it went")
    assert (found["reproduce"], found["last_words"]) == ("run this", "two\nlines")
    assert found["again"] == f"dubwright store retry {ledger.store.uri} unit-2"


def test_a_unit_that_is_only_planned_is_open(ledger: Ledger) -> None:
    found = unit(ledger, 3)
    assert str(found["decision"]).startswith("open")
    assert found["attempts"] == []


def test_a_dataset_says_where_its_page_is_once_there_is_one(store: Store, tmp_path: Path) -> None:
    info = make_dataset(store, tmp_path)
    assert inspect(store.uri)["dataset"]["page"].startswith("none was made")
    write_card(store, info.hash)
    page = Path(inspect(store.uri)["dataset"]["page"])
    assert info.hash in page.read_text()


def test_a_page_is_written_where_one_is_asked_for(store: Store, tmp_path: Path) -> None:
    info = make_dataset(store, tmp_path)
    out = tmp_path / "page.html"
    assert inspect(f"{store.uri}@{info.hash[:7]}", Outputs(page=out))["page"] == str(out)
    assert info.hash in out.read_text()


def test_clips_of_an_older_dataset_are_named_with_it(store: Store, tmp_path: Path) -> None:
    older = make_dataset(store, tmp_path)
    newer = make_dataset(store, tmp_path, config=PackConfig(target_bytes=200_000, val_share=0.0, test_share=0.0))
    assert inspect(store.uri)["dataset"]["hash"] == newer.hash
    clips = inspect(f"{store.uri}@{older.hash[:8]}")["clips"]
    assert clips[0].startswith(f"{store.uri}@{older.hash[:12]}#")
    assert inspect(clips[0])["kind"] == "clip"


def test_a_clip_that_was_left_out_can_be_looked_at_by_its_key(store: Store, tmp_path: Path) -> None:
    ledger, plan = Ledger(store), make_plan(1)
    ledger.write_plan(plan)
    kept, left_out = unit_clips(0, 2)
    commit_clips(ledger, "unit-0", [kept, left_out], tmp_path)
    finalize(
        ledger,
        plan,
        PackConfig(val_share=0.0, test_share=0.0),
        accept=lambda entry: Rejection(code="blurred", detail="x") if entry.key == left_out.key else None,
        thresholds=QualityConfig().model_dump(),
    )
    assert inspect(f"{store.uri}#{left_out.key}")["source"] == left_out.provenance.source_name
