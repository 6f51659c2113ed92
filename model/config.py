"""Every knob of the networks. Frozen, and a misspelt one is refused; how they are trained is `training/config.py`.

`LandmarkCondition` is the part that data must agree with: a checkpoint refuses clips of another condition by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from model.errors import CheckpointMismatch
from shards.crop import crop_window
from shards.schema import ClipSample
from shards.topology import topology

LATE = "late"
Value = TypeVar("Value")
Late = Annotated[Value, LATE]
"""A field younger than models and runs already saved: its default is what they were made with, and is not written
down, so that digests of old models and configs of old runs stay what they were."""


class Config(BaseModel):
    """The base of this room's configs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        late = {name: f.default for name, f in type(self).model_fields.items() if LATE in f.metadata}
        unsaid = {name for name, default in late.items() if getattr(self, name) == default}
        return {name: value for name, value in fields.items() if name not in unsaid}


class LandmarkCondition(Config):
    """What a clip must be for this model."""

    topology: str = Field("mediapipe131", description="landmark layout; see shards/topology.py")
    features: tuple[str, ...] = Field(("mel",), min_length=1, description="audio features, in this order")
    feature_dims: tuple[int, ...] = Field((80,), description="channels of each feature")
    feature_versions: Late[tuple[str, ...]] = Field(
        (), description="version of each feature it was trained on; none: not known, and any is taken"
    )
    crop_px: int = Field(128, ge=16, multiple_of=8, description="side of the face crop")
    window: str = Field("lower_face", description="what the crop shows; see shards/crop.py")

    @model_validator(mode="after")
    def _known(self) -> Self:
        topology(self.topology)
        crop_window(self.window)
        if len(self.features) != len(self.feature_dims):
            raise ValueError("feature_dims has one entry per feature")
        if self.feature_versions and len(self.features) != len(self.feature_versions):
            raise ValueError("feature_versions has one entry per feature, or none at all")
        return self

    def recording(self, sample: ClipSample) -> Self:
        """This condition with the versions of the features that the clip has."""
        self.check_sample(sample)
        return self.model_copy(
            update={"feature_versions": tuple(sample.feature(name).version for name in self.features)}
        )

    @property
    def dims(self) -> dict[str, int]:
        """Feature -> channels."""
        return dict(zip(self.features, self.feature_dims, strict=True))

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
        feature_versions: Mapping[str, str] | None = None,
    ) -> None:
        """Refuses data of another condition; what is None is not asked. Extra features do no harm."""
        for field, given in (("topology", topology), ("window", window), ("crop_px", crop_px)):
            if given is not None and given != getattr(self, field):
                raise CheckpointMismatch.between(field, checkpoint=getattr(self, field), given=given)
        if features is not None and not set(self.features) <= set(features):
            raise CheckpointMismatch.between("features", checkpoint=self.features, given=features)
        for name, version in zip(self.features, self.feature_versions, strict=bool(self.feature_versions)):
            if (given := (feature_versions or {}).get(name, version)) != version:
                raise CheckpointMismatch.between(f"feature_versions[{name}]", checkpoint=version, given=given)

    def check_sample(self, sample: ClipSample) -> None:
        """Refuses a clip of another condition."""
        self.check(
            topology=sample.landmarks.topology_name,
            features=tuple(f.name for f in sample.features),
            window=sample.transform.window.name,
            crop_px=sample.frames.shape[1],
            feature_versions={f.name: f.version for f in sample.features},
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
    spectrogram: Late[Literal["picture", "columns"]] = Field(
        "picture", description="convolutions over the mel in time and frequency, or in time alone: 3 times cheaper"
    )
    num_references: int = Field(5, ge=1, description="N, full faces that show how this person's mouth moves")
    emphasis: Late[float] = Field(
        1.0, ge=0, description="how far mouths open when they are drawn, of what completion says: see `emphasis.py`"
    )
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
    source: str | None = Field(None, description="kl: published weights; a folder, or hub:OWNER/NAME@REVISION")
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
    landmarks: Literal["full", "content", "audio"] = Field(
        "full", description="what motion attention reads: all points, lips and jaw alone, or audio and no landmarks"
    )
    landmark_map: bool = Field(False, description="also draw lips and jaw into the input, through a zero convolution")
    source: Late[str | None] = Field(None, description="file or folder of a Stable Diffusion U-Net to start from")
    temporal_attention: Late[bool] = Field(False, description="each cell also looks at itself in the frames around")

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.attention) != len(self.channels):
            raise ValueError("attention has one entry per level")
        if wrong := [c for c in self.channels if c % self.head_dim or c % self.norm_groups]:
            raise ValueError(f"channels {wrong} are not divisible by head_dim and norm_groups")
        if self.landmarks == "audio" and self.landmark_map:
            raise ValueError("landmark_map draws landmarks, and landmarks is 'audio'")
        return self


class DiffusionConfig(Config):
    """The forward process and how it is run backwards."""

    num_steps: int = Field(1000, ge=10)
    beta_start: float = Field(0.00085, gt=0)
    beta_end: float = Field(0.012, gt=0)
    prediction: Literal["v_prediction", "epsilon", "sample"] = "v_prediction"
    sampler: Literal["ddim", "dpmsolver++"] = "ddim"
    min_snr: Late[float | None] = Field(None, gt=0, description="gamma of min-SNR weighting; None: all t weigh 1")


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
