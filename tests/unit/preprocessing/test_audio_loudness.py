"""Loudness against ffmpeg's meter and against the standard's own figures."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocessing.audio import loudness
from preprocessing.audio.loudness import integrated_lufs, true_peak_dbtp
from shards.schema import Speech
from tests.support.spoken import spoken


def sound(samples: np.ndarray, rate_hz: int = 16_000) -> Speech:
    whole = np.clip(np.round(samples), -32768, 32767).astype(np.int16)
    return Speech(samples=whole, rate_hz=rate_hz, origin_s=Fraction(0))


def tone(hz: float, rate_hz: int, *, amplitude: float = 3000, seconds: float = 4) -> Speech:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    # A soft start: an abrupt one is a click of its own.
    swell = np.minimum(1, np.minimum(t, seconds - t) / 0.05)
    return sound(amplitude * swell * np.sin(2 * np.pi * hz * t), rate_hz)


def bursts(rate_hz: int) -> Speech:
    """Loud, soft and nothing: both gates have work."""
    rng = np.random.default_rng(0)
    level = np.repeat([3000.0, 0.0, 30.0, 3000.0, 600.0, 1.0], rate_hz)
    return sound(level * rng.standard_normal(len(level)), rate_hz)


def measured_by_ffmpeg(speech: Speech, folder: Path) -> tuple[float, float]:
    path = folder / "sound.wav"
    soundfile.write(path, speech.samples, speech.rate_hz)
    command = ["ffmpeg", "-nostdin", "-nostats", "-i", str(path), "-af", "ebur128=peak=true", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    integrated, peak = (re.findall(p, said)[-1] for p in (r"I:\s+(-?[\d.]+) LUFS", r"Peak:\s+(-?[\d.]+) dBFS"))
    return float(integrated), float(peak)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
@pytest.mark.parametrize(
    "made",
    [
        lambda rate_hz: tone(1000, rate_hz),
        lambda rate_hz: tone(60, rate_hz, amplitude=10_000),
        lambda rate_hz: tone(5000, rate_hz),
        bursts,
    ],
    ids=["1 kHz", "60 Hz", "5 kHz", "bursts"],
)
def test_it_agrees_with_ffmpegs_meter(made: object, rate_hz: int, tmp_path: Path) -> None:
    speech = made(rate_hz)  # type: ignore[operator]
    lufs, peak = measured_by_ffmpeg(speech, tmp_path)
    assert integrated_lufs(speech) == pytest.approx(lufs, abs=0.2)
    assert true_peak_dbtp(speech) == pytest.approx(peak, abs=0.4)


def test_it_agrees_on_speech(tmp_path: Path) -> None:
    speech, _ = spoken()
    lufs, peak = measured_by_ffmpeg(speech, tmp_path)
    assert integrated_lufs(speech) == pytest.approx(lufs, abs=0.2)
    assert true_peak_dbtp(speech) == pytest.approx(peak, abs=0.4)


def test_a_full_scale_tone_of_1_khz_is_3_lufs_below_zero() -> None:
    assert integrated_lufs(tone(997, 48_000, amplitude=32767)) == pytest.approx(-3.01, abs=0.05)


def test_pauses_do_not_make_a_recording_softer() -> None:
    line = tone(1000, 16_000, seconds=6)
    paused = sound(np.concatenate([line.samples, np.zeros(20 * 16_000), line.samples]))
    assert integrated_lufs(paused) == pytest.approx(integrated_lufs(line), abs=0.3)


def test_a_peak_between_samples_is_found() -> None:
    # A quarter of the sample rate, its crests midway between samples: every sample is 3 dB below the crest.
    t = np.arange(16_000)
    between = sound(16384 * np.minimum(1, np.minimum(t, t[::-1]) / 2000) * np.sin(np.pi / 2 * t + np.pi / 4))
    assert 20 * np.log10(np.abs(between.samples).max() / 32768) == pytest.approx(-9.03, abs=0.05)
    assert true_peak_dbtp(between) == pytest.approx(-6.02, abs=0.15)


def test_chunks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    speech = bursts(16_000)
    whole = integrated_lufs(speech), true_peak_dbtp(speech)
    monkeypatch.setattr(loudness, "_CHUNK_S", 1)
    assert (integrated_lufs(speech), true_peak_dbtp(speech)) == pytest.approx(whole, abs=1e-6)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(32_000)], ids=["nothing", "digital silence"])
def test_silence_has_no_loudness(samples: np.ndarray) -> None:
    assert integrated_lufs(sound(samples)) is None
    assert true_peak_dbtp(sound(samples)) is None


def test_what_is_too_short_or_too_soft_has_no_loudness() -> None:
    assert integrated_lufs(tone(1000, 16_000, seconds=0.39)) is None
    assert integrated_lufs(tone(1000, 16_000, amplitude=3)) is None
    assert integrated_lufs(tone(1000, 16_000, amplitude=40)) is not None
