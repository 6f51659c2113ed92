"""The voice: what of a checkpoint results depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import voice
from flows.voice import read_voice, shipped_checkpoint
from flows.workers.render import RenderWorker
from model.networks import Networks
from model.pipeline import DubbingPipeline
from preprocessing.audio.mel import MelSpectrogram
from shards.errors import RequestError
from shards.store import open_store
from tests.support.models import nano_checkpoint, nano_config


def test_a_voice_knows_what_its_checkpoint_was_made_for(checkpoint: Path) -> None:
    found = read_voice(str(checkpoint))
    assert (found.crop_px, found.window, found.topology, found.features) == (
        32,
        "lower_face",
        "mediapipe131",
        ("mel",),
    )
    assert found.description.startswith("nano (32 px), untrained; noise; for tests only; digest ")
    assert found.digest[:12] in found.description


def test_a_voice_leads_to_its_checkpoint_from_any_folder(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    assert read_voice(checkpoint.name).checkpoint == str(checkpoint)


def test_other_weights_are_another_voice(checkpoint: Path, tmp_path: Path) -> None:
    assert read_voice(str(nano_checkpoint(tmp_path / "other", seed=1))).digest != read_voice(str(checkpoint)).digest
    assert read_voice(str(nano_checkpoint(tmp_path / "same"))).digest == read_voice(str(checkpoint)).digest


def trained_on(folder: Path, version: str) -> Path:
    """A checkpoint that names the version of the mel it was trained on."""
    config = nano_config()
    condition = config.condition.model_copy(update={"feature_versions": (version,)})
    networks = Networks(config.model_copy(update={"condition": condition}))
    DubbingPipeline.from_networks(networks).save_pretrained(folder)
    return folder


def test_a_checkpoint_of_the_features_that_are_installed_speaks_and_one_of_others_is_refused(tmp_path: Path) -> None:
    installed = MelSpectrogram.version
    assert read_voice(str(trained_on(tmp_path / "same", installed))).features == ("mel",)
    with pytest.raises(RequestError, match=rf"feature_versions\[mel\].*'older'.*{installed}"):
        read_voice(str(trained_on(tmp_path / "other", "older")))


def test_a_machine_with_other_features_than_the_planner_s_refuses_to_render(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    worker = RenderWorker(store.uri, str(trained_on(tmp_path / "other", "older")))
    with pytest.raises(RequestError, match=r"feature_versions\[mel\]"):
        worker.setup()


def test_a_folder_that_is_not_there_or_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"`--checkpoint`: no such checkpoint folder"):
        read_voice(str(tmp_path / "absent"))
    with pytest.raises(RequestError, match="no model here"):
        read_voice(str(tmp_path))


def test_an_installation_without_a_checkpoint_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "SHIPPED", "not shipped")
    with pytest.raises(RequestError, match="ships no checkpoint; name one"):
        shipped_checkpoint()
