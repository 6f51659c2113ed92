"""The voice: what of a checkpoint results depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import voice
from flows.voice import read_voice, shipped_checkpoint
from shards.errors import RequestError
from tests.support.models import nano_checkpoint


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


def test_a_folder_that_is_not_there_or_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"`--checkpoint`: no such checkpoint folder"):
        read_voice(str(tmp_path / "absent"))
    with pytest.raises(RequestError, match="no model here"):
        read_voice(str(tmp_path))


def test_an_installation_without_a_checkpoint_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "SHIPPED", "not shipped")
    with pytest.raises(RequestError, match="ships no checkpoint; name one"):
        shipped_checkpoint()
