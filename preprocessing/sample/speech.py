"""Lines of speech with the time of every phoneme: made by espeak-ng, or read where they were saved.

Owns: `SpokenLine`, its two files (`.flac` and `.json`), and the way out where espeak-ng is not installed: the lines
recorded in `examples/speech/`. What a mouth does with the phonemes is `motion.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from preprocessing.errors import ToolMissing
from preprocessing.sample import espeak
from shards.errors import RequestError
from shards.schema import check_schema_version

RECORDED_DIR = Path(__file__).resolve().parents[2] / "examples" / "speech"
"""Where a checkout keeps its recorded lines; an installed package is told by parameter."""

VOICES = {"en": "en-us+f3", "es": "es+f3", "fr": "fr+f3", "de": "de+f3", "it": "it+f3", "pt-BR": "pt-br+f3"}
"""The voice that sounds best for a language; any other language takes the voice of its own name."""

_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPhoneme:
    """One sound of speech, [start, end)."""

    symbol: str
    """IPA; empty for a pause."""
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpokenLine:
    """Something said: the sound, and when each of its phonemes is heard."""

    samples: NDArray[np.int16]
    """(N,) int16, mono."""
    rate_hz: int
    phonemes: tuple[TimedPhoneme, ...]
    """In order, on the clock of the samples."""
    language: str
    """BCP-47."""
    text: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    def with_silence(self, *, before_s: float, until_s: float) -> SpokenLine:
        """The line after a pause, cut or lengthened with silence to end at `until_s`."""
        lead, total = round(before_s * self.rate_hz), round(until_s * self.rate_hz)
        samples = np.zeros(total, dtype=np.int16)
        said = self.samples[: max(total - lead, 0)]
        samples[lead : lead + len(said)] = said
        shift = lead / self.rate_hz
        moved = (
            TimedPhoneme(symbol=p.symbol, start_s=p.start_s + shift, end_s=min(p.end_s + shift, until_s))
            for p in self.phonemes
            if p.start_s + shift < until_s
        )
        return replace(self, samples=samples, phonemes=tuple(moved))

    def save(self, stem: Path) -> None:
        """Writes `stem.flac` (lossless) and `stem.json`."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(stem.with_name(f"{stem.name}.flac"), self.samples, self.rate_hz, subtype="PCM_16")
        record = {
            "schema_version": _SCHEMA_VERSION,
            "language": self.language,
            "text": self.text,
            "phonemes": [[p.symbol, round(p.start_s, 5), round(p.end_s, 5)] for p in self.phonemes],
        }
        text = json.dumps(record, ensure_ascii=False)
        stem.with_name(f"{stem.name}.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, stem: Path) -> SpokenLine:
        """The line saved under that stem."""
        path = stem.with_name(f"{stem.name}.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        check_schema_version(record.get("schema_version"), str(path))
        samples, rate_hz = soundfile.read(stem.with_name(f"{stem.name}.flac"), dtype="int16")
        phonemes = tuple(TimedPhoneme(symbol=s, start_s=a, end_s=b) for s, a, b in record["phonemes"])
        return cls(
            samples=samples, rate_hz=rate_hz, phonemes=phonemes, language=record["language"], text=record["text"]
        )


def available() -> bool:
    """Whether new lines can be spoken here."""
    return espeak.usable()


def speak(
    text: str,
    *,
    language: str,
    voice: str | None = None,
    speed_wpm: int = 150,
    pitch: int = 50,
    recorded: Path = RECORDED_DIR,
) -> SpokenLine:
    """The text, spoken. Without espeak-ng: the recorded line of the same text and language, if there is one."""
    if not text.strip():
        raise RequestError("there is nothing to say", field="text", value=text)
    if not available():
        return _recorded_line(text, language, recorded)
    chosen = voice or VOICES.get(language, language.lower())
    samples, rate_hz, starts = espeak.synthesise(text, voice=chosen, speed_wpm=speed_wpm, pitch=pitch)
    phonemes = _until_the_next(starts, len(samples) / rate_hz)
    return SpokenLine(samples=samples, rate_hz=rate_hz, phonemes=phonemes, language=language, text=text)


def recorded_lines(recorded: Path = RECORDED_DIR) -> dict[str, SpokenLine]:
    """The lines saved in a folder, by name; empty where there are none."""
    return {path.stem: SpokenLine.load(path.with_suffix("")) for path in sorted(recorded.glob("*.json"))}


def _recorded_line(text: str, language: str, recorded: Path) -> SpokenLine:
    for line in recorded_lines(recorded).values():
        if (line.text, line.language) == (text, language):
            return line
    raise ToolMissing(
        f"espeak-ng is not installed and {recorded} holds no such line; "
        "Debian, Ubuntu: apt-get install espeak-ng (macOS: brew install espeak-ng)",
        field="text",
        value=text,
    )


def _until_the_next(starts: Sequence[tuple[str, float]], end_s: float) -> tuple[TimedPhoneme, ...]:
    """espeak tells when a phoneme begins; it ends where the next one begins."""
    ends = [start for _, start in starts[1:]] + [end_s]
    spans = zip(starts, ends, strict=True)
    return tuple(TimedPhoneme(symbol=s, start_s=a, end_s=b) for (s, a), b in spans if b > a)
