"""What is said in a sample catalogue, by whom, and how: the words and the casting.

Owns: the sentences, their voices, and the choice for each further title, made from the seed alone. The files are
`catalogue.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from preprocessing.sample import speech
from preprocessing.sample.portrait import PHOTOGRAPHS
from preprocessing.sample.speech import SpokenLine

LEAD_IN_S, TAIL_S = 0.3, 0.4  # a breath before and after: speech that starts on frame 0 looks cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptLine:
    """Words, and how they are to be spoken."""

    name: str
    """Of the recording in `speech/`."""
    language: str
    text: str
    voice: str | None = None
    speed_wpm: int = 150
    pitch: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedTitle:
    """One title of the catalogue and the tracks it is to be dubbed with."""

    name: str
    portrait: str
    fps: Fraction
    seed: int
    line: ScriptLine
    dubs: tuple[ScriptLine, ...]


HELLO = ScriptLine(
    name="hello.en",
    language="en",
    text="Hello, and welcome! Give me a new voice, in any language, and my lips will move with every word.",
)
_HOLA = ScriptLine(
    name="hello.es",
    language="es",
    text="¡Hola! Ahora hablo español. Mira mis labios: se mueven con cada palabra.",
)
_MORNING = ScriptLine(
    name="morning.en",
    language="en",
    text="Good morning! Maybe my voice is new, but my mouth follows every sound of it.",
)
# What the further titles say. The lines that title 1 is dubbed with are not among them: a model trained on further
# titles has never heard those.
_SAID = {
    "en": (
        "We walked by the sea before breakfast, and five white boats moved past.",
        "People often hum a familiar tune while they wash up the cups.",
        "Please bring my blue umbrella, because big clouds are coming over the moor.",
        "My brother built a wooden bridge from maple and bamboo.",
        "The pepper made everybody sneeze, above all the poor old bishop.",
        "Few people have ever found out why the geese fly over this valley.",
        "Put both apples and a bit of butter in the bowl, then mix.",
        "Whoever opens the window first may choose the music tonight.",
    ),
    "es": (
        "Vamos por el camino viejo, y mañana volvemos a pie.",
        "Mi abuela prepara pan con mantequilla y miel para todos.",
        "El puente blanco se abre cuando pasan los barcos grandes.",
        "Me parece bien, pero primero compramos papel y sobres.",
    ),
    "fr": (
        "Ma bouche bouge avec chaque mot de votre belle langue.",
        "Beaucoup de bateaux passent devant le vieux moulin bleu.",
        "Nous buvons un peu de café avant de prendre le bus.",
        "Mon oncle a peint une pomme verte sur la porte.",
    ),
    "de": (
        "Mein Mund bewegt sich mit jedem Wort.",
        "Am Abend bummeln wir über die Brücke zum alten Baum.",
        "Bitte bring mir morgen früh fünf Pfund Pflaumen mit.",
        "Im Museum hängen blaue Bilder von Möwen und Booten.",
    ),
    "it": (
        "Ogni parola muove le mie labbra.",
        "Un bambino beve il suo bicchiere di latte e miele.",
        "Prima di partire compriamo pane, burro e due pomodori.",
    ),
    "pt-BR": (
        "Minha boca acompanha cada palavra da sua voz.",
        "Meu pai pintou um barco azul perto da ponte.",
        "Hoje vamos comprar pão, um pouco de mel e bananas.",
    ),
}
_SPOKEN = tuple(
    ScriptLine(name=f"line-{number}.{language}", language=language, text=text)
    for language, texts in _SAID.items()
    for number, text in enumerate(texts)
)
_RECORDED = (HELLO, _HOLA, _MORNING)
_RATES = (Fraction(30), Fraction(24000, 1001), Fraction(50), Fraction(25), Fraction(30000, 1001), Fraction(24))
_TIMBRES = ("+f2", "+f3", "+f4", "+f5")


def script(titles: int, seed: int, recorded: Path) -> Iterator[ScriptedTitle]:
    """The casting. Where nothing new can be spoken, further titles share out the recorded lines."""
    yield ScriptedTitle(
        name="hopper", portrait="hopper", fps=Fraction(25), seed=seed, line=HELLO, dubs=(_HOLA, _MORNING)
    )
    lines = _SPOKEN if speech.available() else tuple(x for x in _RECORDED if x.name in speech.recorded_lines(recorded))
    for number in range(2, titles + 1):
        yield _cast(number, seed, lines or _SPOKEN)


def _cast(number: int, seed: int, lines: Sequence[ScriptLine]) -> ScriptedTitle:
    rng = np.random.default_rng([seed, number])
    own, dub = (lines[i] for i in rng.permutation(len(lines))[:2])
    portrait = sorted(PHOTOGRAPHS)[number % len(PHOTOGRAPHS)]
    return ScriptedTitle(
        name=f"{portrait}-{number:03d}",
        portrait=portrait,
        fps=_RATES[(number - 2) % len(_RATES)],
        seed=seed + number,
        line=_voiced(own, rng),
        dubs=(_voiced(dub, rng),),
    )


def _voiced(line: ScriptLine, rng: np.random.Generator) -> ScriptLine:
    """The same words in another voice."""
    if not speech.available():
        return line
    base = speech.VOICES[line.language].partition("+")[0]
    voice = base + str(rng.choice(_TIMBRES))
    return replace(line, voice=voice, speed_wpm=int(rng.integers(130, 175)), pitch=int(rng.integers(40, 62)))


def spoken(line: ScriptLine, recorded: Path) -> SpokenLine:
    """The line as sound. A line in the voice it was recorded in is read, so that it is the same everywhere."""
    stem = recorded / line.name
    if line.voice is None and stem.with_name(f"{line.name}.json").exists():
        return SpokenLine.load(stem)
    return speech.speak(
        line.text,
        language=line.language,
        voice=line.voice,
        speed_wpm=line.speed_wpm,
        pitch=line.pitch,
        recorded=recorded,
    )
