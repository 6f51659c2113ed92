"""A model of a few thousand weights, and clips it fits."""

from __future__ import annotations

import pytest
import torch

from model.config import AutoencoderConfig, CompletionConfig, DenoiserConfig, LandmarkCondition, ModelConfig
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.training.clips import ListedClips
from model.training.config import RefineConfig, StageConfig, TrainConfig
from shards.schema import ClipSample
from tests.support.clips import make_clip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small nets are slower on many threads, and sums are the same everywhere on one."""
    torch.set_num_threads(1)


def nano() -> ModelConfig:
    return ModelConfig(
        name="nano",
        condition=LandmarkCondition(crop_px=32),
        completion=CompletionConfig(
            width=16, layers=1, heads=2, feedforward=32, window_frames=10, overlap_frames=4, num_references=3
        ),
        autoencoder=AutoencoderConfig(channels=(8, 8), norm_groups=4),
        denoiser=DenoiserConfig(channels=(8, 16), attention=(True, True), head_dim=8, landmark_width=8, norm_groups=4),
    )


def nano_training() -> TrainConfig:
    stage = StageConfig(steps=3, rate=1e-3, clips=2, frames=2, warmup=2)
    return TrainConfig(
        model=nano(),
        autoencoder=stage,
        completion=stage,
        diffusion=stage,
        joint=stage,
        refine=RefineConfig(steps=3, rate=1e-3, clips=2, frames=4, warmup=2),
        checkpoint_every=100,
    )


@pytest.fixture
def config() -> ModelConfig:
    return nano()


@pytest.fixture
def train_config() -> TrainConfig:
    return nano_training()


@pytest.fixture
def clip() -> ClipSample:
    return make_clip(1, frames=24, size=32)


@pytest.fixture
def clips() -> ListedClips:
    return fresh_clips()


def fresh_clips() -> ListedClips:
    """Three clips, from the beginning of their row."""
    return ListedClips([make_clip(seed, frames=20, size=32) for seed in range(3)], seed=5)


def awake(networks: Networks) -> Networks:
    """The networks with nothing at zero any more: as if trained."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return networks


@pytest.fixture
def networks(config: ModelConfig) -> Networks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(Networks(config)).eval()


@pytest.fixture
def pipe(networks: Networks) -> DubbingPipeline:
    return DubbingPipeline.from_networks(networks, card={"data": "noise", "limits": "for tests only"})
