"""What a run leaves behind through the loop's two doors: event files, pictures, tables, warnings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flows.evaluation.config import EvaluationConfig
from flows.watching import artifact
from flows.watching.validation import held_out_clips
from flows.watching.watch import TENSORBOARD, VALIDATION, WARNINGS, TrainingWatch, told
from model.networks import Networks
from shards.pack import PackConfig
from shards.reader import open_dataset
from shards.store import open_store
from tests.support.models import nano_config
from tests.support.steps import step_report
from tests.support.talking import SIZE_PX, talking_clip, talking_dataset

QUICK = EvaluationConfig(steps=1, silent_frames=3, max_frames=20)


@pytest.fixture(scope="module")
def networks() -> Networks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Networks(nano_config(SIZE_PX)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty steps, the last of them a broken one, and a validation."""
    out = tmp_path_factory.mktemp("run")
    with TrainingWatch(out, [talking_clip()], config=QUICK) as watch:
        for step in range(1, 20):
            watch.on_step(step_report(step, loss=1 / step))
        watch.on_step(step_report(20, grad_norm=math.nan))
        metrics = watch.on_validation(20, networks)
        (out / "told.json").write_text(json.dumps(dict(metrics)))
    return out


@pytest.fixture(scope="module")
def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / TENSORBOARD))
    found.Reload()
    return found


def test_losses_speed_and_memory_are_curves(events: EventAccumulator) -> None:
    curve = events.Scalars("completion/loss")
    assert [(point.step, round(point.value, 3)) for point in curve] == [(1, 1.0), (10, 0.1), (20, 1.0)]
    names = set(events.Tags()["scalars"])
    assert {"completion/points", "run/clips a second", "run/share of waiting for data", "run/peak memory, GB"} <= names


def test_validation_is_figures_and_pictures(events: EventAccumulator, folder: Path) -> None:
    metrics = json.loads((folder / "told.json").read_text())
    assert {"made.lips", "undubbed.lips", "made.correlation", "silent.closed", "lips_share"} <= set(metrics)
    assert metrics["lips_share"] == pytest.approx(metrics["made.lips"] / metrics["undubbed.lips"])
    assert events.Scalars("validation/lips_share")[0].value == pytest.approx(metrics["lips_share"], rel=1e-5)
    (name,) = events.Tags()["images"]
    assert events.Images(name)[0].step == 20
    assert len(list((folder / VALIDATION / "000000020").glob("*.jpg"))) == 1


def test_the_table_has_the_goals_and_each_clip(folder: Path) -> None:
    table = (folder / VALIDATION / "000000020" / "table.md").read_text()
    assert "| change outside the mask, of 255 | 0 | 0 | yes |" in table
    assert "/person-0" in table


def test_a_warning_is_a_line_a_text_and_a_log_entry(
    folder: Path, events: EventAccumulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = (folder / WARNINGS).read_text().splitlines()
    assert json.loads(line)["name"] == "not_a_number"
    assert any("not_a_number" in tag for tag in events.Tags()["tensors"])
    with TrainingWatch(tmp_path) as watch:
        watch.on_step(step_report(loss=math.nan))
    assert "not_a_number: stage completion, step 1" in caplog.text


def test_a_run_that_goes_on_takes_back_what_was_drawn_after_its_checkpoint(tmp_path: Path) -> None:
    for steps, loss in ((range(1, 31), 1.0), (range(11, 31), 2.0)):
        with TrainingWatch(tmp_path) as watch:
            for step in steps:
                watch.on_step(step_report(step, loss=loss))
    found = EventAccumulator(str(tmp_path / TENSORBOARD))
    found.Reload()
    assert [(p.step, p.value) for p in found.Scalars("completion/loss")] == [(1, 1.0), (10, 1.0), (20, 2.0), (30, 2.0)]


def test_a_model_that_has_diverged_is_told_of_and_does_not_end_the_run(tmp_path: Path) -> None:
    broken = Networks(nano_config(SIZE_PX)).eval()
    with torch.no_grad():
        next(broken.denoiser.parameters()).fill_(math.nan)
    with TrainingWatch(tmp_path, [talking_clip()], config=QUICK) as watch:
        assert watch.on_validation(5, broken) == {}
    assert json.loads((tmp_path / WARNINGS).read_text())["name"] == "not_a_number"


def test_people_who_are_held_out_are_found_and_their_lack_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = open_store(tmp_path / "held")
    talking_dataset(held, tmp_path, ("anna", "bert", "cleo"), PackConfig(val_share=0.0, test_share=0.3))
    dataset = open_dataset(held)
    assert {clip.key for clip in held_out_clips(dataset)} == set(dataset.keys("test"))
    none = open_store(tmp_path / "none")
    talking_dataset(none, tmp_path, ("anna", "bert"), PackConfig(val_share=0.0, test_share=0.0))
    assert held_out_clips(open_dataset(none)) == []
    assert "validation_impossible" in caplog.text


def test_a_run_without_held_out_clips_is_watched_all_the_same(tmp_path: Path, networks: Networks) -> None:
    with TrainingWatch(tmp_path) as watch:
        assert watch.on_validation(1, networks) == {}
    assert "Not validated yet" in told(tmp_path)


def test_the_artifact_has_the_newest_table_and_the_warnings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, str] = {}
    monkeypatch.setattr(
        artifact, "create_markdown_artifact", lambda markdown, **about: shown.update(about, text=markdown)
    )
    artifact.publish(folder)
    assert shown["key"] == "training"
    assert "Validation at step 20" in shown["text"]
    assert "**not_a_number**, completion step 20" in shown["text"]
