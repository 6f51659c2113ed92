from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.batch import ClipBatch, collate, windows
from model.networks import Networks
from model.training.config import STAGE_NAMES, TrainConfig
from model.training.stages import STAGES, JointStage, latent_mask
from shards.schema import ClipSample


@pytest.fixture
def batch(train_config: TrainConfig, clip: ClipSample) -> ClipBatch:
    return collate(windows(clip, 10, np.random.default_rng(0), train_config.model, count=2))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_stages_run_in_the_order_of_their_configs() -> None:
    assert tuple(STAGES) == STAGE_NAMES


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_the_same_generator_gives_the_same_loss(
    name: str, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    stage = STAGES[name](networks, train_config)
    a, b = stage.loss(batch, generator()), stage.loss(batch, generator())
    assert all(torch.equal(a[part], b[part]) for part in a)


@pytest.mark.parametrize("end_to_end", [True, False])
def test_the_diffusion_loss_reaches_completion_only_end_to_end(
    end_to_end: bool, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    stage = JointStage(networks, train_config.model_copy(update={"end_to_end": end_to_end}))
    stage.loss(batch, generator())["diffusion"].backward()
    reached = sum(float(p.grad.abs().sum()) for p in networks.completion.parameters() if p.grad is not None)
    assert (reached > 0) == end_to_end
    assert sum(float(p.grad.abs().sum()) for p in networks.denoiser.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_what_unseen_frames_hold_changes_no_loss(
    name: str, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    seen = batch.seen_BT.clone()
    seen[:, 3:] = False  # more pictures are asked for than are seen, so unseen ones take part
    config = train_config.model_copy(update={name: train_config.stage(name).model_copy(update={"frames": 6})})
    stage = STAGES[name](networks, config)
    frames, lm = batch.frames_BTCHW.clone(), batch.landmarks_BTP2.clone()
    frames[:, 3:], lm[:, 3:] = 0.5, 0.7
    if name == "autoencoder":  # the latent's spread, which scales the noise, is measured over all pictures
        config = config.model_copy(
            update={
                "model": config.model.model_copy(
                    update={"autoencoder": config.model.autoencoder.model_copy(update={"train_noise": 0.0})}
                )
            }
        )
        stage = STAGES[name](networks, config)
    a = stage.loss(replace(batch, seen_BT=seen), generator())
    b = stage.loss(replace(batch, seen_BT=seen, frames_BTCHW=frames, landmarks_BTP2=lm), generator())
    for part in a:
        torch.testing.assert_close(a[part], b[part])


def test_joint_trains_completion_more_slowly(train_config: TrainConfig, networks: Networks) -> None:
    stage = STAGES["joint"](networks, train_config)
    assert stage.rate_of("completion") == train_config.completion_rate < stage.rate_of("denoiser")


def test_a_cell_is_generated_when_any_of_its_pixels_is() -> None:
    mask = torch.zeros(8, 8)
    mask[3, 3] = 1
    assert latent_mask(mask, 2).tolist() == [[[1.0, 0.0], [0.0, 0.0]]]
