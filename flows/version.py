"""The version of the code, as it enters unit ids and provenance: new code makes new units."""

from __future__ import annotations

from importlib import metadata

from preprocessing.config import PreprocessConfig
from preprocessing.landmarks.base import landmark_backend
from shards.schema import SCHEMA_VERSION

STAGES = {"extract": 3, "analyse": 3, "render": 1, "master": 1}
"""Raised by hand when a stage's output changes for the same input; the release number alone would redo everything."""


def stage_version(stage: str) -> str:
    """What a unit of this stage is hashed with."""
    return f"{stage}-{STAGES[stage]}-schema-{SCHEMA_VERSION}"


def pinned(config: PreprocessConfig) -> tuple[PreprocessConfig, str]:
    """The config with the landmark backend that `auto` stands for here, and that backend's `name@version`.

    Every machine of a run is given the same backend, and points of another version are another result.
    """
    faces = config.faces
    backend = landmark_backend(faces.backend, max_faces=faces.max_faces, detector=faces.detector)
    chosen = faces.model_copy(update={"backend": backend.name})
    return config.model_copy(update={"faces": chosen}), f"{backend.name}@{backend.version}"


def release() -> str:
    return f"dubwright {metadata.version('dubwright')}"
