"""Dubbing's second worker: the same stretch, speaking something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from flows.workers.fragments import SourceChanged, clip_address, read_clip
from flows.workers.render import RenderWorker, runs
from shards.commit import Ledger, Unit
from shards.store import open_store
from tests.support.datasets import done_by
from tests.unit.flows.conftest import Thread


@pytest.fixture(scope="module")
def worker(thread: Thread) -> Iterator[RenderWorker]:
    made = thread.worker("render")
    made.setup()
    yield made
    made.close()


@pytest.fixture
def unit(thread: Thread) -> Unit:
    (unit,) = thread.records.renders(thread.title)
    return unit


def test_the_stretch_keeps_its_name_place_and_upper_face(thread: Thread) -> None:
    store = thread.records.ledger.store
    (source,) = [read_clip(store, clip_address(thread.analysed, entry)) for entry in thread.analysed.samples]
    (made,) = [read_clip(store, clip_address(r, r.samples[0])) for r in thread.rendered]
    assert made.key == source.key
    np.testing.assert_array_equal(made.transform.matrices, source.transform.matrices)
    pose = list(source.landmarks.topology.pose)
    np.testing.assert_allclose(made.landmarks.points[:, pose], source.landmarks.points[:, pose], atol=0.05)
    assert made.provenance == source.provenance
    assert dict(made.scores) == {}


def test_the_receipt_says_where_the_stretch_begins_and_which_rows_are_new(thread: Thread) -> None:
    (receipt,) = thread.rendered
    assert dict(receipt.details) == {"start_pts": 0, "rows": [[0, 25]]}
    assert thread.records.ledger.receipt(receipt.unit_id) == receipt


def test_the_same_unit_gives_the_same_bytes(thread: Thread, worker: RenderWorker, unit: Unit) -> None:
    assert done_by(worker, dataclasses.replace(unit, unit_id="again")).objects == thread.rendered[0].objects


def test_another_seed_gives_another_picture(thread: Thread, worker: RenderWorker, unit: Unit) -> None:
    other = Unit(unit_id="other-seed", stage="render", payload={**unit.payload, "seed": 1})
    assert done_by(worker, other).objects != thread.rendered[0].objects


def test_what_stretches_share_is_read_once(worker: RenderWorker, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    done_by(worker, Unit(unit_id="first", stage="render", payload=unit.payload))
    before = worker._features.cache_info().misses, worker._references.cache_info().misses
    done_by(worker, Unit(unit_id="second", stage="render", payload=unit.payload))
    assert (worker._features.cache_info().misses, worker._references.cache_info().misses) == before


def test_a_speech_that_is_not_the_planned_one_is_not_rendered_under_its_name(
    thread: Thread, worker: RenderWorker, unit: Unit
) -> None:
    other = Unit(unit_id="other-speech", stage="render", payload={**unit.payload, "audio_sha256": "0" * 64})
    with pytest.raises(SourceChanged):
        done_by(worker, other)
    assert Ledger(open_store(thread.records.ledger.store.uri)).receipt("other-speech") is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("", []), ("000", []), ("111", [(0, 3)]), ("0110", [(1, 3)]), ("1011", [(0, 1), (2, 4)])],
)
def test_runs_are_the_stretches_in_which_a_flag_holds(flags: str, expected: list[tuple[int, int]]) -> None:
    assert runs(np.array([flag == "1" for flag in flags], dtype=bool)) == expected
