"""Where a training stands, shown by Prefect beside the flow run. Called by the flow, never by the training's worker."""

from __future__ import annotations

from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from flows.watching.watch import told

KEY = "training"


def publish(folder: Path) -> None:
    """Puts the run's newest validation and its warnings up as a markdown artifact."""
    create_markdown_artifact(told(folder), key=KEY, description=f"Training in {folder}")
