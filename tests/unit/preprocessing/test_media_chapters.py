"""Chapters are cut with the picture, and any title comes through ffmpeg's own file as it was."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocessing.media.chapters import Chapter, chapters_file, chapters_until
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url


def raw(start: int, end: int, title: str | None) -> dict[str, Any]:
    return {"start": start, "end": end, "time_base": "1/1000", "tags": {"title": title} if title else {}}


HEADER = {"chapters": [raw(0, 500, "One"), raw(500, 1000, None), raw(1000, 1500, "Three")]}


def test_all_of_them_without_an_end() -> None:
    assert [(c.end_s, c.title) for c in chapters_until(HEADER, None)] == [
        (Fraction(1, 2), "One"),
        (Fraction(1), None),
        (Fraction(3, 2), "Three"),
    ]


def test_the_one_around_the_end_ends_there_and_later_ones_are_gone() -> None:
    found = chapters_until(HEADER, Fraction(7, 10))
    assert [(c.start_s, c.end_s) for c in found] == [
        (Fraction(0), Fraction(1, 2)),
        (Fraction(1, 2), Fraction(7, 10)),
    ]


titles = st.text(st.sampled_from("ab =;#\\[]é影\n"), min_size=1, max_size=12).filter(lambda t: not t.endswith("\\"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(titles)
def test_any_title_is_read_as_it_was_written(tmp_path: Path, title: str) -> None:
    parts = [Chapter(start_s=Fraction(n), end_s=Fraction(n + 1), title=t) for n, t in enumerate((title, "Last"))]
    written = chapters_file(tmp_path / "chapters.txt", parts)
    command = ffmpeg_command("-f", "ffmetadata", "-i", file_url(written), "-f", "ffmetadata", "pipe:1")
    text = run_media(command, deadline_s=20).stdout.decode()
    again = "title=" + "".join(f"\\{letter}" if letter in "=;#\\\n" else letter for letter in title)
    assert f"{again}\n[CHAPTER]" in text
    assert text.rstrip().endswith("title=Last")


def test_a_title_that_ends_in_a_backslash_loses_it_where_chapters_are_cut() -> None:
    header = {"chapters": [raw(0, 500, "C:\\")]}
    assert chapters_until(header, Fraction(1))[0].title == "C:"
    assert chapters_until(header, None)[0].title == "C:\\"
