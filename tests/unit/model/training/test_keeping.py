from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.training.clips import ListedClips
from model.training.config import TrainConfig
from model.training.loop import StepReport, train
from shards.errors import RequestError
from tests.unit.model.conftest import fresh_clips


class Judge:
    """Gives the figures it is told, and remembers what it was shown."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.steps, self.weights = list(values), [], []

    def __call__(self, step: int, networks: Networks) -> dict[str, float]:
        assert not networks.training
        assert not any(p.requires_grad for p in networks.parameters())
        self.steps.append(step)
        self.weights.append({name: value.clone() for name, value in networks.state_dict().items()})
        torch.rand(3)  # the training's random numbers are not this one's business
        networks.half()
        return {"lmd": self.values.pop(0), "psnr": 20.0}


def judged(config: TrainConfig, **changed: object) -> TrainConfig:
    return config.model_copy(update={"validate_every": 4, "best_by": "lmd", **changed})


@pytest.mark.parametrize(("better", "best"), [("low", 2), ("high", 3)])
def test_the_best_model_is_kept_as_it_was_judged(
    better: str, best: int, train_config: TrainConfig, tmp_path: Path
) -> None:
    judge = Judge([0.5, 0.6, 0.2, 0.8, 0.5] if better == "high" else [0.5, 0.6, 0.2, 0.8, 0.4])
    result = train(judged(train_config, best_is=better), fresh_clips(), tmp_path, on_validation=judge)
    assert judge.steps == [4, 8, 12, 15]
    assert result.best == json.loads((tmp_path / "best" / "metrics.json").read_text())
    assert result.best["step"] == judge.steps[best]
    again = train(judged(train_config, best_is=better), fresh_clips(), tmp_path, on_validation=judge)
    assert (again.best, len(judge.steps)) == (result.best, 4)  # nothing new, so nothing is judged again
    kept = DubbingPipeline.from_pretrained(tmp_path / "best").networks.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in judge.weights[best].items())


def test_what_is_judged_is_the_running_mean_and_not_the_weights_under_training(
    train_config: TrainConfig, tmp_path: Path
) -> None:
    """In the middle of the last stage; at its end the mean takes the weights' place."""
    judge = Judge([0.5] * 9)
    config = judged(train_config, validate_every=14, checkpoint_every=2)
    train(config, fresh_clips(), tmp_path, on_validation=judge)
    assert judge.steps == [14, 15]
    [file] = (tmp_path / "states" / "000000014").glob("*.safetensors")
    state = load_file(file)
    means = {name.removeprefix("ema."): value for name, value in state.items() if name.startswith("ema.")}
    assert all(torch.equal(judge.weights[0][name], value) for name, value in means.items())
    assert any(not torch.equal(state[f"net.{name}"], value) for name, value in means.items())


def test_a_run_that_goes_on_remembers_the_best_and_judging_moves_no_weight(
    train_config: TrainConfig, tmp_path: Path
) -> None:
    plain = train(train_config, fresh_clips(), tmp_path / "plain")
    reports: list[StepReport] = []
    config, out = judged(train_config), tmp_path / "out"
    train(
        config,
        fresh_clips(),
        out,
        on_step=reports.append,
        on_validation=Judge([0.1]),
        should_stop=lambda: len(reports) == 6,
    )
    rest = train(config, fresh_clips(), out, on_validation=Judge([0.5] * 3))
    assert rest.best["step"] == 4
    assert rest.digest == plain.digest


def test_a_metric_that_is_no_number_is_never_the_best(train_config: TrainConfig, tmp_path: Path) -> None:
    result = train(judged(train_config), fresh_clips(), tmp_path, on_validation=Judge([float("nan")] * 4))
    assert result.best == {}
    assert not (tmp_path / "best").exists()


def test_a_metric_that_nobody_measures_is_refused(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="nobody validates this run"):
        train(judged(train_config), clips, tmp_path)
    with pytest.raises(RequestError, match=r"no such metric.*psnr"):
        train(judged(train_config, best_by="ssim"), clips, tmp_path, on_validation=Judge([0.1] * 4))
    with pytest.raises(ValidationError, match="is never measured; give validate_every"):
        TrainConfig.model_validate({**train_config.model_dump(), "best_by": "lmd"})
