"""The audio-feature door: names, and cuts out of a recording. What every feature keeps is tested in tests/contract."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from preprocessing.audio.base import audio_feature, extract_between, feature_version, stretch
from preprocessing.audio.mel import MelSpectrogram
from preprocessing.clip import ClipTools
from preprocessing.config import AudioConfig, PreprocessConfig
from shards.codec import decode_clip, encode_clip
from shards.errors import RequestError
from tests.support.clips import make_clip
from tests.support.encoders import save_tiny_encoder
from tests.support.spoken import spoken


@pytest.fixture(autouse=True)
def _nobody_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUBWRIGHT_WHISPER", raising=False)


def test_nobody_says_where_the_weights_are() -> None:
    with pytest.raises(RequestError, match=r"`whisper@FOLDER`.*DUBWRIGHT_WHISPER"):
        audio_feature("whisper")


def test_a_feature_without_weights_takes_no_place() -> None:
    with pytest.raises(RequestError, match="unknown audio feature"):
        audio_feature("mel@/somewhere")
    with pytest.raises(RequestError, match="unknown audio feature"):
        audio_feature("phones-1234abcd")


def test_a_stretch_beyond_the_ends_is_zeros() -> None:
    x = np.arange(1, 6)
    np.testing.assert_array_equal(stretch(x, -2, 3), [0, 0, 1, 2, 3])
    np.testing.assert_array_equal(stretch(x, 3, 8), [4, 5, 0, 0, 0])
    np.testing.assert_array_equal(stretch(x, -4, -1), [0, 0, 0])
    np.testing.assert_array_equal(stretch(x, 7, 9), [0, 0])


def test_the_edges_of_a_cut_know_what_was_said_around_it() -> None:
    speech, _ = spoken()
    start, end, mel = Fraction(1), Fraction(2), MelSpectrogram()
    whole = mel.extract(speech).values[80:161]
    np.testing.assert_allclose(extract_between(mel, speech, start, end).values, whole, atol=1e-6)
    assert np.abs(mel.extract(speech.between(start, end)).values - whole).max() > 0.1


def test_a_cut_between_columns_begins_with_the_recording_s_next_one() -> None:
    start = Fraction(1) + Fraction(1, 3 * 16_000)
    found = extract_between(MelSpectrogram(), spoken()[0], start, Fraction(2))
    assert found.origin_s == Fraction(1, 80) - Fraction(1, 3 * 16_000)


@pytest.mark.parametrize("name", ["mel", "hubert-3f9a2c1b", "whisper@/nowhere"])
def test_the_version_of_a_feature_is_known_without_its_weights(name: str) -> None:
    assert feature_version(name) == "1"


def test_an_unknown_feature_has_no_version() -> None:
    with pytest.raises(RequestError, match="unknown audio feature"):
        feature_version("mel-3f9a2c1b")


def test_features_of_different_rates_go_together_into_a_clip_and_come_back(tmp_path: Path) -> None:
    names = ("mel", "phones", f"hubert@{save_tiny_encoder('hubert', tmp_path)}")
    tools = ClipTools(PreprocessConfig(audio=AudioConfig(features=names)))
    for feature in tools.features:
        feature.setup()
    features = tools.features_of(spoken()[0], Fraction(1, 7), Fraction(9, 7))
    clip = dataclasses.replace(make_clip(0), features=features)
    read = decode_clip(clip.key, encode_clip(clip))
    assert [f.hop_s for f in read.features] == [Fraction(1, 80), Fraction(1, 80), Fraction(1, 50)]
    for made in features:
        np.testing.assert_array_equal(read.feature(made.name).values, made.values)
        assert read.feature(made.name).origin_s == made.origin_s
