"""Encoders with random weights through the real loading code: what is refused, and windows that join."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from preprocessing.audio.base import ENCODERS, audio_feature
from preprocessing.audio.encoders import SpeechEncoder, Whisper
from preprocessing.errors import ToolMissing
from shards.errors import RequestError
from shards.schema import AudioFeatures, Speech
from tests.support.encoders import save_tiny_encoder

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save_tiny_encoder(family, tmp_path_factory.mktemp(family)) for family in ENCODERS}


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for family in ENCODERS:
        monkeypatch.delenv(f"DUBWRIGHT_{family.upper()}", raising=False)


def opened(name: str) -> SpeechEncoder:
    encoder = audio_feature(name)
    assert isinstance(encoder, SpeechEncoder)
    encoder.setup()
    return encoder


def noise(seconds: float, click_s: float | None = None) -> Speech:
    samples = np.random.default_rng(0).normal(0, 300, round(seconds * RATE_HZ))
    if click_s is not None:
        samples[round(click_s * RATE_HZ)] = 30_000
    return Speech(samples=samples.astype(np.int16), rate_hz=RATE_HZ, origin_s=Fraction(0))


# -- names and weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ENCODERS)
def test_the_name_says_which_weights_and_not_where(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    here = opened(f"{family}@{folders[family]}").name
    copy = opened(f"{family}@{save_tiny_encoder(family, tmp_path / 'copy')}").name
    other = opened(f"{family}@{save_tiny_encoder(family, tmp_path / 'other', seed=1)}").name
    assert here.startswith(f"{family}-")
    assert len(here) == len(family) + 9
    assert here == copy != other


def test_the_environment_says_where_a_checkpoints_feature_lies(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = opened(f"hubert@{folders['hubert']}").name
    monkeypatch.setenv("DUBWRIGHT_HUBERT", str(folders["hubert"]))
    assert opened(recorded).extract(noise(0.5)).name == recorded


def test_other_weights_than_the_checkpoints_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match=r"another model's.*hubert-00000000"):
        opened(f"hubert-00000000@{folders['hubert']}")


def test_a_folder_that_is_not_there_is_named_and_what_belongs_into_it(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=r"preprocessor_config.json and \*.safetensors of a hubert.*nowhere"):
        opened(f"hubert@{tmp_path / 'nowhere'}")


def test_a_name_on_the_hub_is_not_fetched_offline() -> None:
    with pytest.raises(ToolMissing, match=r"HF_HUB_OFFLINE=0.*nobody/hubert-none"):
        opened("hubert@nobody/hubert-none")


@pytest.mark.parametrize("lost", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_missing_file_is_named(lost: str, tmp_path: Path) -> None:
    folder = save_tiny_encoder("wavlm", tmp_path)
    (folder / lost).unlink()
    wanted = "safetensors" if lost.startswith("model") else lost
    with pytest.raises(ToolMissing, match=f"{tmp_path}.*no .*{wanted}"):
        opened(f"wavlm@{folder}")


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = save_tiny_encoder("hubert", tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ToolMissing, match="pickled weights, which are never read"):
        opened(f"hubert@{folder}")


def test_another_familys_weights_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match="weights of a wavlm"):
        opened(f"hubert@{folders['wavlm']}")


def test_weights_with_tensors_missing_are_refused_and_not_made_up(tmp_path: Path) -> None:
    folder = save_tiny_encoder("hubert", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ToolMissing, match=r"lack \d+ tensors: encoder.layers.2"):
        opened(f"hubert@{folder}")


# -- windows -----------------------------------------------------------------------------------------------------------


def windowed(encoder: SpeechEncoder, speech: Speech, *, core: int, context: int) -> AudioFeatures:
    """The speech in windows of another length."""
    before = encoder.core, encoder.context
    encoder.core, encoder.context = core, context
    try:
        return encoder.extract(speech)
    finally:
        encoder.core, encoder.context = before


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
@pytest.mark.parametrize("click_s", [1.5, 2.013, 2.9])
def test_a_click_is_in_the_same_column_in_windows_and_in_one_piece(
    family: str, click_s: float, folders: dict[str, Path]
) -> None:
    encoder = opened(f"{family}@{folders[family]}")
    places = []
    for core, context in ((500, 100), (40, 30)):
        quiet = windowed(encoder, noise(4.5), core=core, context=context)
        clicked = windowed(encoder, noise(4.5, click_s), core=core, context=context)
        assert len(clicked.values) == 226
        places.append(int(np.abs(clicked.values - quiet.values).sum(axis=1).argmax()))
    assert places[0] == places[1]
    assert places[0] / 50 == pytest.approx(click_s, abs=0.02)


def test_whispers_columns_stay_in_place_over_many_of_its_windows(folders: dict[str, Path]) -> None:
    encoder = opened(f"whisper@{folders['whisper']}")
    assert isinstance(encoder, Whisper)
    assert encoder.core + 2 * encoder.context == 100  # 2 s
    for click_s in (0.5, 3.02, 6.4):
        change = np.abs(encoder.extract(noise(7.0, click_s)).values - encoder.extract(noise(7.0)).values).sum(axis=1)
        assert int(change.argmax()) / 50 == pytest.approx(click_s, abs=0.02)


@pytest.mark.parametrize("family", ENCODERS)
def test_a_window_hears_what_comes_before_and_after_it(family: str, folders: dict[str, Path]) -> None:
    encoder = opened(f"{family}@{folders[family]}")
    seam = encoder.core
    plain, changed = (noise(seam / 50 + 1.0, click_s) for click_s in (None, (seam - 2) / 50))
    change = np.abs(encoder.extract(changed).values - encoder.extract(plain).values).sum(axis=1)
    # The click lies in the first window's columns; the first columns of the second window know of it.
    assert change[seam : seam + 3].max() > 0


def test_silence_between_two_stretches_of_speech_is_the_silence_column(folders: dict[str, Path]) -> None:
    encoder = opened(f"hubert@{folders['hubert']}")
    samples = np.concatenate([noise(1.0).samples, np.zeros(4 * RATE_HZ, np.int16), noise(1.0).samples])
    speech = Speech(samples=samples, rate_hz=RATE_HZ, origin_s=Fraction(0))
    found = windowed(encoder, speech, core=25, context=10)
    quiet = found.values[75:225]
    np.testing.assert_array_equal(quiet, np.broadcast_to(found.silence, quiet.shape))


def test_it_must_be_set_up_first(folders: dict[str, Path]) -> None:
    with pytest.raises(RuntimeError, match="before setup"):
        audio_feature(f"hubert@{folders['hubert']}").extract(noise(0.5))
