"""The mel spectrogram's numbers; its clock is tested for every feature in tests/contract."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from preprocessing.audio import mel
from preprocessing.audio.mel import MelSpectrogram
from shards.errors import RequestError
from shards.schema import F32, Speech


def tone(hz: float, *, amplitude: float = 0.25, seconds: float = 0.5) -> Speech:
    t = np.arange(round(seconds * mel.RATE_HZ)) / mel.RATE_HZ
    samples = np.round(amplitude * 32768 * np.sin(2 * np.pi * hz * t)).astype(np.int16)
    return Speech(samples=samples, rate_hz=mel.RATE_HZ, origin_s=Fraction(0))


def columns(speech: Speech) -> F32:
    return MelSpectrogram().extract(speech).values


def test_there_are_80_columns_a_second() -> None:
    found = MelSpectrogram().extract(tone(440, seconds=2.0))
    assert found.hop_s == Fraction(1, 80)
    assert found.values.shape == (161, 80)


def test_silence_is_the_lowest_value_and_full_scale_noise_stays_in_range() -> None:
    loud = np.random.default_rng(0).integers(-32768, 32767, 16_000).astype(np.int16)
    found = MelSpectrogram().extract(Speech(samples=loud, rate_hz=16_000, origin_s=Fraction(0)))
    assert (found.silence == -4).all()
    assert -4 <= found.values.min() < found.values.max() <= 4


@pytest.mark.parametrize("hz", [200, 800, 1500, 3000, 6000])
def test_a_tone_sounds_in_the_channel_of_its_frequency(hz: float) -> None:
    # Slaney's scale by its definition: linear to 1 kHz, 27 steps per factor 6.4 above.
    def to_mel(f: float) -> float:
        return 3 * f / 200 if f < 1000 else 15 + 27 * np.log(f / 1000) / np.log(6.4)

    low, high = to_mel(55), to_mel(7600)
    expected = (to_mel(hz) - low) / (high - low) * 81 - 1
    assert int(columns(tone(hz))[20].argmax()) == pytest.approx(expected, abs=0.75)


def test_twice_as_loud_is_six_decibels_more() -> None:
    soft, loud = (columns(tone(1500, amplitude=a))[20].max() for a in (0.1, 0.2))
    assert loud - soft == pytest.approx(8 * 20 * np.log10(2) / 100, abs=1e-3)


def test_the_level_of_a_tone_is_what_the_formula_says() -> None:
    """One column from first principles: pre-emphasis, window, spectrum, triangles, decibels."""
    x = tone(1000.0).as_float().astype(np.float64)
    y = np.append(x[0], x[1:] - 0.97 * x[:-1])
    n = np.arange(800)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 800)
    start = 20 * 200 - 400
    spectrum = np.abs(
        [np.sum(y[start : start + 800] * window * np.exp(-2j * np.pi * k * n / 800)) for k in (49, 50, 51)]
    )
    # 1 kHz is bin 50 exactly; of its neighbours a Hann window shows half.
    assert spectrum[0] / spectrum[1] == pytest.approx(0.5, abs=0.02)
    value = columns(tone(1000.0))[20].max()
    db = (value + 4) / 8 * 100 - 100 + 20
    triangles = mel._FILTERS[:, 49:52]
    assert db == pytest.approx(20 * np.log10((triangles @ spectrum).max()), abs=0.05)


def test_each_triangle_has_unit_area() -> None:
    wide = mel._FILTERS[60:]
    np.testing.assert_allclose(wide.sum(axis=1) * mel.RATE_HZ / mel.WINDOW, 1.0, rtol=0.02)


def test_every_channel_hears_something() -> None:
    assert (mel._FILTERS.max(axis=1) > 0).all()


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    speech = tone(700, seconds=1.0)
    whole = columns(speech)
    monkeypatch.setattr(mel, "_BLOCK", 7)
    np.testing.assert_array_equal(columns(speech), whole)


def test_another_sample_rate_is_refused_by_name() -> None:
    wrong = Speech(samples=np.zeros(100, dtype=np.int16), rate_hz=44_100, origin_s=Fraction(0))
    with pytest.raises(RequestError, match="16000 Hz"):
        MelSpectrogram().extract(wrong)
