"""One training by one process and by two: the same losses, the same checkpoints, whoever goes on with them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.pipeline import DubbingPipeline
from model.training.clips import ListedClips
from model.training.config import STAGE_NAMES, TrainConfig
from model.training.loop import StepReport, train
from tests.support.clips import make_clip
from tests.support.ranks import on_ranks
from tests.support.states import state_in
from tests.unit.model.conftest import nano_training

STEPS = 4
"""Of each of the five stages."""


def config_of(**changed: object) -> TrainConfig:
    """Four clips a step; two frames in three of some are not seen, so processes differ in how much they have."""
    config = nano_training()
    stage = {"steps": STEPS, "clips": 4, "windows": 2, "rate": 1e-3, "warmup": 4}
    completion = config.model.completion.model_copy(update={"dropout": 0.0})
    stages = {name: config.stage(name).model_copy(update=stage) for name in STAGE_NAMES}
    # As in `compact`, a level that attends to nothing: weights of it take no part in any step.
    denoiser = config.model.denoiser.model_copy(update={"attention": (False, True)})
    model = config.model.model_copy(update={"completion": completion, "denoiser": denoiser})
    return config.model_copy(update={**stages, "model": model, "other_pose": 0.5, **changed})


def accumulating(parts: int) -> dict[str, object]:
    config = config_of()
    return {name: config.stage(name).model_copy(update={"accumulate": parts}) for name in STAGE_NAMES}


def clips() -> ListedClips:
    made = [make_clip(seed, frames=20, size=32) for seed in range(5)]
    for number in (1, 2):
        points = made[number].landmarks.points.copy()
        points[np.arange(20) % 3 > 0] = np.nan
        landmarks = dataclasses.replace(made[number].landmarks, points=points)
        made[number] = dataclasses.replace(made[number], landmarks=landmarks)
    return ListedClips(made, seed=5)


def trained(config: TrainConfig, out: Path, stop_after: int | None = None) -> None:
    """A run whose reports are beside it; stopped after so many steps."""
    losses: list[dict[str, float]] = []

    def on_step(report: StepReport) -> None:
        losses.append(dict(report.parts))

    def stop() -> bool:
        return stop_after is not None and len(losses) >= stop_after  # rank 0 alone hears of it

    train(config, clips(), out, on_step=on_step, should_stop=stop)
    if losses:
        with out.with_suffix(".jsonl").open("a") as stream:
            stream.writelines(json.dumps(parts) + "\n" for parts in losses)


def losses_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]


def on_two(folder: Path) -> None:
    """All that two processes are asked, in one pair of them: starting it takes longer than the work."""
    trained(config_of(), folder / "two")
    trained(config_of(**accumulating(2)), folder / "two_in_parts")
    trained(config_of(parallel="fsdp"), folder / "shared_out")
    trained(config_of(), folder / "handed_over", stop_after=10)
    trained(config_of(parallel="fsdp"), folder / "handed_over", stop_after=5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    trained(config_of(), folder / "one")
    trained(config_of(**accumulating(2)), folder / "one_in_parts")
    on_ranks(2, on_two, folder)
    trained(config_of(), folder / "handed_over")
    torch.set_num_threads(threads)
    return folder


@pytest.mark.parametrize("other", ["one_in_parts", "two", "two_in_parts", "shared_out", "handed_over"])
def test_however_it_is_worked_off_the_losses_are_the_same(runs: Path, other: str) -> None:
    """Two processes, steps in two parts, shared-out weights, and a run of one kind that another goes on with."""
    expected, found = losses_of(runs / "one"), losses_of(runs / other)
    assert len(found) == len(expected) == STEPS * len(STAGE_NAMES)
    for step, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert a == pytest.approx(b, abs=1e-5), f"step {step + 1}"


@pytest.mark.parametrize("other", ["one_in_parts", "two", "two_in_parts", "shared_out", "handed_over"])
def test_the_checkpoints_are_alike_and_hold_whole_tensors(runs: Path, other: str) -> None:
    a, b = (load_file(state_in(runs / name)) for name in ("one", other))
    assert {name: value.shape for name, value in a.items()} == {name: value.shape for name, value in b.items()}
    assert DubbingPipeline.from_pretrained(runs / other).trained == dict.fromkeys(STAGE_NAMES, STEPS)
