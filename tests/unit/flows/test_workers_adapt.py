"""Dubbing's worker that adapts the model to a title: what it reads, and what it leaves in the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from flows.adapting import AdaptConfig, adapt_unit, load_adapted
from flows.title import Voice
from flows.voice import read_voice
from flows.workers import adapt as worker_module
from flows.workers.adapt import AdaptWorker
from model import adapt as adapting
from model.adapt import AdaptSettings, Figures
from model.errors import CheckpointMismatch
from model.pipeline import DubbingPipeline
from preprocessing.audio.mel import MelSpectrogram
from shards.commit import Ledger, Unit
from shards.schema import ClipSample
from shards.store import open_store
from tests.support.datasets import done_by
from tests.support.lessons import SHOT, Spoken, spoken_title
from tests.support.models import nano_checkpoint

BEFORE = Figures(lip_distance=0.05, correlation=0.5)
AFTER = Figures(lip_distance=0.04, correlation=0.6)
CONFIG = AdaptConfig(mode="always", how=AdaptSettings(steps=2))


@pytest.fixture
def voice(checkpoint: Path) -> Voice:
    return read_voice(str(checkpoint))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


@pytest.fixture
def spoken(ledger: Ledger, tmp_path: Path) -> Spoken:
    return spoken_title(ledger, tmp_path / "film")


@pytest.fixture
def unit(spoken: Spoken, voice: Voice) -> Unit:
    made = adapt_unit(spoken.title, voice, spoken.analysis, spoken.receipt, CONFIG)
    assert made is not None
    return made


@pytest.fixture
def worker(ledger: Ledger, checkpoint: Path) -> Iterator[AdaptWorker]:
    made = AdaptWorker(ledger.store.uri, str(checkpoint))
    made.setup()
    yield made
    made.close()


def judging(monkeypatch: pytest.MonkeyPatch, *said: Figures) -> None:
    """Has the judge say this, one after the other."""
    left = list(said)
    monkeypatch.setattr(adapting, "judge", lambda *_: left.pop(0))


def test_what_helps_is_committed_as_weights_with_its_figures(
    worker: AdaptWorker, unit: Unit, ledger: Ledger, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, BEFORE, AFTER)
    receipt = done_by(worker, unit)
    assert ledger.receipt(unit.unit_id) == receipt
    assert dict(receipt.details) == {
        "before": {"lip_distance": 0.05, "correlation": 0.5},
        "after": {"lip_distance": 0.04, "correlation": 0.6},
        "kept": True,
        "steps": 2,
        "seconds_of_speech": 8.0,
        "why": "held-out lips 20.0% nearer, correlation of the opening 0.50 -> 0.60",
    }
    assert not receipt.rejections
    pipe = DubbingPipeline.from_pretrained(checkpoint)
    made = load_adapted(pipe, ledger.store, receipt.objects[0].path)
    assert not torch.equal(made.networks.completion.read_lips.weight, pipe.networks.completion.read_lips.weight)


def test_the_same_title_gives_the_same_bytes(worker: AdaptWorker, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    judging(monkeypatch, *[BEFORE, AFTER] * 2)
    first = done_by(worker, unit)
    assert done_by(worker, dataclasses.replace(unit, unit_id="again")).objects == first.objects


def test_what_does_not_help_leaves_nothing_but_the_reason(
    worker: AdaptWorker, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, BEFORE, BEFORE)
    receipt = done_by(worker, unit)
    assert receipt.objects == ()
    assert receipt.details["kept"] is False
    (rejection,) = receipt.rejections
    assert rejection.code == "not_adapted"
    assert rejection.detail == receipt.details["why"]


def test_a_title_with_nothing_to_learn_from_is_left_alone(worker: AdaptWorker, unit: Unit) -> None:
    one = Unit(unit_id="one", stage="adapt", payload={**unit.payload, "clips": unit.payload["clips"][:1]})
    receipt = done_by(worker, one)
    assert receipt.objects == ()
    assert receipt.details["before"] is None
    assert "too few" in receipt.rejections[0].detail


def test_clips_are_taught_with_their_own_speech_and_without_the_rows_of_others(
    worker: AdaptWorker, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[ClipSample] = []
    real = adapting.adapt

    def listening(networks, clips, settings, seed):  # type: ignore[no-untyped-def]
        return real(networks, [heard.append(clip) or clip for clip in clips], settings, seed)  # type: ignore[func-returns-value]

    monkeypatch.setattr(worker_module, "adapt", listening)
    clips = [{**clip, "rows": [[0, 10], [30, SHOT]]} for clip in unit.payload["clips"]]
    done_by(worker, Unit(unit_id="part", stage="adapt", payload={**unit.payload, "clips": clips}))
    assert len(heard) == 5
    for clip in heard:
        assert np.flatnonzero(~clip.landmarks.seen()).tolist() == list(range(10, 30))
        (mel,) = clip.features
        np.testing.assert_array_equal(mel.values, MelSpectrogram().extract(clip.speech).values)
        assert float(mel.origin_s) == pytest.approx(float(clip.speech.origin_s), abs=0.02)


def test_a_row_may_name_a_model_of_its_own(
    worker: AdaptWorker, unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, *[BEFORE, AFTER] * 2)
    other = nano_checkpoint(tmp_path / "other", seed=1)
    named = Unit(unit_id="other", stage="adapt", payload={**unit.payload, "checkpoint": str(other)})
    assert done_by(worker, named).objects != done_by(worker, unit).objects


def test_a_machine_with_another_version_of_a_feature_does_not_teach(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = DubbingPipeline.from_pretrained(nano_checkpoint(tmp_path / "nano"))
    config = trained.networks.config
    condition = config.condition.model_copy(update={"feature_versions": ("ours",)})
    trained.networks.config = config.model_copy(update={"condition": condition})
    trained.save_pretrained(tmp_path / "versioned")
    worker = AdaptWorker(ledger.store.uri, str(tmp_path / "versioned"))
    with pytest.raises(CheckpointMismatch, match="ours"):
        worker.setup()


def test_weights_are_those_of_completion_alone(
    worker: AdaptWorker, unit: Unit, ledger: Ledger, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging(monkeypatch, BEFORE, AFTER)
    (ref,) = done_by(worker, unit).objects
    weights = safetensors.torch.load(ledger.store.read(ref.path))
    assert weights.keys() == DubbingPipeline.from_pretrained(checkpoint).networks.completion.state_dict().keys()
