"""What the mouth aims at for each sound: IPA symbol -> `MouthTarget`.

Owns the table, for all languages at once: a mouth does not know which language it speaks. Turning targets into
smooth motion is `motion.py`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MouthTarget:
    """Where the mouth would settle if the sound lasted."""

    opening: float
    """0 lips just touching .. 1 as wide as speech ever goes."""
    width: float = 0.0
    """-1 as narrow as for u .. 0 at rest .. 1 spread as for i."""
    rounding: float = 0.0
    """0 .. 1: lips pushed forward, fuller to look at."""
    lift: float = 0.0
    """0 .. 1: the upper lip drawn up so that the teeth show on the lower lip, as for f."""
    closure: float = 0.0
    """0 .. 1: how far the sound *is* a closing of the lips; at 1 (m, b, p) they shut, whatever surrounds it."""
    firmness: float = 1.0
    """How much the sound insists on its target against its neighbours; what the tongue makes insists little."""


REST = MouthTarget(opening=0.0, firmness=0.8)
"""Silence: lips together."""

_NEUTRAL = MouthTarget(opening=0.2, firmness=0.4)


def _vowel(opening: float, width: float = 0.0, rounding: float = 0.0) -> MouthTarget:
    return MouthTarget(opening=opening, width=width, rounding=rounding)


def _inside(opening: float, width: float = 0.0, rounding: float = 0.0, firmness: float = 0.5) -> MouthTarget:
    return MouthTarget(opening=opening, width=width, rounding=rounding, firmness=firmness)


_BILABIAL = MouthTarget(opening=0.0, closure=1.0)
_LABIODENTAL = MouthTarget(opening=0.12, width=0.1, lift=1.0, firmness=1.6)

_GROUPS: tuple[tuple[str, MouthTarget], ...] = (
    ("m b p ɓ", _BILABIAL),
    ("β ɸ", MouthTarget(opening=0.06, closure=0.8)),
    ("f v ɱ ʋ", _LABIODENTAL),  # noqa: RUF001  IPA
    ("a ɐ", _vowel(0.8, 0.15)),
    ("ɑ ʌ", _vowel(0.82, -0.05)),  # noqa: RUF001  IPA
    ("æ ɛ", _vowel(0.68, 0.4)),
    ("e", _vowel(0.46, 0.5)),
    ("ə ɘ ɵ", _inside(0.34, 0.0, 0.0, 0.6)),
    ("ɜ ɝ ɚ", _vowel(0.4, -0.3, 0.35)),
    ("i", _vowel(0.26, 0.85)),
    ("ɪ ɨ ᵻ", _vowel(0.3, 0.45)),  # noqa: RUF001  IPA
    ("y ʏ", _vowel(0.2, -0.85, 0.9)),  # noqa: RUF001  IPA
    ("ø œ", _vowel(0.38, -0.6, 0.7)),
    ("u", _vowel(0.18, -1.0, 1.0)),
    ("ʊ ɯ", _vowel(0.26, -0.7, 0.7)),  # noqa: RUF001  IPA
    ("o", _vowel(0.42, -0.75, 0.8)),
    ("ɔ ɒ", _vowel(0.66, -0.5, 0.6)),
    ("w ɥ", MouthTarget(opening=0.13, width=-1.0, rounding=1.0, firmness=1.4)),
    ("ʃ ʒ ɕ ʑ ʂ ʐ", _inside(0.2, -0.45, 0.6, 1.1)),
    ("s z", _inside(0.12, 0.35, 0.0, 1.1)),
    ("θ ð", _inside(0.22, 0.15, 0.0, 0.9)),
    ("t d n ɲ ʈ ɖ ɳ", _inside(0.17, 0.15)),
    ("l ɫ ɭ ʎ ɾ r ɹ ɻ ʀ ʁ", _inside(0.26, 0.05, 0.1)),
    ("j", _inside(0.22, 0.6, 0.0, 0.7)),
    ("k ɡ g ŋ x ɣ χ h ɦ ħ ʔ q c ɟ ʕ", _inside(0.28, 0.05, 0.0, 0.35)),  # noqa: RUF001  IPA
)

TARGETS: dict[str, MouthTarget] = {symbol: target for symbols, target in _GROUPS for symbol in symbols.split()}


def targets_of(symbol: str) -> tuple[MouthTarget, ...]:
    """The targets of one IPA symbol in order: a diphthong or an affricate has two, a pause is `REST`.

    Length, stress and tie marks carry no target; a letter the table does not know gets a neutral one.
    """
    plain = unicodedata.normalize("NFD", symbol)
    letters = [c for c in plain if unicodedata.category(c) in ("Ll", "Lo", "Lu")]
    if not letters:
        return (REST,)
    return tuple(TARGETS.get(letter, _NEUTRAL) for letter in letters)
