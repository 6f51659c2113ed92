"""Soft phone activity on speech whose phonemes and their times are known. Its clock is tested in tests/contract."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from preprocessing.audio import phones
from preprocessing.audio.activity import HOP_S, level_dbfs
from preprocessing.audio.phone_model import PHONES
from preprocessing.audio.phones import SILENCE, PhoneActivity
from shards.schema import F32, Speech
from tests.support.spoken import RATE_HZ, spoken

SOUNDS = {
    "pauses": ({""}, ("SIL", "+NSN+", "+SPN+")),
    "closed lips": ({"m", "b", "p"}, ("M", "B", "P")),
    "hisses": ({"s", "z", "dʒ"}, ("S", "Z", "SH", "ZH", "CH", "JH")),
    "vowels": (
        {"oʊ", "æ", "ɛ", "ʌ", "ɪ", "iː", "aɪ", "i", "a", "o", "e"},  # noqa: RUF001 - IPA
        ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"),
    ),
}


@pytest.fixture(scope="module")
def extractor() -> Iterator[PhoneActivity]:
    extractor = PhoneActivity()
    extractor.setup()
    yield extractor
    extractor.close()


def wave(samples: np.ndarray) -> Speech:
    return Speech(samples=samples.astype(np.int16), rate_hz=RATE_HZ, origin_s=Fraction(0))


def activity(values: F32, names: tuple[str, ...]) -> np.ndarray:
    return np.asarray(values[:, [PHONES.index(name) for name in names]].sum(axis=1))


@pytest.mark.parametrize("stem", ["hello.en", "hello.es"])
@pytest.mark.parametrize("sounds", SOUNDS)
def test_a_sound_is_active_where_it_is_said_and_when(extractor: PhoneActivity, sounds: str, stem: str) -> None:
    speech, said = spoken(stem)
    symbols, names = SOUNDS[sounds]
    values = extractor.extract(speech).values
    at_s = np.arange(len(values)) / 80
    truth = np.zeros(len(values), dtype=bool)
    for symbol, start_s, end_s in said:
        truth |= (symbol in symbols) & (at_s >= start_s) & (at_s < end_s)
    found = activity(values, names)
    assert found[truth].mean() > 1.4 * found[~truth].mean()
    # The time of best agreement is the time itself, to two columns.
    fits = [np.corrcoef(np.roll(found, lag)[20:-20], truth[20:-20])[0, 1] for lag in range(-12, 13)]
    assert abs(int(np.argmax(fits)) - 12) <= 2


def test_a_column_is_a_soft_distribution(extractor: PhoneActivity) -> None:
    values = extractor.extract(spoken()[0]).values
    assert values.min() >= 0
    np.testing.assert_allclose(values.sum(axis=1), 1.0, atol=1e-5)
    spoken_columns = values[values[:, SILENCE] < 0.5]
    # A hard choice has 1 here, no knowledge 1/42.
    assert 0.08 < spoken_columns.max(axis=1).mean() < 0.5


def test_the_level_of_the_recording_does_not_matter(extractor: PhoneActivity) -> None:
    speech, _ = spoken()
    level = level_dbfs(speech)
    soft, loud = (extractor.extract(wave(speech.samples * gain)).values for gain in (0.25, 1.0))
    # The voice alone: of the pauses a softer copy in whole numbers keeps little.
    voice = np.interp(np.arange(len(loud)) / 80, np.arange(len(level)) * HOP_S, level) > -40
    assert voice.mean() > 0.7
    assert np.corrcoef(soft[voice].ravel(), loud[voice].ravel())[0, 1] > 0.95


def test_hiss_far_below_speech_is_silence_and_not_phones(extractor: PhoneActivity) -> None:
    hiss = np.random.default_rng(0).normal(0, 1.5, 5 * RATE_HZ)
    quiet = extractor.extract(wave(hiss)).values
    heard = extractor.extract(wave(hiss * 1000)).values
    names = ("SIL", "+NSN+", "+SPN+")
    assert activity(quiet, names).mean() > 1.5 * activity(heard, names).mean()
    assert quiet.mean(axis=0).argmax() == SILENCE


def test_a_pause_of_digital_silence_inside_speech_is_exactly_silence(extractor: PhoneActivity) -> None:
    samples = spoken()[0].samples[: 4 * RATE_HZ].copy()
    samples[RATE_HZ : 2 * RATE_HZ] = 0
    found = extractor.extract(wave(samples))
    np.testing.assert_array_equal(found.values[82:158], np.broadcast_to(found.silence, (76, 42)))


def test_blocks_join_without_a_seam(extractor: PhoneActivity, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = spoken()[0]
    whole = extractor.extract(speech).values
    monkeypatch.setattr(phones, "_BLOCK", 37)
    np.testing.assert_allclose(extractor.extract(speech).values, whole, atol=1e-5)


def test_the_columns_are_those_of_the_mel(extractor: PhoneActivity) -> None:
    from preprocessing.audio.mel import MelSpectrogram

    speech = spoken()[0]
    mine, mels = extractor.extract(speech), MelSpectrogram().extract(speech)
    assert (mine.hop_s, mine.origin_s, len(mine.values)) == (mels.hop_s, mels.origin_s, len(mels.values))


def test_it_must_be_set_up_first() -> None:
    with pytest.raises(RuntimeError, match="before setup"):
        PhoneActivity().extract(wave(np.zeros(100)))
