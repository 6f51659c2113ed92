"""How a model is trained: stages, rates, batches. What is trained is `model/config.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from model.config import Config, Late, ModelConfig
from model.loss import LossWeights
from model.presets import preset
from shards.errors import RequestError
from shards.selection import Selection

STAGE_NAMES = ("autoencoder", "completion", "diffusion", "joint", "refine")
"""In the order they run."""
NETWORKS = ("autoencoder", "completion", "reference", "denoiser")
"""The parts of a model that may be frozen."""


class StageConfig(Config):
    """One stage. A step takes `clips` clips, `windows` windows of each, and of each window `frames` pictures."""

    steps: int = Field(ge=0)
    rate: float = Field(gt=0, description="AdamW's learning rate after the warm-up")
    clips: int = Field(4, ge=1)
    windows: int = Field(1, ge=1)
    frames: int = Field(4, ge=1, description="pictures per window; completion always sees the whole window")
    warmup: int = Field(50, ge=0, description="steps over which the rate rises from 0")
    floor: Late[float] = Field(
        1.0, ge=0, le=1, description="share of the rate to which it falls along a cosine by the last step; 1: it stays"
    )
    accumulate: Late[int] = Field(
        1, ge=1, description="parts in which a process works off its clips of a step: less memory, the same gradient"
    )


class RefineConfig(StageConfig):
    """The joint stage judged in pixels. `frames` are consecutive here, and at least the sync expert's window."""

    steps: int = Field(0, ge=0)
    rate: float = Field(1e-5, gt=0, description="AdamW's learning rate after the warm-up")
    clips: int = Field(2, ge=1)
    frames: int = Field(16, ge=1, description="consecutive pictures per window")
    expert: str | None = Field(None, description="local folder of a sync expert; None: nobody judges the lips' timing")
    lpips: str | None = Field(None, description="local folder of LPIPS' weights; None: our own perceptual features")


class TrainConfig(Config):
    """A whole training run."""

    model: ModelConfig
    seed: int = 0
    selection: Selection = Field(Selection(), description="which clips of the dataset, and how often")
    readers: int = Field(0, ge=0, description="processes that read and decode ahead; 0: the training process itself")
    autoencoder: StageConfig
    completion: StageConfig
    diffusion: StageConfig
    joint: StageConfig
    refine: Late[RefineConfig] = Field(RefineConfig(), description="off: it costs several joint steps a step")
    end_to_end: bool = Field(True, description="the joint diffusion loss flows into completion: the paper's claim")
    completion_rate: float = Field(0.1, ge=0, description="in the joint stage, completion's rate as a share of its own")
    joint_noise: float = Field(0.7, gt=0, le=1, description="joint steps draw t below this share: low to middle noise")
    drop_condition: float = Field(0.1, ge=0, lt=1, description="share of items trained without each attention")
    weights: LossWeights = LossWeights()
    ema_decay: float = Field(0.999, ge=0, lt=1)
    grad_clip: float = Field(1.0, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    parallel: Late[Literal["ddp", "fsdp"]] = Field(
        "ddp", description="of several processes: each holds all weights, or each holds a share of what is trained"
    )
    compile: Late[bool] = Field(False, description="torch.compile of the denoiser: minutes at first, faster steps then")
    augment: Late[bool] = Field(False, description="completion hears other voices, and sees faces a little elsewhere")
    other_pose: Late[float] = Field(
        0.0,
        ge=0,
        le=1,
        description="share of completion's windows whose head moves as in another part of the clip, as in a dub",
    )
    start_from: Late[str | None] = Field(None, description="folder of a model whose weights this run begins with")
    frozen: Late[tuple[str, ...]] = Field((), description="networks that no stage trains, for fine-tuning")
    checkpointing: Late[bool] = Field(False, description="compute the denoiser twice to keep fewer activations")
    device: str = Field("cpu", description="cpu, cuda, cuda:1 ...")
    checkpoint_every: int = Field(500, ge=1, description="steps")
    keep_last: Late[int] = Field(2, ge=1, description="checkpoints kept; the newest may turn out damaged")
    validate_every: Late[int] = Field(0, ge=0, description="steps of all stages together; 0: never")
    best_by: Late[str | None] = Field(None, description="the metric of the validation that decides which model is best")
    best_is: Late[Literal["low", "high"]] = Field("low", description="which of two values of that metric is better")

    @model_validator(mode="after")
    def _asks_for_what_there_is(self) -> Self:
        if unknown := sorted(set(self.frozen) - set(NETWORKS)):
            raise ValueError(f"frozen: {', '.join(unknown)}: no such network; there are {', '.join(NETWORKS)}")
        if self.best_by is not None and not self.validate_every:
            raise ValueError(f"best_by: {self.best_by!r} is never measured; give validate_every")
        for name in STAGE_NAMES:
            if self.stage(name).accumulate > self.stage(name).clips:
                raise ValueError(f"{name}.accumulate: {self.stage(name).clips} clips cannot be cut into so many parts")
        return self

    def stage(self, name: str) -> StageConfig:
        found: StageConfig = getattr(self, name)
        return found

    def scaled(self, share: float) -> Self:
        """The same recipe with this share of every stage's steps; a stage that has steps keeps at least one."""
        if share <= 0:
            raise RequestError("a share of the steps is positive", field="share", value=share)
        stages = {name: self.stage(name) for name in STAGE_NAMES}
        fewer = {
            name: stage.model_copy(update={"steps": max(round(stage.steps * share), min(stage.steps, 1))})
            for name, stage in stages.items()
        }
        return self.model_copy(update=fewer)


FLOOR = 0.05
"""Of the rate, at the end of every stage of our recipes."""
WEIGHTS = LossWeights(closure=1.0, timing=0.05, spread=1.0)


def tiny_recipe() -> TrainConfig:
    """Under ten minutes on one core."""
    return TrainConfig(
        model=preset("tiny"),
        weights=WEIGHTS,
        autoencoder=StageConfig(steps=600, rate=2e-3, clips=2, frames=6, floor=FLOOR),
        completion=StageConfig(steps=600, rate=1e-3, clips=4, windows=2, floor=FLOOR),
        diffusion=StageConfig(steps=1200, rate=1e-3, clips=4, windows=1, frames=4, floor=FLOOR),
        joint=StageConfig(steps=200, rate=3e-4, clips=4, windows=1, frames=4, floor=FLOOR),
    )


def compact_recipe() -> TrainConfig:
    """Hours on a GPU, a night or two on a laptop."""
    return TrainConfig(
        model=preset("compact"),
        weights=WEIGHTS,
        augment=True,
        other_pose=1.0,
        autoencoder=StageConfig(steps=10_000, rate=1e-3, clips=4, frames=4, floor=FLOOR),
        completion=StageConfig(steps=20_000, rate=3e-4, clips=8, windows=2, floor=FLOOR),
        diffusion=StageConfig(steps=40_000, rate=5e-4, clips=4, windows=1, frames=4, warmup=500, floor=FLOOR),
        joint=StageConfig(steps=5_000, rate=1e-4, clips=4, windows=1, frames=4, warmup=200, floor=FLOOR),
    )


def base_recipe() -> TrainConfig:
    """For GPUs; the autoencoder comes from published weights."""
    return TrainConfig(
        model=preset("base"),
        weights=WEIGHTS,
        other_pose=1.0,
        autoencoder=StageConfig(steps=0, rate=1e-4),
        completion=StageConfig(steps=100_000, rate=1e-4, clips=32, windows=2, warmup=1000, floor=FLOOR),
        diffusion=StageConfig(steps=200_000, rate=1e-4, clips=16, frames=4, warmup=2000, floor=FLOOR),
        joint=StageConfig(steps=50_000, rate=3e-5, clips=8, frames=4, warmup=1000, floor=FLOOR),
        precision="bf16",
        device="cuda",
        ema_decay=0.9999,
    )


def large_recipe() -> TrainConfig:
    """As `base`, with fewer pictures a step."""
    at_256 = base_recipe()
    fewer = {"clips": 8, "frames": 2}
    return at_256.model_copy(
        update={
            "model": preset("large"),
            "diffusion": at_256.diffusion.model_copy(update=fewer),
            "joint": at_256.joint.model_copy(update=fewer),
        }
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "tiny": tiny_recipe,
    "compact": compact_recipe,
    "base": base_recipe,
    "large": large_recipe,
}


def recipe(name: str) -> TrainConfig:
    """The training config of the preset of that name; refuses an unknown one."""
    if name not in RECIPES:
        raise RequestError("unknown preset", field="preset", value=name, choices=RECIPES)
    return RECIPES[name]()
