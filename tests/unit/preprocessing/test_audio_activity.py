"""Voice against silence, hum and noise."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from preprocessing.audio.activity import level_dbfs, silence_share, voiced
from shards.schema import Speech

RATE_HZ = 16_000


def speech(samples: np.ndarray) -> Speech:
    return Speech(samples=np.clip(samples, -32768, 32767).astype(np.int16), rate_hz=RATE_HZ, origin_s=Fraction(0))


def syllables(seconds: float, *, level: float = 6000, seed: int = 0) -> np.ndarray:
    """Noise bursts four a second, as loud and soft as speech is."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    loudness = 0.05 + 0.95 * np.sin(np.pi * 4 * t) ** 2
    return level * loudness * np.random.default_rng(seed).standard_normal(len(t)) / 3


@pytest.mark.parametrize("level", [600, 6000, 30_000])
@pytest.mark.parametrize("hiss", [0, 5])
def test_the_share_of_silence_is_measured_at_any_level(level: float, hiss: float) -> None:
    pause = np.zeros(2 * RATE_HZ)
    sound = np.concatenate([syllables(1.0, level=level), pause, syllables(1.0, level=level, seed=1)])
    sound = sound + hiss * np.random.default_rng(2).standard_normal(len(sound))
    assert silence_share(speech(sound)) == pytest.approx(0.5, abs=0.06)


def test_speech_over_noise_is_found() -> None:
    sound = np.concatenate([syllables(1.0), np.zeros(RATE_HZ), syllables(1.0)])
    noisy = sound + 150 * np.random.default_rng(3).standard_normal(len(sound))
    active = voiced(speech(noisy))
    assert active[20:80].mean() > 0.9
    assert active[115:185].mean() < 0.1


def test_speech_without_pauses_is_not_its_own_noise_floor() -> None:
    assert silence_share(speech(syllables(3.0))) < 0.1


def room(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that flickers by some dB from one fortieth of a second to the next, as real rooms and codecs do."""
    rng = np.random.default_rng(seed)
    flicker_db = np.repeat(rng.normal(0, 2.6, round(seconds * 40)), RATE_HZ // 40)
    return 130 * 10 ** (flicker_db / 20) * rng.standard_normal(len(flicker_db))


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(RATE_HZ),
        3 * np.random.default_rng(0).standard_normal(RATE_HZ),
        4000 * np.sin(2 * np.pi * 50 * np.arange(RATE_HZ) / RATE_HZ),
        2000 * np.random.default_rng(0).standard_normal(RATE_HZ),
        room(8.0),
        np.zeros(0),
    ],
    ids=["digital silence", "faint hiss", "hum", "steady noise", "a room", "nothing"],
)
def test_what_is_no_speech_is_all_silence(sound: np.ndarray) -> None:
    assert silence_share(speech(sound)) == 1.0


def pitched(seconds: float, *, moves_db: float, hz: float = 220.0) -> np.ndarray:
    """Ten harmonics that swell and fade by so much in all, three times a second."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swell = 10 ** (moves_db / 2 * np.sin(2 * np.pi * 3 * t) / 20)
    return 3000 * swell * sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 11))


def test_a_held_vowel_is_voice_and_a_machine_that_hums_is_none() -> None:
    assert silence_share(speech(pitched(4.0, moves_db=4.0))) < 0.8
    assert silence_share(speech(pitched(4.0, moves_db=0.2))) == 1.0


def test_a_full_scale_square_wave_has_a_level_of_zero_decibels() -> None:
    assert level_dbfs(speech(np.full(RATE_HZ, -32768)))[50] == pytest.approx(0.0, abs=1e-6)
