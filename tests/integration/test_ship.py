"""What is put into the package: halved weights, judged on people they never saw, with a card that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.evaluation.config import EvaluationConfig
from model.networks import Networks
from model.pipeline import DubbingPipeline
from shards.errors import RequestError
from shards.pack import PackConfig
from shards.store import open_store
from tests.support import ship as shipping
from tests.support.models import nano_config
from tests.support.ship import EXPERIMENTS, missed, note, ship
from tests.support.talking import SIZE_PX, talking_dataset

QUICK = EvaluationConfig(steps=1, silent_frames=3, max_frames=20, limit=1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    DubbingPipeline.from_networks(Networks(nano_config(SIZE_PX))).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def dataset(tmp_path: Path, held_out: float) -> str:
    store = open_store(tmp_path / "store")
    config = PackConfig(val_share=held_out, test_share=0.0)
    talking_dataset(store, tmp_path, ("anna", "bert", "cleo", "dora"), config)
    return store.uri


def test_the_card_names_sources_figures_and_what_was_missed(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "package" / "shipped"
    target.mkdir(parents=True)
    (target / "of-before").write_text("x")
    digest = ship(checkpoint, dataset(tmp_path, 0.25), tmp_path / "report", target, QUICK)
    shipped = DubbingPipeline.from_pretrained(target)
    assert shipped.digest == digest
    assert not (target / "of-before").exists()
    assert [path.name for path in target.parent.iterdir()] == ["shipped"]
    card = (target / "README.md").read_text()
    for said in (
        "CC BY 4.0",
        "LRC-AR",
        "not cleared",
        "evaluation only",
        "dubwright train --store",
        "never trained on",
    ):
        assert said in card
    assert "| correlation of the mouth's opening |" in card
    assert "Aimed at and not reached: " in shipped.card["limits"]
    assert (tmp_path / "report" / "scorecard.html").is_file()

    weights = (target / "model.safetensors").read_bytes()
    assert note("| joint | 0.5 |", target) == digest
    assert (target / "model.safetensors").read_bytes() == weights
    noted = DubbingPipeline.from_pretrained(target)
    assert noted.card == shipped.card | {EXPERIMENTS: "| joint | 0.5 |"}
    ship(checkpoint, open_store(tmp_path / "store").uri, tmp_path / "report", target, QUICK)
    assert DubbingPipeline.from_pretrained(target).card[EXPERIMENTS] == "| joint | 0.5 |"


def test_nothing_ships_without_people_who_were_held_out(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "shipped"
    with pytest.raises(RequestError, match="0 of 4 identities are held out"):
        ship(checkpoint, dataset(tmp_path, 0.0), tmp_path / "report", target, QUICK)
    assert not target.exists()


def test_what_is_too_large_does_not_ship(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "LARGEST_MB", 0.001)
    with pytest.raises(RequestError, match=r"at most 0.001 MB"):
        ship(checkpoint, dataset(tmp_path, 0.25), tmp_path / "report", tmp_path / "shipped", QUICK)
    assert not (tmp_path / "shipped").exists()


def test_only_goals_that_are_not_reached_are_limits() -> None:
    goals = [{"name": "a", "value": 0.7, "reached": "yes"}, {"name": "b", "value": None, "reached": "not measured"}]
    assert missed(goals) == ["Aimed at and not reached: b (not measured)."]
    assert missed(goals[:1]) == []
