"""Finds the state that a run would go on from, for tests that look into it or damage it."""

from __future__ import annotations

from pathlib import Path


def state_in(out: Path) -> Path:
    """The file of the newest state."""
    [file] = sorted((out / "states").iterdir())[-1].glob("*.safetensors")
    return file
