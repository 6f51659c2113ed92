"""Versions enter unit ids."""

from __future__ import annotations

import pytest

from flows.version import STAGES, pinned, release, stage_version
from preprocessing.audio.encoders import Hubert
from preprocessing.audio.mel import MelSpectrogram
from preprocessing.config import AudioConfig, FaceConfig, PreprocessConfig
from shards.schema import SCHEMA_VERSION


def test_stages_have_versions_of_their_own_that_hold_the_schemas() -> None:
    versions = {stage_version(stage) for stage in STAGES}
    assert len(versions) == len(STAGES)
    assert all(version.endswith(f"schema-{SCHEMA_VERSION}") for version in versions)


def test_a_stage_that_was_changed_has_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_version("render")
    monkeypatch.setitem(STAGES, "render", STAGES["render"] + 1)
    assert stage_version("render") != before


def test_the_landmark_backend_is_named_with_its_version_and_auto_is_resolved() -> None:
    config, tools = pinned(PreprocessConfig())
    assert (config, tools.partition("@")[0]) == (PreprocessConfig(), "mediapipe")
    assert tools.partition("@")[2]
    chosen, _ = pinned(PreprocessConfig(faces=FaceConfig(backend="auto")))
    assert chosen.faces.backend in ("mediapipe", "face-alignment")


def test_features_are_named_with_their_versions_and_never_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    features = AudioConfig(features=("mel", "hubert-3f9a2c1b@/models/hubert"))
    _, before = pinned(PreprocessConfig(audio=features))
    monkeypatch.setattr(MelSpectrogram, "version", "newer")
    _, after = pinned(PreprocessConfig(audio=features))
    assert after.split()[1:] == ["mel@newer", f"hubert-3f9a2c1b@{Hubert.version}"]
    assert before != after


def test_a_release_has_a_number() -> None:
    name, number = release().split()
    assert name == "dubwright"
    assert number[0].isdigit()
