"""What a dataset left out is found again in the decisions; of a large plan only some are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.report import rejected
from flows.report.rejected import look_at_rejected, read_sample
from preprocessing.config import QualityConfig
from shards.commit import Ledger
from shards.deal import PackConfig
from shards.pack import finalize
from shards.reader import Dataset, open_dataset
from shards.schema import Rejection
from shards.store import open_store
from tests.support.datasets import commit_clips, make_plan, unit_clips

UNITS = 4


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


@pytest.fixture
def dataset(ledger: Ledger, tmp_path: Path) -> Dataset:
    """Of each unit's two clips the second is left out, for another's sake."""
    plan = make_plan(UNITS)
    ledger.write_plan(plan)
    unwanted = set()
    for number in range(UNITS):
        clips = unit_clips(number, 2)
        unwanted.add(clips[1].key)
        commit_clips(ledger, f"unit-{number}", clips, tmp_path)
    accept: Any = lambda entry: Rejection(code="duplicate", detail="x") if entry.key in unwanted else None  # noqa: E731
    settings = QualityConfig(min_sharpness=0).model_dump()
    finalize(ledger, plan, PackConfig(val_share=0.0, test_share=0.0), accept=accept, thresholds=settings)
    return open_dataset(ledger.store)


def test_what_passes_every_threshold_alone_was_left_out_for_anothers_sake(ledger: Ledger, dataset: Dataset) -> None:
    looked = look_at_rejected(ledger, dataset.info, dataset.table)
    assert [left.rejection.code for left in looked.left_out] == ["duplicate"] * UNITS
    assert looked.examples["duplicate"][0] == "unit-0"
    assert str(looked) == "all sources"
    left = looked.left_out[0]
    assert read_sample(ledger.store, left.object_path, left.entry).key == left.entry.key == unit_clips(0, 2)[1].key


def test_of_a_large_plan_only_some_decisions_are_read_and_that_is_said(
    ledger: Ledger, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "UNITS_LOOKED_AT", 3)
    looked = look_at_rejected(ledger, dataset.info, dataset.table)
    assert (len(looked.left_out), str(looked)) == (3, "3 of 4 sources")
