"""The ear against transformers' Whisper with the same weights, its clock, and weights that cannot be read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocessing.audio import ear, ear_network
from preprocessing.audio.base import audio_feature
from preprocessing.audio.ear import Ear, load_ear
from preprocessing.audio.ear_network import HEADS, MEL_WINDOW, WIDTH, EarNetwork, log_mel
from preprocessing.errors import ToolMissing
from shards.schema import F32, Speech
from tests.support.spoken import spoken

COLUMNS = 400
_THEIRS = {
    "before_attention": "self_attn_layer_norm",
    "before_feedforward": "final_layer_norm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attended": "self_attn.out_proj",
    "widen": "fc1",
    "narrow": "fc2",
    "first": "conv1",
    "second": "conv2",
}


@pytest.fixture(scope="module")
def network() -> EarNetwork:
    network = load_ear()
    assert isinstance(network, EarNetwork)
    return network


@pytest.fixture(scope="module")
def hearing() -> Ear:
    feature = audio_feature("ear")
    assert isinstance(feature, Ear)
    feature.setup()
    return feature


def sound(seconds: float = 8.0) -> F32:
    """Speech and silence, at most so long, as a window takes it: half a spectrum's window before the first column."""
    samples = spoken()[0].samples[: round(seconds * 16_000)].astype(np.float32) / 32768
    return np.pad(samples, (MEL_WINDOW // 2, 8 * 16_000 + MEL_WINDOW // 2 - len(samples)))


def test_the_spectrum_is_whispers() -> None:
    transformers = pytest.importorskip("transformers")
    reader = transformers.WhisperFeatureExtractor(chunk_length=8)
    given = sound()[MEL_WINDOW // 2 : -MEL_WINDOW // 2]
    theirs = reader(given, sampling_rate=16_000, return_tensors="np").input_features[0]
    ours = log_mel(sound(), 2 * COLUMNS)
    assert ours.shape == theirs.shape == (80, 2 * COLUMNS)
    # Theirs mirrors the sound at its ends, where ours hears what was there: the first column differs.
    np.testing.assert_allclose(ours[:, 2:-2], theirs[:, 2:-2], atol=1e-4)


def test_the_layers_are_whispers(network: EarNetwork) -> None:
    """The same weights in transformers' own encoder say the same."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=WIDTH,
        encoder_layers=len(network.layers),
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=ear_network.FEEDFORWARD,
        max_source_positions=COLUMNS,
    )
    theirs = WhisperEncoder(config).eval()
    renamed = {}
    for name, weight in network.state_dict().items():
        if not name.startswith("directions"):
            *layer, part, kind = name.split(".")
            renamed[".".join([*layer, _THEIRS[part], kind])] = weight
    missing, unexpected = theirs.load_state_dict(renamed, strict=False)
    assert not unexpected
    assert {name.rpartition(".")[0] for name in missing} == {"embed_positions", "layer_norm"}
    mel = torch.from_numpy(log_mel(sound(), 2 * COLUMNS))
    with torch.inference_mode():
        said = theirs(mel[None]).last_hidden_state[0]
        np.testing.assert_allclose(network.hidden(mel).numpy(), said.numpy(), atol=2e-3)


def test_a_channel_varies_by_about_one(hearing: Ear) -> None:
    values = hearing.extract(spoken()[0]).values
    assert values.shape[1] == hearing.dim == 96
    assert 0.5 < values.std() < 2


def test_a_click_is_in_its_column_in_whatever_window(hearing: Ear) -> None:
    noise = np.random.default_rng(0).normal(0, 300, 13 * 16_000)
    for at_s in (0.5, 3.98, 4.02, 9.3):
        clicked = noise.copy()
        clicked[round(at_s * 16_000)] = 30_000
        quiet, loud = (
            hearing.extract(Speech(samples=x.astype(np.int16), rate_hz=16_000, origin_s=Fraction(0))).values
            for x in (noise, clicked)
        )
        assert np.abs(loud - quiet).sum(axis=1).argmax() / 50 == pytest.approx(at_s, abs=0.04)


@pytest.mark.parametrize("content", [None, b"not weights at all"])
def test_weights_that_are_not_there_or_damaged_are_named(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / ear.WEIGHTS).write_bytes(content)
    monkeypatch.setattr(ear, "files", lambda _: tmp_path)
    with pytest.raises(ToolMissing, match="ear's weights cannot be read; install the package again"):
        audio_feature("ear").setup()
