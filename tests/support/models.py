"""A checkpoint of a few thousand untrained weights, saved as any other is."""

from __future__ import annotations

from pathlib import Path

import torch

from model.config import AutoencoderConfig, CompletionConfig, DenoiserConfig, LandmarkCondition, ModelConfig
from model.networks import Networks
from model.pipeline import DubbingPipeline


def nano_config(crop_px: int = 32) -> ModelConfig:
    return ModelConfig(
        name="nano",
        condition=LandmarkCondition(crop_px=crop_px),
        completion=CompletionConfig(
            width=16, layers=1, heads=2, feedforward=32, window_frames=10, overlap_frames=4, num_references=3
        ),
        autoencoder=AutoencoderConfig(channels=(8, 8), norm_groups=4),
        denoiser=DenoiserConfig(channels=(8, 16), attention=(True, True), head_dim=8, landmark_width=8, norm_groups=4),
    )


def nano_checkpoint(folder: Path, seed: int = 0) -> Path:
    """A model in `folder`; another seed is another model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = Networks(nano_config())
    DubbingPipeline.from_networks(networks, card={"data": "noise", "limits": "for tests only"}).save_pretrained(folder)
    return folder
