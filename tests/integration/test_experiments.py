"""The paper's first three experiments as they are recorded, each with a few steps of a very small model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.training.config import recipe
from shards.pack import PackConfig
from shards.store import open_store
from tests.support.experiments import EXPERIMENTS, TOLD, Experiment, run, section
from tests.support.models import nano_config
from tests.support.talking import SIZE_PX, talking_dataset


def few_steps(experiment: Experiment) -> Experiment:
    return dataclasses.replace(experiment, steps={stage: {"steps": 1, "clips": 1} for stage in experiment.steps})


@pytest.fixture
def store(tmp_path: Path) -> str:
    opened = open_store(tmp_path / "store")
    talking_dataset(opened, tmp_path, ("anna", "bert", "cleo"), PackConfig(val_share=0.0, test_share=0.34))
    return opened.uri


def test_every_run_is_judged_by_people_held_out_and_once_is_enough(store: str, tmp_path: Path) -> None:
    weights, out = tmp_path / "weights", tmp_path / "out"
    DubbingPipeline.from_networks(Networks(nano_config(SIZE_PX))).save_pretrained(weights)
    base = recipe("tiny").model_copy(update={"model": nano_config(SIZE_PX), "other_pose": 1.0})
    how = {"base": base, "experiments": tuple(map(few_steps, EXPERIMENTS)), "weights": weights}
    told = run(store, out, **how, seeds=2, clips=1, frames=20)
    assert (out / TOLD).read_text() == told
    for experiment in EXPERIMENTS:
        (line,) = [line for line in told.splitlines() if line.startswith(f"| {experiment.name} |")]
        assert "| 2 |" in line
        assert " to " in line
    judged = {path: path.stat().st_mtime_ns for path in out.rglob("*.json") if path.name == "figures.json"}
    assert len(judged) == 2 * len(EXPERIMENTS)
    assert run(store, out, **how, seeds=2, clips=1, frames=20) == told
    assert judged == {path: path.stat().st_mtime_ns for path in judged}


def test_the_two_joint_runs_differ_in_nothing_but_what_they_are_about() -> None:
    base = recipe("compact")
    apart, whole = (e.config(base, 3, Path("weights")) for e in EXPERIMENTS if e.name.startswith("joint"))
    assert apart.model_copy(update={"end_to_end": True}) == whole
    assert (apart.end_to_end, whole.end_to_end) == (False, True)
    own, other = (e.config(base, 3, Path("weights")) for e in EXPERIMENTS if e.name.startswith("completion"))
    assert own.model_copy(update={"other_pose": 1.0}) == other
    assert own.start_from is None
    assert {name for name in ("diffusion", "joint", "refine") if own.stage(name).steps} == set()


def test_the_table_tells_the_mean_and_the_spread_over_seeds() -> None:
    figures = [{"lips": value, "correlation": 0.5, "speed": 0.9} for value in (0.04, 0.05, 0.06)]
    told = section({"joint, detached": figures, "as it ships": figures[:1]}, EXPERIMENTS, clips=7)
    assert told.startswith("7 clips of people who were not trained on")
    assert "| joint, detached | joint 60 | 3 | 0.05 (0.04 to 0.06) | 0.5 (0.5 to 0.5) | 0.9 (0.9 to 0.9) |" in told
    assert "| as it ships | none | 1 | 0.04 | 0.5 | 0.9 |" in told
