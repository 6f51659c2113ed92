"""Speech with timed phonemes: made where espeak-ng is, read from disk where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import ToolMissing
from preprocessing.sample import espeak, speech
from preprocessing.sample.script import HELLO, script, spoken
from preprocessing.sample.speech import RECORDED_DIR, SpokenLine, TimedPhoneme, recorded_lines, speak
from shards.errors import RequestError, UnknownSchemaVersion
from tests.support.synthetic import spoken_line

needs_espeak = pytest.mark.skipif(not speech.available(), reason="espeak-ng is not installed here")


@pytest.fixture
def no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "usable", lambda: False)


@pytest.fixture
def short_line() -> SpokenLine:
    said = (TimedPhoneme(symbol="m", start_s=0.0, end_s=0.1), TimedPhoneme(symbol="a", start_s=0.1, end_s=0.3))
    samples = (np.sin(np.arange(3000) / 9) * 9000).astype(np.int16)
    return SpokenLine(samples=samples, rate_hz=10000, phonemes=said, language="es-419", text="¡Ma!")


def assert_in_order(line: SpokenLine) -> None:
    ends = 0.0
    for phoneme in line.phonemes:
        assert ends - 1e-4 <= phoneme.start_s < phoneme.end_s <= line.duration_s + 1e-3
        ends = phoneme.end_s


@needs_espeak
def test_a_spoken_line_has_its_phonemes_in_order_within_the_sound() -> None:
    line = speak("Maybe Bob", language="en")
    assert line.samples.dtype == np.int16
    assert np.abs(line.samples.astype(int)).max() > 3000
    assert [p.symbol for p in line.phonemes if p.symbol][:2] == ["m", "eɪ"]  # noqa: RUF001  IPA
    assert [p.symbol for p in line.phonemes].count("b") == 3
    assert_in_order(line)


@needs_espeak
def test_faster_speech_is_shorter_and_a_voice_sounds_its_own_way() -> None:
    slow, fast = (speak("Good morning", language="en", speed_wpm=wpm) for wpm in (120, 200))
    assert fast.duration_s < 0.8 * slow.duration_s
    other = speak("Good morning", language="en", voice="en-us+m3", speed_wpm=120)
    assert not np.array_equal(other.samples[:8000], slow.samples[:8000])


@needs_espeak
def test_an_unknown_voice_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="no-such-voice"):
        speak("Hello", language="en", voice="no-such-voice")


@pytest.mark.parametrize("name", ["hello.en", "hello.es", "morning.en"])
def test_every_recorded_line_is_whole(name: str) -> None:
    line = spoken_line(name)
    assert line.language == name.split(".")[1]
    assert 3.0 < line.duration_s < 9.0
    assert_in_order(line)


def test_a_line_reads_back_as_it_was_saved(tmp_path: Path, short_line: SpokenLine) -> None:
    short_line.save(tmp_path / "deep" / "name.es")
    found = SpokenLine.load(tmp_path / "deep" / "name.es")
    assert np.array_equal(found.samples, short_line.samples)
    assert found.phonemes == short_line.phonemes
    assert (found.rate_hz, found.language, found.text) == (10000, "es-419", "¡Ma!")


def test_a_line_of_a_newer_program_is_refused(tmp_path: Path, short_line: SpokenLine) -> None:
    short_line.save(tmp_path / "a")
    written = (tmp_path / "a.json").read_text(encoding="utf-8")
    (tmp_path / "a.json").write_text(written.replace('"schema_version": 1', '"schema_version": 9'), encoding="utf-8")
    with pytest.raises(UnknownSchemaVersion):
        SpokenLine.load(tmp_path / "a")


def test_silence_before_a_line_moves_its_phonemes_and_the_end_cuts_them(short_line: SpokenLine) -> None:
    moved = short_line.with_silence(before_s=0.5, until_s=0.7)
    assert moved.duration_s == pytest.approx(0.7)
    assert not moved.samples[:5000].any()
    assert np.array_equal(moved.samples[5000:], short_line.samples[:2000])
    assert [(p.start_s, p.end_s) for p in moved.phonemes] == [(0.5, 0.6), (0.6, 0.7)]


@pytest.mark.usefixtures("no_espeak")
def test_without_espeak_the_recorded_line_is_spoken() -> None:
    line = speak(HELLO.text, language="en")
    assert np.array_equal(line.samples, spoken_line("hello.en").samples)


@pytest.mark.usefixtures("no_espeak")
def test_without_espeak_and_recording_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="apt-get install espeak-ng"):
        speak("Never said before", language="en")
    with pytest.raises(ToolMissing, match="apt-get install espeak-ng"):
        spoken(HELLO, tmp_path)


@pytest.mark.usefixtures("no_espeak")
def test_without_espeak_further_titles_share_the_recorded_lines() -> None:
    names = set(recorded_lines())
    for title in script(5, 3, RECORDED_DIR):
        assert {line.name for line in (title.line, *title.dubs)} <= names
        assert spoken(title.line, RECORDED_DIR).duration_s > 1


def test_nothing_to_say_is_refused() -> None:
    with pytest.raises(RequestError, match="nothing to say"):
        speak("  ", language="en")
