"""Chapters of a title: read off the source, cut where the picture is cut, and handed to ffmpeg as a file.

Owns that file's syntax. A file, because ffmpeg copies all chapters of a source or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

_TICKS_PER_S = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A named part of a title, on the file's own clock."""

    start_s: Fraction
    end_s: Fraction
    title: str | None


def chapters_until(header: Mapping[str, Any], end_s: Fraction | None) -> tuple[Chapter, ...]:
    """The chapters a header names, those after `end_s` left out and the one around it ended there."""
    found = [
        Chapter(
            start_s=int(raw["start"]) * Fraction(str(raw["time_base"])),
            end_s=int(raw["end"]) * Fraction(str(raw["time_base"])),
            title=raw.get("tags", {}).get("title"),
        )
        for raw in header.get("chapters", [])
    ]
    if end_s is None:
        return tuple(found)
    return tuple(
        Chapter(start_s=c.start_s, end_s=min(c.end_s, end_s), title=_sayable(c.title))
        for c in found
        if c.start_s < end_s
    )


def chapters_file(path: Path, chapters: Iterable[Chapter]) -> Path:
    """The chapters as ffmpeg reads them."""
    lines = [";FFMETADATA1"]
    for chapter in chapters:
        lines += ["[CHAPTER]", f"TIMEBASE=1/{_TICKS_PER_S}"]
        lines += [f"START={round(chapter.start_s * _TICKS_PER_S)}", f"END={round(chapter.end_s * _TICKS_PER_S)}"]
        lines += [f"title={_escaped(chapter.title)}"] if chapter.title else []
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _sayable(title: str | None) -> str | None:
    """ffmpeg's reader of the file takes a backslash at a line's end, escaped or not, for the line's going on."""
    return title.rstrip("\\") if title else title


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "=;#\\\n" else letter for letter in text)
