"""The learning rate of a step: it rises from 0, and falls along a cosine to the stage's floor."""

from __future__ import annotations

import math

from model.training.config import StageConfig


def rate_at(settings: StageConfig, step: int) -> float:
    """Of step `step`, counted from 0. A stage that is made longer while it runs falls more slowly from there on."""
    risen = min(1.0, (step + 1) / max(settings.warmup, 1))
    done = max(step - settings.warmup, 0) / max(settings.steps - settings.warmup, 1)
    left = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return settings.rate * risen * (settings.floor + (1 - settings.floor) * left)
