"""The version of the code, as it enters unit ids and provenance: new code makes new units."""

from __future__ import annotations

from importlib import metadata

from flows.sync_expert import pinned_expert
from preprocessing.audio.base import feature_version
from preprocessing.config import PreprocessConfig
from preprocessing.landmarks.base import landmark_backend
from shards.schema import SCHEMA_VERSION

STAGES = {"extract": 4, "analyse": 5, "adapt": 2, "render": 3, "picture": 1, "master": 2}
"""Raised by hand when a stage's output changes for the same input; the release number alone would redo everything."""


def stage_version(stage: str) -> str:
    """What a unit of this stage is hashed with."""
    return f"{stage}-{STAGES[stage]}-schema-{SCHEMA_VERSION}"


def pinned(config: PreprocessConfig) -> tuple[PreprocessConfig, str]:
    """The config with what `auto` and places stand for here, and `name@version` of the tools that it leaves open.

    Every machine of a run is given the same landmark backend and the same sync expert; points or feature columns of
    another version are another result.
    """
    faces = config.faces
    backend = landmark_backend(faces.backend, max_faces=faces.max_faces, detector=faces.detector)
    chosen = faces.model_copy(update={"backend": backend.name})
    tools = [f"{backend.name}@{backend.version}"]
    tools += [f"{name.partition('@')[0]}@{feature_version(name)}" for name in config.audio.features]
    return config.model_copy(update={"faces": chosen, "sync": pinned_expert(config)}), " ".join(tools)


def release() -> str:
    return f"dubwright {metadata.version('dubwright')}"
