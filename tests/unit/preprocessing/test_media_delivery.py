"""The delivered speech is carried as it is, or encoded once at its own rate and layout, and heard in its place."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from preprocessing.errors import Unusable
from preprocessing.media.delivery import Delivery, prepare_speech, speech_end_s
from preprocessing.media.probe import probe
from preprocessing.media.runner import run_media
from preprocessing.media.speech import read_speech
from preprocessing.media.tools import ffmpeg_command, file_url
from preprocessing.media.tracks import CONTAINERS
from shards.errors import RequestError
from shards.schema import FrameTimes
from tests.support import lavfi

SECOND = FrameTimes(pts=np.arange(25, dtype=np.int64), base=Fraction(1, 25))


def prepared(speech: Path, ending: str = ".mov", **options: Any) -> Delivery:
    spare = speech.parent / "spare"
    spare.mkdir(exist_ok=True)
    options = {"times": SECOND, "deadline_s": 60, "stall_s": 20, **options}
    return prepare_speech(speech, spare, CONTAINERS[ending], options.pop("times"), **options)


def clicks(path: Path, *at_s: float, seconds: float = 1.0, rate_hz: int = 48_000) -> Path:
    """Silence with short bursts, each centred on its time."""
    clock = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = sum(np.exp(-0.5 * ((clock - t) / 0.002) ** 2) * np.cos(2 * np.pi * 2000 * (clock - t)) for t in at_s)
    soundfile.write(path, 0.7 * np.asarray(sound), rate_hz, subtype="PCM_16")
    return path


def heard_s(made: Delivery) -> float:
    """When the loudest moment is heard, counted from the first frame."""
    speech = read_speech(made.path, stream=made.track.index)
    envelope = np.convolve(np.abs(speech.samples.astype(float)), np.hanning(65), mode="same")
    return float(envelope.argmax()) / speech.rate_hz + float(speech.origin_s + made.offset_s)


def samples(path: Path) -> np.ndarray:
    pcm = ("-f", "s16le", "-c:a", "pcm_s16le", "pipe:1")
    return np.frombuffer(run_media(ffmpeg_command("-i", file_url(path), *pcm), deadline_s=20).stdout, dtype="<i2")


class TestSpeechThatFits:
    @pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.flac", "a.mp3"])
    def test_is_the_file_itself_also_when_it_begins_late(self, tmp_path: Path, name: str) -> None:
        path = lavfi.sine(tmp_path / name, seconds=0.9)
        made = prepared(path, ".mkv", offset_s=Fraction(37, 1000))
        assert (made.path, made.how, made.notes) == (path, "copied", ())
        assert made.offset_s == Fraction(37, 1000)

    def test_a_track_is_chosen_by_its_index_else_the_default_one_is(self, tmp_path: Path) -> None:
        one, two = lavfi.sine(tmp_path / "1.wav", channels=1), lavfi.sine(tmp_path / "2.wav", channels=2)
        maps = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:a:0", "0", "-disposition:a:1", "default")
        both = lavfi.make(tmp_path / "both.mka", "-i", str(one), "-i", str(two), *maps)
        assert prepared(both).track.channels == 2
        assert prepared(both, stream=0).track.channels == 1
        with pytest.raises(RequestError, match=r"audio_stream.*Valid: 0, 1"):
            prepared(both, stream=7)

    def test_a_file_without_sound_is_unusable(self, tmp_path: Path) -> None:
        with pytest.raises(Unusable, match="no_audio"):
            prepared(lavfi.video(tmp_path / "mute.mp4", seconds=0.2))


class TestSpeechThatIsTooLong:
    @pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.mp3", "a.flac"])
    def test_is_cut_in_whole_packets_and_stays_where_it_was(self, tmp_path: Path, name: str) -> None:
        wav = clicks(tmp_path / "clicks.wav", 0.5, seconds=2.0)
        path = wav if name == "a.wav" else lavfi.make(tmp_path / name, "-i", str(wav))
        made = prepared(path, ".mkv")
        assert made.how == "copied"
        assert abs(heard_s(made) - 0.5) < 2.5 / 16_000
        assert 0.9 < float(speech_end_s(made.path)) < 1.1
        assert "its end is cut" in made.notes[0]

    def test_an_offset_leaves_less_room_for_it(self, tmp_path: Path) -> None:
        made = prepared(lavfi.sine(tmp_path / "a.wav", seconds=1.0), offset_s=Fraction(2, 5))
        assert "0.400 s longer" in made.notes[0]
        assert abs(float(speech_end_s(made.path, offset_s=made.offset_s)) - 1) < 0.1


class TestABeginningThatIsCutOff:
    @pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.flac", "a.mp3", "a.ac3", "a.ogg"])
    def test_is_encoded_once_in_the_same_codec_rate_and_layout(self, tmp_path: Path, name: str) -> None:
        wav = clicks(tmp_path / "clicks.wav", 0.7, rate_hz=44_100)
        path = wav if name == "a.wav" else lavfi.make(tmp_path / name, "-i", str(wav))
        before = probe(path, need_video=False).audio[0]
        before_s = heard_s(prepared(path, ".mkv"))  # AC-3 itself delays by 6 ms
        made = prepared(path, ".mkv", offset_s=Fraction(-3, 10))
        assert (made.track.codec, made.track.rate_hz, made.track.channels) == (before.codec, 44_100, 1)
        assert abs(heard_s(made) - before_s + 0.3) < 2.5 / 16_000
        assert made.how.startswith(f"{before.codec} 44100 Hz")
        assert "the first 0.300 s of the speech are cut off" in made.notes

    def test_of_samples_loses_not_one_of_the_others(self, tmp_path: Path) -> None:
        path = lavfi.sine(tmp_path / "a.wav", seconds=1.0)
        made = prepared(path, offset_s=Fraction(-1, 4))
        assert (samples(made.path) == samples(path)[2 * 12_000 :]).all()


class TestSilence:
    @pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
    def test_fills_speech_that_is_too_short_up_to_the_pictures_end(self, tmp_path: Path, name: str) -> None:
        wav = clicks(tmp_path / "clicks.wav", 0.3, seconds=0.6)
        path = wav if name == "a.wav" else lavfi.make(tmp_path / name, "-i", str(wav))
        made = prepared(path, policy="pad_silence", offset_s=Fraction(1, 10))
        assert abs(float(speech_end_s(made.path, offset_s=made.offset_s)) - 1) < 0.025
        assert abs(heard_s(made) - 0.4) < 2.5 / 16_000
        assert "0.300 s of silence" in made.notes[0]
        assert np.abs(samples(made.path)[30_000:]).max() <= 1

    def test_is_not_added_to_speech_that_is_long_enough(self, tmp_path: Path) -> None:
        path = lavfi.sine(tmp_path / "a.m4a", seconds=0.98)
        assert prepared(path, policy="pad_silence").how == "copied"


class TestFiveChannelsAndOne:
    @pytest.mark.parametrize("layout", ["5.1", "5.1(side)"])
    def test_stay_five_and_one_where_they_must_be_encoded(self, tmp_path: Path, layout: str) -> None:
        path = surround(tmp_path / "a.wav", layout)
        made = prepared(path, ".mp4")
        assert (made.track.codec, made.track.channels, made.track.layout) == ("aac", 6, "5.1")
        loud = np.abs(samples(made.path).reshape(-1, 6).astype(float)).mean(axis=0)
        assert loud.argsort().tolist() == np.array(LOUDNESS).argsort().tolist()

    def test_are_copied_where_they_may_be(self, tmp_path: Path) -> None:
        path = surround(tmp_path / "a.wav", "5.1(side)")
        assert prepared(path, ".mov").how == "copied"


LOUDNESS = [0.1, 0.9, 0.3, 0.5, 0.2, 0.7]


def surround(path: Path, layout: str) -> Path:
    """Six channels, each of its own loudness (the fourth, for low tones, carries a low tone like the others)."""
    gains = "|".join(f"c{n}={gain}*c0" for n, gain in enumerate(LOUDNESS))
    tone = ("-f", "lavfi", "-i", "sine=frequency=60:sample_rate=48000:duration=1", "-af", f"pan={layout}|{gains}")
    return lavfi.make(path, *tone)


def test_speech_that_no_frame_would_hear_is_refused(tmp_path: Path) -> None:
    path = lavfi.sine(tmp_path / "a.wav", seconds=0.5)
    for offset_s in (Fraction(1), Fraction(-1, 2)):
        with pytest.raises(RequestError, match=r"audio_offset_ms.*would not be heard"):
            prepared(path, offset_s=offset_s)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.mka", "a.mp3"])
def test_where_speech_ends_is_known_in_every_container(tmp_path: Path, name: str) -> None:
    path = lavfi.sine(tmp_path / name, seconds=0.8, more=("-c:a", "pcm_s16le") if name == "a.mka" else ())
    assert abs(float(speech_end_s(path, offset_s=Fraction(1, 5))) - 1.0) < 0.05


def test_sound_that_starts_late_in_its_file_stays_late_when_it_is_cut_or_encoded(tmp_path: Path) -> None:
    wav = clicks(tmp_path / "clicks.wav", 0.2, seconds=1.5)
    late = lavfi.make(tmp_path / "late.mov", "-itsoffset", "0.4", "-i", str(wav), "-c:a", "copy")
    assert abs(heard_s(prepared(late)) - 0.6) < 2.5 / 16_000
    assert abs(heard_s(prepared(late, offset_s=Fraction(-1, 10))) - 0.5) < 2.5 / 16_000
