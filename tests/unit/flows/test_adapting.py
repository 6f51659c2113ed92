"""Whether a title is adapted, what the unit is named by, and the model that comes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from flows.adapting import AdaptConfig, adapt_unit, load_adapted, why_not
from flows.title import Voice
from flows.voice import read_voice
from model.adapt import AdaptSettings
from model.pipeline import DubbingPipeline
from preprocessing.audio.mel import MelSpectrogram
from preprocessing.faces.base import Heard
from shards.commit import Ledger, Unit
from shards.errors import ObjectDamaged
from shards.store import Store, open_store
from tests.support.lessons import SHOT, Spoken, spoken_title

ANY = AdaptConfig(mode="always")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


@pytest.fixture
def voice(checkpoint: Path) -> Voice:
    return read_voice(str(checkpoint))


@pytest.fixture
def spoken(ledger: Ledger, tmp_path: Path) -> Spoken:
    return spoken_title(ledger, tmp_path / "one")


def unit_of(spoken: Spoken, voice: Voice, config: AdaptConfig = ANY) -> Unit:
    made = adapt_unit(spoken.title, voice, spoken.analysis, spoken.receipt, config)
    assert made is not None
    return made


def reason(spoken: Spoken, voice: Voice, config: AdaptConfig) -> str | None:
    """Of there being no unit, which both doors agree on."""
    told = why_not(spoken.title, spoken.analysis, spoken.receipt, config)
    unit = adapt_unit(spoken.title, voice, spoken.analysis, spoken.receipt, config)
    assert (unit is None) == (told is not None)
    return told


# -- which titles ------------------------------------------------------------------------------------------------------


def test_a_title_is_adapted_unless_it_is_off(spoken: Spoken, voice: Voice) -> None:
    assert reason(spoken, voice, ANY) is None
    assert reason(spoken, voice, AdaptConfig(mode="off")) == "adapting is off"


def test_auto_asks_for_speech_of_one_person(spoken: Spoken, ledger: Ledger, voice: Voice, tmp_path: Path) -> None:
    assert reason(spoken, voice, AdaptConfig(least_speech_s=9.9)) is None
    assert reason(spoken, voice, AdaptConfig(least_speech_s=10.1)) is not None
    two = spoken_title(ledger, tmp_path / "two", identities=["a", "b", "a", "b", "a"])
    told = reason(two, voice, AdaptConfig(least_speech_s=9.9))
    assert told == "nobody is seen speaking for more than 6 s; `auto` asks for 10 s"
    assert reason(two, voice, ANY) is None


@pytest.mark.parametrize("config", [ANY, AdaptConfig(least_speech_s=0)])
def test_a_title_in_which_nobody_is_seen_speaking_is_left(
    spoken: Spoken, ledger: Ledger, voice: Voice, tmp_path: Path, config: AdaptConfig
) -> None:
    unheard = dataclasses.replace(spoken, analysis=dataclasses.replace(spoken.analysis, heard=None))
    silent = spoken_title(ledger, tmp_path / "silent", voice=0.0)
    unknown = [np.full(SHOT, np.nan, np.float32)] * 5
    off_screen = spoken_title(ledger, tmp_path / "off", speaking=unknown)
    for each in (unheard, silent, off_screen):
        assert reason(each, voice, config) == "nobody is seen speaking in the title's own sound"


# -- what is learned from ----------------------------------------------------------------------------------------------


def test_rows_in_which_somebody_else_speaks_are_not_learned_from(ledger: Ledger, voice: Voice, tmp_path: Path) -> None:
    part = np.ones(SHOT, np.float32)
    part[10:20] = 0.2
    listening = np.zeros(SHOT, np.float32)
    barely = np.zeros(SHOT, np.float32)
    barely[:20] = 1
    spoken = spoken_title(ledger, tmp_path / "film", 4, speaking=[np.ones(SHOT, np.float32), part, listening, barely])
    assert [clip["rows"] for clip in unit_of(spoken, voice).payload["clips"]] == [[[0, 50]], [[0, 10], [20, 50]]]


def test_pauses_are_learned_from_whoever_is_seen(ledger: Ledger, voice: Voice, tmp_path: Path) -> None:
    half = np.repeat(np.array([1, 0], np.float32), [30, 20])
    spoken = spoken_title(ledger, tmp_path / "film", 1, speaking=[half])
    heard = Heard(voice=half, speaking=(half,))
    spoken = dataclasses.replace(spoken, analysis=dataclasses.replace(spoken.analysis, heard=heard))
    assert [clip["rows"] for clip in unit_of(spoken, voice).payload["clips"]] == [[[0, 50]]]


def test_a_long_title_is_read_in_part_and_all_over(spoken: Spoken, voice: Voice) -> None:
    keys = [clip["key"] for clip in unit_of(spoken, voice).payload["clips"]]
    assert len(keys) == 5
    some = unit_of(spoken, voice, ANY.model_copy(update={"most_s": 6.5})).payload["clips"]
    assert [clip["key"] for clip in some] == [keys[0], keys[2], keys[4]]


# -- its name ----------------------------------------------------------------------------------------------------------


def test_every_language_of_a_title_shares_the_unit(spoken: Spoken, voice: Voice) -> None:
    row = spoken.title.row.model_copy(update={"language": "fr", "output": "fr.mp4", "seed": 7})
    other = dataclasses.replace(spoken.title, row=row, audio_sha256="f" * 64)
    assert unit_of(dataclasses.replace(spoken, title=other), voice) == unit_of(spoken, voice)


def test_how_long_somebody_must_speak_does_not_change_the_unit(spoken: Spoken, voice: Voice) -> None:
    assert unit_of(spoken, voice, AdaptConfig(least_speech_s=1)) == unit_of(spoken, voice)


def test_where_the_model_lies_does_not_change_its_name(spoken: Spoken, voice: Voice) -> None:
    moved = unit_of(spoken, dataclasses.replace(voice, checkpoint="/elsewhere"))
    assert moved.unit_id == unit_of(spoken, voice).unit_id
    assert moved.payload["checkpoint"] == "/elsewhere"


@pytest.mark.parametrize(
    "config",
    [AdaptConfig(mode="always", seed=1), AdaptConfig(mode="always", how=AdaptSettings(steps=7))],
)
def test_another_way_of_learning_is_another_unit(spoken: Spoken, voice: Voice, config: AdaptConfig) -> None:
    assert unit_of(spoken, voice, config).unit_id != unit_of(spoken, voice).unit_id


def test_another_title_voice_or_feature_is_another_unit(
    spoken: Spoken, ledger: Ledger, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = unit_of(spoken, voice).unit_id
    assert unit_of(spoken_title(ledger, tmp_path / "other"), voice).unit_id != mine
    assert unit_of(spoken, dataclasses.replace(voice, digest="e" * 64)).unit_id != mine
    monkeypatch.setattr(MelSpectrogram, "version", "newer")
    assert unit_of(spoken, voice).unit_id != mine


# -- the model with it -------------------------------------------------------------------------------------------------


def kept(store: Store, folder: Path, weights: dict[str, torch.Tensor]) -> str:
    path = folder / "weights"
    safetensors.torch.save_file(weights, path)
    store.put_file("objects/aa/weights.safetensors", path)
    return "objects/aa/weights.safetensors"


def test_the_adapted_model_shares_the_large_networks(checkpoint: Path, store: Store, tmp_path: Path) -> None:
    pipe = DubbingPipeline.from_pretrained(checkpoint)
    weights = {name: value + 1 for name, value in pipe.networks.completion.state_dict().items()}
    made = load_adapted(pipe, store, kept(store, tmp_path, weights))
    assert made.networks.denoiser is pipe.networks.denoiser
    assert made.networks.reference is pipe.networks.reference
    assert all(torch.equal(made.networks.completion.state_dict()[name], value) for name, value in weights.items())
    assert not torch.equal(pipe.networks.completion.unseen_D, made.networks.completion.unseen_D)
    assert made.digest != pipe.digest
    assert made.scheduler is pipe.scheduler


def test_what_is_no_completion_of_this_model_is_refused(checkpoint: Path, store: Store, tmp_path: Path) -> None:
    pipe = DubbingPipeline.from_pretrained(checkpoint)
    with pytest.raises(ObjectDamaged, match="not a completion of this model"):
        load_adapted(pipe, store, kept(store, tmp_path, {"other": torch.zeros(1)}))
    (tmp_path / "torn").write_bytes(b"torn")
    store.put_file("objects/bb/torn.safetensors", tmp_path / "torn")
    with pytest.raises(ObjectDamaged, match="not a completion of this model"):
        load_adapted(pipe, store, "objects/bb/torn.safetensors")
