"""The version of the code, as it enters unit ids and provenance: new code makes new units."""

from __future__ import annotations

from importlib import metadata

from shards.schema import SCHEMA_VERSION

STAGES = {"extract": 2, "analyse": 2, "render": 1, "master": 1}
"""Raised by hand when a stage's output changes for the same input; the release number alone would redo everything."""


def stage_version(stage: str) -> str:
    """What a unit of this stage is hashed with."""
    return f"{stage}-{STAGES[stage]}-schema-{SCHEMA_VERSION}"


def release() -> str:
    return f"dubwright {metadata.version('dubwright')}"
