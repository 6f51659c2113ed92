"""Model sizes, as a table. A preset is a function that returns a whole config; `preset(name)` looks it up."""

from __future__ import annotations

from collections.abc import Callable

from model.config import (
    AutoencoderConfig,
    CompletionConfig,
    DenoiserConfig,
    LandmarkCondition,
    ModelConfig,
)
from shards.errors import RequestError


def tiny() -> ModelConfig:
    """64 px: trains in minutes on one core; for tests and first tries."""
    return ModelConfig(
        name="tiny",
        condition=LandmarkCondition(crop_px=64),
        completion=CompletionConfig(width=64, layers=2, heads=4, feedforward=192),
        autoencoder=AutoencoderConfig(channels=(24, 48), latent_channels=8),
        denoiser=DenoiserConfig(channels=(32, 64, 64), head_dim=16, landmark_width=64),
    )


def compact() -> ModelConfig:
    """128 px: the default; trains on a laptop and dubs on one."""
    return ModelConfig(
        name="compact",
        condition=LandmarkCondition(features=("mel", "phones", "ear"), feature_dims=(80, 42, 96), crop_px=128),
        # Dropout, because the data at hand know few people; a wide overlap averages more guesses, and costs little.
        completion=CompletionConfig(
            width=192,
            layers=4,
            heads=4,
            feedforward=576,
            overlap_frames=20,
            spectrogram="columns",
            emphasis=1.4,
            dropout=0.25,
        ),
        autoencoder=AutoencoderConfig(channels=(32, 64), latent_channels=8),
        # No TalkFormer at 32 x 32 cells: most of the cost is there.
        denoiser=DenoiserConfig(channels=(40, 80, 120), attention=(False, True, True), head_dim=20, landmark_width=80),
    )


def base() -> ModelConfig:
    """256 px, as large as Stable Diffusion 1.5: the paper's ground."""
    return ModelConfig(
        name="base",
        condition=LandmarkCondition(crop_px=256),
        completion=CompletionConfig(),
        autoencoder=_stable_diffusion_autoencoder(),
        denoiser=DenoiserConfig(
            channels=(320, 640, 1280, 1280),
            blocks=2,
            attention=(True, True, True, False),
            head_dim=64,
            landmark_width=512,
            norm_groups=32,
            num_references=4,
        ),
    )


def large() -> ModelConfig:
    """512 px: for film and television."""
    at_256 = base()
    return at_256.model_copy(
        update={
            "name": "large",
            "condition": LandmarkCondition(crop_px=512),
            # 64^2 cells look at 4 x 64^2 reference cells: too dear at the finest level.
            "denoiser": at_256.denoiser.model_copy(update={"attention": (False, True, True, True)}),
        }
    )


def _stable_diffusion_autoencoder() -> AutoencoderConfig:
    return AutoencoderConfig(
        kind="kl",
        channels=(128, 256, 512, 512),
        blocks=2,
        norm_groups=32,
        latent_scale=0.18215,
    )


PRESETS: dict[str, Callable[[], ModelConfig]] = {"tiny": tiny, "compact": compact, "base": base, "large": large}


def preset(name: str) -> ModelConfig:
    """The config of that name; refuses an unknown one."""
    if name not in PRESETS:
        raise RequestError("unknown preset", field="preset", value=name, choices=PRESETS)
    return PRESETS[name]()
