"""The evaluation, end to end on a small dataset of a talking face and a model that has learned nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flows import evaluate as flow
from flows.cluster.config import EngineConfig
from flows.evaluate import NothingJudged, dry_run, judge_clips, plan_evaluation, report_evaluation
from flows.evaluation.config import EvaluationConfig
from flows.evaluation.judge import Judge
from flows.workers.evaluate import ClipVerdict
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.training.keeping import DATASET
from shards.errors import RequestError
from shards.pack import PackConfig
from shards.reader import open_dataset
from shards.store import Store, open_store
from tests.support.models import nano_config
from tests.support.talking import SIZE_PX, talking_dataset

PEOPLE = ("anna", "bert", "cleo", "dora")
ENGINE = EngineConfig(backoff_s=0, max_attempts=1)
CONFIG = EvaluationConfig(steps=1, silent_frames=3, shown=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Four people, one of them held out for validation and one for the test."""
    folder = tmp_path_factory.mktemp("talking")
    made = open_store(folder / "store")
    talking_dataset(made, folder, PEOPLE, PackConfig(val_share=0.05, test_share=0.05))
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        DubbingPipeline.from_networks(Networks(nano_config(SIZE_PX))).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def done(store: Store, model: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One evaluation; what it returned, its folder, its plan."""
    out = tmp_path_factory.mktemp("out")
    plan = plan_evaluation.fn(model, store.uri, None, CONFIG)
    card = report_evaluation.fn(plan, judge_clips.fn(plan, out, ENGINE, "none"), out)
    return {"card": card, "out": out, "plan": plan}


def test_held_out_clips_are_judged_and_told(done: dict[str, Any]) -> None:
    card = json.loads((done["out"] / "scorecard.json").read_text())
    assert (card["clips"], card["identities"], card["left_out"]) == (2, 2, {})
    assert {row["split"] for row in card["rows"]} == {"val", "test"}
    assert card["summary"]["made.outside_change"]["largest"] == 0
    assert card["checkpoint"]["digest"] == done["plan"].voice.digest
    assert card["goals"] == done["card"]["goals"]


def test_the_page_shows_goals_figures_and_pictures(done: dict[str, Any]) -> None:
    page = Path(done["card"]["page"]).read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    for said in ("correlation of the mouth&#39;s opening", "still neutral mouth", "undubbed source"):
        assert said in page
    assert 'src="http' not in page


def test_what_is_judged_is_not_judged_again(done: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "judge", lambda *_: pytest.fail("judged again"))
    again = judge_clips.fn(done["plan"], done["out"], ENGINE, "none")
    assert [verdict.key for verdict in again] == [done["plan"].told("key", row) for row in done["plan"].rows]
    assert all(verdict.figures and verdict.strip for verdict in again)


def test_other_settings_are_judged_anew(done: dict[str, Any], store: Store, model: str) -> None:
    other = plan_evaluation.fn(model, store.uri, None, CONFIG.model_copy(update={"steps": 2}))
    assert other.made_by != done["plan"].made_by
    shown = plan_evaluation.fn(model, store.uri, None, CONFIG.model_copy(update={"shown": 5, "limit": 1}))
    assert shown.made_by == done["plan"].made_by


def test_a_limit_takes_other_people_first(store: Store, model: str) -> None:
    plan = plan_evaluation.fn(model, store.uri, None, EvaluationConfig(splits=("train", "val", "test"), limit=3))
    assert len({plan.told("identity", row) for row in plan.rows}) == 3


def test_a_dry_run_says_what_is_left_and_writes_nothing(store: Store, model: str, tmp_path: Path) -> None:
    told = dry_run(model, store.uri, str(tmp_path / "new"), None, CONFIG)
    assert (told["clips"], told["judged already"], told["identities"]) == (2, 0, 2)
    assert not (tmp_path / "new").exists()


def test_a_dataset_that_holds_nobody_out_is_refused(model: str, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    talking_dataset(store, tmp_path, ("anna", "bert"), PackConfig(val_share=0, test_share=0))
    with pytest.raises(RequestError, match=r"held out.*'train': 2"):
        plan_evaluation.fn(model, store.uri, None, CONFIG)


def test_a_model_for_other_crops_is_refused_before_anything_is_judged(store: Store, tmp_path: Path) -> None:
    DubbingPipeline.from_networks(Networks(nano_config(32))).save_pretrained(tmp_path / "other")
    with pytest.raises(RequestError, match="crop_px"):
        plan_evaluation.fn(str(tmp_path / "other"), store.uri, None, CONFIG)


def test_clips_that_cannot_be_judged_are_named_and_none_is_an_error(done: dict[str, Any], tmp_path: Path) -> None:
    keys = [done["plan"].told("key", row) for row in done["plan"].rows]
    short = [
        ClipVerdict(key=key, frames=9, figures={}, strip=b"", strip_with_landmarks=b"", left_out="too short")
        for key in keys
    ]
    with pytest.raises(NothingJudged, match="too short"):
        report_evaluation.fn(done["plan"], short, tmp_path)
    known = judge_clips.fn(done["plan"], done["out"], ENGINE, "none")
    card = report_evaluation.fn(done["plan"], [known[0], short[1]], tmp_path)
    assert card["left_out"] == {keys[1]: "too short"}
    assert card["clips"] == 1


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="is a file"):
        flow.check_out(tmp_path / "file")


def test_a_model_that_learned_from_other_data_is_judged_and_told(
    store: Store, model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for said, warned in (("`0123`", True), (f"`{open_dataset(store).info.hash}`", False)):
        DubbingPipeline.from_pretrained(model).save_pretrained(tmp_path, card={DATASET: said})
        caplog.clear()
        plan_evaluation.fn(str(tmp_path), store.uri, None, CONFIG)
        assert ("may know people" in caplog.text) == warned
