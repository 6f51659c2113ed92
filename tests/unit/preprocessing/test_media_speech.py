"""Speech lies on its owner's clock to the sample."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocessing.errors import Unusable
from preprocessing.media.speech import read_speech
from shards.errors import RequestError
from tests.support import lavfi


def clicks(path: Path, at_s: list[float], *, seconds: float = 1.0, rate_hz: int = 48_000) -> Path:
    """A file of short 2 kHz bursts, each centred on its time."""
    clock = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = sum(np.exp(-0.5 * ((clock - t) / 0.002) ** 2) * np.cos(2 * np.pi * 2000 * (clock - t)) for t in at_s)
    soundfile.write(path, 0.7 * np.asarray(sound), rate_hz, subtype="PCM_16")
    return path


def loudest_s(speech_samples: np.ndarray, rate_hz: int) -> float:
    envelope = np.convolve(np.abs(speech_samples.astype(float)), np.hanning(65), mode="same")
    return float(envelope.argmax()) / rate_hz


@pytest.mark.parametrize("ending", ["wav", "m4a", "mp3", "flac", "mkv"])
@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_a_click_is_heard_when_it_was_made(tmp_path: Path, ending: str, rate_hz: int) -> None:
    wav = clicks(tmp_path / "click.wav", [0.5], rate_hz=rate_hz)
    # A given codec for Matroska: its default, Vorbis, makes ffmpeg's writer itself move the sound by 3 ms.
    codec = ("-c:a", "pcm_s16le") if ending == "mkv" else ()
    path = wav if ending == "wav" else lavfi.make(tmp_path / f"click.{ending}", "-i", str(wav), *codec)
    speech = read_speech(path)
    heard_s = loudest_s(speech.samples, speech.rate_hz) + float(speech.origin_s)
    assert abs(heard_s - 0.5) < 2.5 / 16_000
    assert speech.rate_hz == 16_000


def test_the_pictures_start_is_the_zero(tmp_path: Path) -> None:
    wav = clicks(tmp_path / "click.wav", [0.5])
    speech = read_speech(wav, zero_s=Fraction(1, 5))
    assert speech.origin_s == Fraction(-1, 5)
    assert len(speech.samples) == 16_000


def test_sound_that_starts_late_in_its_file_has_a_late_origin(tmp_path: Path) -> None:
    wav = clicks(tmp_path / "click.wav", [0.25])
    path = lavfi.make(tmp_path / "late.mov", "-itsoffset", "0.4", "-i", str(wav), "-c:a", "copy")
    speech = read_speech(path)
    assert abs(float(speech.origin_s) + loudest_s(speech.samples, 16_000) - 0.65) < 2.5 / 16_000


def test_a_hole_in_the_sound_is_silence_and_moves_nothing(tmp_path: Path) -> None:
    wav = clicks(tmp_path / "click.wav", [0.1, 1.5], seconds=2.0)
    holed = "aselect='not(between(t,0.5,1.0))'"
    path = lavfi.make(tmp_path / "holed.mkv", "-i", str(wav), "-af", holed, "-c:a", "pcm_s16le")
    speech = read_speech(path)
    late = speech.samples[16_000:]
    assert abs(1.0 + loudest_s(late, 16_000) - 1.5) < 0.002


def test_what_comes_after_the_end_is_not_read_and_no_gap_to_it_is_filled(tmp_path: Path) -> None:
    wav = clicks(tmp_path / "clicks.wav", [0.5])
    late = ("-af", "asetpts='PTS+gt(N,40000)*86400/TB'", "-c:a", "pcm_s16le")
    path = lavfi.make(tmp_path / "gap.mkv", "-i", str(wav), *late)
    speech = read_speech(path, end_s=Fraction(2))
    assert speech.duration_s == pytest.approx(40_000 / 48_000, abs=0.03)
    assert abs(loudest_s(speech.samples, speech.rate_hz) + float(speech.origin_s) - 0.5) < 2.5 / 16_000


def test_sound_that_is_all_after_the_end_is_late_and_not_missing(tmp_path: Path) -> None:
    late = lavfi.make(tmp_path / "late.mkv", "-itsoffset", "3", "-i", str(clicks(tmp_path / "c.wav", [0.5])))
    picture = lavfi.video(tmp_path / "picture.mp4")
    both = lavfi.make(tmp_path / "both.mkv", "-i", str(picture), "-i", str(late), "-c", "copy", "-copyts")
    assert read_speech(both, end_s=Fraction(1)).duration_s == 0


def test_two_channels_become_one(tmp_path: Path) -> None:
    speech = read_speech(lavfi.sine(tmp_path / "two.wav", seconds=0.5))
    assert speech.samples.ndim == 1
    assert abs(len(speech.samples) - 8000) <= 1


def test_a_silent_film_has_no_audio(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="no_audio"):
        read_speech(lavfi.video(tmp_path / "mute.mp4", seconds=0.2))


def test_a_track_is_chosen_by_its_index_and_a_wrong_one_is_refused_with_the_choices(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "film.mp4", seconds=0.4, sound=True)
    assert len(read_speech(path, stream=1).samples) > 5000
    with pytest.raises(RequestError, match=r"stream.*Valid: 1"):
        read_speech(path, stream=0)
