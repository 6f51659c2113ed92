from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from model.config import ModelConfig
from model.errors import CheckpointMismatch
from model.networks import Networks
from model.pretrained import load
from model.training.clips import ListedClips
from model.training.config import NETWORKS, TrainConfig
from model.training.fine import take_over
from model.training.loop import train
from shards.errors import RequestError
from tests.support.models import nano_checkpoint, nano_config


def changed(config: ModelConfig, part: str, **values: Any) -> ModelConfig:
    return config.model_copy(update={part: getattr(config, part).model_copy(update=values)})


def test_what_fits_is_taken_over_and_the_rest_is_told(tmp_path: Path) -> None:
    """A model with temporal attention and a wider completion begins with one that has neither."""
    folder = nano_checkpoint(tmp_path)
    config = changed(changed(nano_config(), "denoiser", temporal_attention=True), "completion", feedforward=48)
    networks = Networks(config)
    report = take_over(networks, str(folder))
    theirs, mine = load_file(folder / "model.safetensors"), networks.state_dict()
    assert {*report.matched, *report.reshaped, *report.missing} == mine.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in report.matched)
    assert report.missing
    assert all("temporal" in name for name in report.missing)
    assert report.reshaped
    assert all(name.startswith("completion.") for name in report.reshaped)
    assert report.unused == ()
    assert f"{len(report.matched)} tensors taken over, {len(report.missing)} missing (" in str(report)


def test_tensors_that_the_model_has_no_place_for_are_told(tmp_path: Path) -> None:
    folder = nano_checkpoint(tmp_path)
    small = Networks(changed(nano_config(), "denoiser", channels=(8,), attention=(True,)))
    assert any(name.startswith("denoiser.") for name in take_over(small, str(folder)).unused)


@pytest.mark.parametrize(
    ("values", "field"),
    [({"crop_px": 64}, "crop_px"), ({"topology": "ibug68"}, "topology"), ({"window": "face"}, "window")],
)
def test_a_model_of_other_data_is_refused_by_name(values: dict[str, Any], field: str, tmp_path: Path) -> None:
    networks = Networks(changed(nano_config(), "condition", **values))
    with pytest.raises(CheckpointMismatch, match=f"`{field}`"):
        take_over(networks, str(nano_checkpoint(tmp_path)))


def test_a_run_begins_with_the_weights_and_says_so(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = nano_checkpoint(tmp_path / "first", seed=8)
    config = train_config.model_copy(update={"start_from": str(folder)})
    with caplog.at_level(logging.INFO):
        train(config, clips, tmp_path / "out", should_stop=lambda: True)
    assert "tensors taken over" in caplog.text
    a, b = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "out"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_frozen_networks_do_not_move_and_the_others_do(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    """Fine-tuning the mouth's motion alone: the picture's networks are left as they were."""
    folder = nano_checkpoint(tmp_path / "first", seed=8)
    idle = train_config.autoencoder.model_copy(update={"steps": 0})
    config = train_config.model_copy(
        update={
            "start_from": str(folder),
            "frozen": ("autoencoder", "denoiser", "reference"),
            "autoencoder": idle,
            "diffusion": idle,
        }
    )
    train(config, clips, tmp_path / "out")
    a, b = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "out"))
    moved = {name.split(".")[0] for name in a if not torch.equal(a[name], b[name])}
    assert moved == {"completion"}


def test_a_stage_that_would_train_nothing_is_refused_before_the_first_step(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    config = train_config.model_copy(update={"frozen": ("denoiser", "reference")})
    with pytest.raises(RequestError, match="stage diffusion would train nothing"):
        train(config, clips, tmp_path / "out")


def test_a_network_that_is_none_cannot_be_frozen(train_config: TrainConfig) -> None:
    with pytest.raises(ValidationError, match="no such network; there are autoencoder"):
        TrainConfig.model_validate({**train_config.model_dump(), "frozen": ["denoizer"]})


def test_the_networks_that_may_be_frozen_are_those_of_a_model() -> None:
    assert [name for name, _ in Networks(nano_config()).named_children()] == list(NETWORKS)


def test_the_steps_of_the_weights_it_began_with_are_counted_on(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    first = train(train_config, clips, tmp_path / "first")
    again = train(train_config.model_copy(update={"start_from": str(tmp_path / "first")}), clips, tmp_path / "again")
    assert again.trained == {name: 2 * steps for name, steps in first.trained.items()}
    assert load(tmp_path / "again")[1].trained == again.trained
