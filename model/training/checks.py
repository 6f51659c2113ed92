"""What is refused before the first step, because it would fail or be pointless hours later."""

from __future__ import annotations

from model.training.config import STAGE_NAMES, TrainConfig
from model.training.world import World
from shards.errors import RequestError


def first_stage(config: TrainConfig) -> str:
    """The first that is trained."""
    for name in STAGE_NAMES:
        if config.stage(name).steps:
            return name
    raise RequestError("no stage has any steps", field="steps", value=0)


def need_enough_clips(config: TrainConfig, world: World) -> None:
    """Of every stage: each process has some clips of each step, and of each part in which it works them off."""
    for name in STAGE_NAMES:
        settings = config.stage(name)
        least = world.size * settings.accumulate
        if settings.steps and settings.clips < least:
            parts = f", in {settings.accumulate} parts each," if settings.accumulate > 1 else ""
            message = f"{world.size} processes{parts} need {least} clips a step at least"
            raise RequestError(message, field=f"{name}.clips", value=settings.clips)
