"""Every knob of the networks. Frozen, and a misspelt one is refused; how they are trained is `training/config.py`.

`LandmarkCondition` is the part that data must agree with: a checkpoint refuses clips of another condition by name.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.errors import CheckpointMismatch
from shards.crop import crop_window
from shards.schema import ClipSample
from shards.topology import topology


class Config(BaseModel):
    """The base of this room's configs."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LandmarkCondition(Config):
    """What a clip must be for this model."""

    topology: str = Field("mediapipe131", description="landmark layout; see shards/topology.py")
    features: tuple[str, ...] = Field(("mel",), min_length=1, description="audio features, in this order")
    feature_dims: tuple[int, ...] = Field((80,), description="channels of each feature")
    crop_px: int = Field(128, ge=16, multiple_of=8, description="side of the face crop")
    window: str = Field("lower_face", description="what the crop shows; see shards/crop.py")

    @model_validator(mode="after")
    def _known(self) -> Self:
        topology(self.topology)
        crop_window(self.window)
        if len(self.features) != len(self.feature_dims):
            raise ValueError("feature_dims has one entry per feature")
        return self

    @property
    def audio_dim(self) -> int:
        return sum(self.feature_dims)

    def check(
        self,
        *,
        topology: str | None = None,
        features: tuple[str, ...] | None = None,
        window: str | None = None,
        crop_px: int | None = None,
    ) -> None:
        """Refuses data of another condition; what is None is not asked. Extra features do no harm."""
        for field, given in (("topology", topology), ("window", window), ("crop_px", crop_px)):
            if given is not None and given != getattr(self, field):
                raise CheckpointMismatch.between(field, checkpoint=getattr(self, field), given=given)
        if features is not None and not set(self.features) <= set(features):
            raise CheckpointMismatch.between("features", checkpoint=self.features, given=features)

    def check_sample(self, sample: ClipSample) -> None:
        """Refuses a clip of another condition."""
        self.check(
            topology=sample.landmarks.topology_name,
            features=tuple(f.name for f in sample.features),
            window=sample.transform.window.name,
            crop_px=sample.frames.shape[1],
        )
        for name, dim in zip(self.features, self.feature_dims, strict=True):
            if (given := sample.feature(name).values.shape[1]) != dim:
                raise CheckpointMismatch.between(f"feature_dims[{name}]", checkpoint=dim, given=given)


class CompletionConfig(Config):
    """Audio + pose + references -> lips and jaw."""

    width: int = Field(512, description="d, channels of a token")
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    feedforward: int = Field(1024, description="hidden channels of the feed-forward part")
    window_frames: int = Field(25, ge=5, description="frames seen at once, at 25 Hz")
    overlap_frames: int = Field(10, ge=1, description="frames over which neighbouring windows are cross-faded")
    audio_columns: int = Field(16, ge=1, description="feature columns around each frame")
    num_references: int = Field(5, ge=1, description="N, full faces that show how this person's mouth moves")
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.overlap_frames >= self.window_frames:
            raise ValueError("overlap_frames is less than window_frames")
        return self


class AutoencoderConfig(Config):
    """Pixels <-> latents."""

    kind: Literal["light", "kl"] = Field("light", description="ours, 4 px a cell; or diffusers' AutoencoderKL")
    channels: tuple[int, ...] = Field((24, 48), description="light: at 2 and at 4 px a cell; kl: per level")
    blocks: int = Field(1, ge=1, description="residual blocks per level")
    latent_channels: int = Field(4, ge=1)
    norm_groups: int = Field(8, ge=1)
    source: str | None = Field(None, description="kl: local folder of published weights")
    latent_scale: float = Field(1.0, gt=0, description="latents are multiplied by this, until stage 0 measures it")
    train_noise: float = Field(0.02, ge=0, description="noise on the latent in stage 0, as a share of its spread")

    @model_validator(mode="after")
    def _light_has_two_levels(self) -> Self:
        if self.kind == "light" and len(self.channels) != 2:
            raise ValueError("a light autoencoder has two entries in channels")
        return self

    @property
    def factor(self) -> int:
        """Pixels per latent cell along a side."""
        return 4 if self.kind == "light" else int(2 ** (len(self.channels) - 1))


class DenoiserConfig(Config):
    """The U-Net over latents and what it is told."""

    channels: tuple[int, ...] = Field((64, 128, 192), min_length=1, description="per level, each half the side")
    blocks: int = Field(1, ge=1, description="residual blocks per level")
    attention: tuple[bool, ...] = Field((True, True, True), description="TalkFormer at this level")
    head_dim: int = Field(32, multiple_of=4)
    landmark_width: int = Field(128, description="channels of a landmark token")
    norm_groups: int = Field(8, ge=1)
    num_references: int = Field(2, ge=1, description="R, pictures the appearance is read from")
    motion_attention: bool = Field(True, description="cross-attention to the target landmarks")
    appearance_attention: bool = Field(True, description="cross-attention to the reference features")
    landmarks: Literal["full", "content"] = Field("full", description="all points, or lips and jaw alone")
    landmark_map: bool = Field(False, description="also draw lips and jaw into the input, through a zero convolution")

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.attention) != len(self.channels):
            raise ValueError("attention has one entry per level")
        if wrong := [c for c in self.channels if c % self.head_dim or c % self.norm_groups]:
            raise ValueError(f"channels {wrong} are not divisible by head_dim and norm_groups")
        return self


class DiffusionConfig(Config):
    """The forward process and how it is run backwards."""

    num_steps: int = Field(1000, ge=10)
    beta_start: float = Field(0.00085, gt=0)
    beta_end: float = Field(0.012, gt=0)
    prediction: Literal["v_prediction", "epsilon", "sample"] = "v_prediction"
    sampler: Literal["ddim", "dpmsolver++"] = "ddim"


class ModelConfig(Config):
    """The whole model."""

    name: str
    condition: LandmarkCondition
    completion: CompletionConfig
    autoencoder: AutoencoderConfig
    denoiser: DenoiserConfig
    diffusion: DiffusionConfig = DiffusionConfig()

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        step = self.autoencoder.factor * 2 ** (len(self.denoiser.channels) - 1)
        if self.condition.crop_px % step:
            raise ValueError(f"crop_px {self.condition.crop_px} is not divisible by {step}")
        return self

    @property
    def latent_px(self) -> int:
        """Side of the latent picture."""
        return self.condition.crop_px // self.autoencoder.factor
