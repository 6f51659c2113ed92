"""The training loop and what watches it, together: a tiny run leaves curves, pictures, a table and a best model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.evaluation.config import EvaluationConfig
from flows.watching.watch import TENSORBOARD, VALIDATION, TrainingWatch
from model.pipeline import DubbingPipeline
from model.training.clips import ListedClips, fitted
from model.training.config import StageConfig, TrainConfig
from model.training.loop import train
from tests.support.models import nano_config
from tests.support.talking import SIZE_PX, talking_clip

STAGE = StageConfig(steps=2, rate=1e-3, clips=1, frames=2, warmup=1)


def test_a_run_is_validated_as_it_goes_and_keeps_its_best(tmp_path: Path) -> None:
    config = TrainConfig(
        model=nano_config(SIZE_PX),
        autoencoder=STAGE.model_copy(update={"steps": 0}),
        completion=STAGE,
        diffusion=STAGE,
        joint=STAGE.model_copy(update={"steps": 0}),
        validate_every=2,
        best_by="lips_share",
    )
    clip, out = talking_clip(), tmp_path / "model"
    with TrainingWatch(out, [clip], config=EvaluationConfig(steps=1, silent_frames=3, max_frames=20)) as watch:
        train(
            fitted(config, clip),
            ListedClips([clip]),
            out,
            on_step=watch.on_step,
            on_validation=watch.on_validation,
        )
    assert [path.name for path in sorted((out / VALIDATION).iterdir())] == ["000000002", "000000004"]
    shares = [
        json.loads(path.read_text())["metrics"]["lips_share"] for path in out.glob(f"{VALIDATION}/*/metrics.json")
    ]
    best = json.loads((out / "best" / "metrics.json").read_text())
    assert best["value"] == pytest.approx(min(shares))
    assert DubbingPipeline.from_pretrained(out / "best").condition.crop_px == SIZE_PX
    assert list((out / TENSORBOARD).glob("events.out.tfevents.*"))
