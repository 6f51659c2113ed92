"""A track is as loud as the standard says, in its own rate and channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.audio.loudness import integrated_lufs
from preprocessing.errors import MediaToolError
from preprocessing.media import loudness
from preprocessing.media.loudness import track_lufs
from preprocessing.media.speech import read_speech
from tests.support import lavfi


@pytest.mark.parametrize(("rate_hz", "name"), [(48_000, "a.wav"), (44_100, "a.flac"), (16_000, "a.m4a")])
def test_a_mono_track_is_as_loud_as_our_own_measure_says(tmp_path: Path, rate_hz: int, name: str) -> None:
    path = lavfi.sine(tmp_path / name, seconds=3, rate_hz=rate_hz, channels=1)
    assert track_lufs(path) == pytest.approx(integrated_lufs(read_speech(path, rate_hz=rate_hz)), abs=0.2)


def test_two_channels_are_3_lu_louder_than_one(tmp_path: Path) -> None:
    mono = track_lufs(lavfi.sine(tmp_path / "mono.wav", seconds=3, channels=1))
    # Each of the two is the very tone, not its half.
    pan = ("-af", "pan=stereo|c0=c0|c1=c0")
    stereo = track_lufs(lavfi.sine(tmp_path / "stereo.wav", seconds=3, channels=2, more=pan))
    assert mono is not None
    assert stereo == pytest.approx(mono + 3.01, abs=0.15)


def test_of_several_tracks_the_one_that_is_meant_is_measured(tmp_path: Path) -> None:
    tones = [f"sine=frequency=440:duration=2,volume={gain}dB" for gain in (0, -12)]
    inputs = [word for tone in tones for word in ("-f", "lavfi", "-i", tone)]
    maps = ("-map", "0:a", "-map", "1:a", "-c:a", "pcm_s16le", "-disposition:a:1", "default", "-disposition:a:0", "0")
    path = lavfi.make(tmp_path / "two.mkv", *inputs, *maps)
    loud, soft = (track_lufs(path, stream=stream) for stream in (0, 1))
    assert loud is not None
    assert soft == pytest.approx(loud - 12, abs=0.3)
    assert track_lufs(path) == soft


def test_silence_a_missing_track_and_a_picture_without_sound_have_no_loudness(tmp_path: Path) -> None:
    silence = lavfi.make(tmp_path / "silent.wav", "-f", "lavfi", "-i", "anullsrc=duration=1")
    assert track_lufs(silence) is None
    assert track_lufs(silence, stream=7) is None
    assert track_lufs(lavfi.video(tmp_path / "mute.mp4")) is None


def test_a_track_that_cannot_be_decoded_has_none_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = lavfi.sine(tmp_path / "a.wav")

    def fails(command: list[str], **limits: float) -> None:
        raise MediaToolError("it failed", command=command, status=1, stderr="no decoder for this")

    monkeypatch.setattr(loudness, "run_media", fails)
    assert track_lufs(path) is None
    assert "a.wav is not known: no decoder for this" in caplog.text
