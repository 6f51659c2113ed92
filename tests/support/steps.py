"""Reports of optimiser steps, made by hand."""

from __future__ import annotations

from typing import Any

from model.training.loop import StepReport


def step_report(step: int = 1, **changes: Any) -> StepReport:
    """A step with which nothing is wrong."""
    usual: dict[str, Any] = {
        "stage": "completion",
        "step": step,
        "steps": 1000,
        "total_step": step,
        "total_steps": 1000,
        "loss": 1.0,
        "parts": {"points": 1.0},
        "rate": 1e-3,
        "seconds": 0.1,
        "samples_per_s": 40.0,
        "waited_s": 0.001,
        "computed_s": 0.099,
        "grad_norm": 0.5,
        "peak_bytes": 1_000_000_000,
    }
    return StepReport(**{**usual, **changes})
