"""Who is meant: the names of `segments` and `speaker_map`, to the people whom the analysis found in the picture.

A name is mapped to `track:IDENTITY`, an identity of the analysis, or to a reference picture, which is compared by looks
(`preprocessing/faces/identify.py`). A name that is not mapped is found by ear, unless `speaker_mode` is `map`: it is
whoever speaks in the source while that name has its segments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.rows import TRACK, TitleRow
from preprocessing.errors import Unusable
from preprocessing.faces.base import Analysis
from preprocessing.faces.identify import SAME_PERSON, Look
from preprocessing.speakers.portrait import look_of_picture

LookAt = Callable[[Path, str], Look | None]
"""(picture, landmark backend) -> what the largest face in it looks like; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Names and the people who bear them."""

    identities: Mapping[str, str]
    """Speaker -> identity; without those whom nobody in the title is."""
    problems: tuple[str, ...]
    """For each of those, why."""


def look_at(picture: Path, backend: str) -> Look | None:
    return look_of_picture(picture, backend.partition("@")[0])


def identities_of(
    row: TitleRow, analysis: Analysis, votes: Mapping[str, Mapping[str, float]], looks: LookAt = look_at
) -> Named:
    """Everybody whom the row names; `votes` says speaker -> identity -> how long that face speaks in their segments."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for speaker, wanted in row.speaker_map.items():
        try:
            identity = _mapped(wanted, analysis, looks)
        except Unusable as unusable:
            problems.append(f"speaker_map: {speaker!r} is {wanted!r}: {unusable}")
            continue
        if identity is None:
            people = ", ".join(sorted({t.identity for t in analysis.tracks})) or "nobody"
            problems.append(f"speaker_map: {speaker!r} is {wanted!r}, who is not seen in this title; it shows {people}")
        else:
            found[speaker] = identity
    if row.speaker_mode != "map":
        found |= _by_ear({s: v for s, v in votes.items() if s not in row.speaker_map}, set(found.values()))
    unknown = {segment.speaker for segment in row.segments} - found.keys() - row.speaker_map.keys()
    problems += [f"segments: nobody on screen is known to be {speaker!r}" for speaker in sorted(unknown)]
    return Named(identities=found, problems=tuple(problems))


def _mapped(wanted: str, analysis: Analysis, looks: LookAt) -> str | None:
    people = {t.identity for t in analysis.tracks}
    if wanted.startswith(TRACK):
        name = wanted.removeprefix(TRACK)
        return name if name in people else None
    look = looks(Path(wanted), analysis.landmark_backend)
    if look is None:
        return None
    likeness = [
        (look.likeness(Look(edges=t.look)), len(t.track.landmarks), t.identity)
        for t in analysis.tracks
        if t.look is not None
    ]
    best = max(likeness, default=None)
    return best[2] if best is not None and best[0] >= SAME_PERSON else None


def _by_ear(votes: Mapping[str, Mapping[str, float]], taken: set[str]) -> dict[str, str]:
    """The clearest pair first; no face is two speakers."""
    pairs = [(frames, s, i) for s, ballot in votes.items() for i, frames in ballot.items() if frames > 0]
    found: dict[str, str] = {}
    for _, speaker, identity in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
        if speaker not in found and identity not in taken:
            found[speaker] = identity
            taken.add(identity)
    return found
