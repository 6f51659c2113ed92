"""A list of sources: CSV, JSON Lines or Parquet, a row per file, folder or object, with what is known of it.

    source      a path (relative to the list) or an address      language   BCP-47, goes to every clip
    identity    who speaks, also called `speaker`                licence    kept with the result
    meta.*      anything, kept with the result

Everything that can be known to be wrong is told at once, by row, column and value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.languages import language_problem
from flows.sources.base import Labels, is_remote
from flows.table import (
    MAX_SHOWN,
    Columns,
    ListError,
    Record,
    given_values,
    meta_values,
    parquet_records,
    text_records,
)
from shards.errors import nearest
from shards.store import REMOTE_SCHEMES

COLUMNS = Columns(
    what="a list of sources", required=("source",), optional=("language", "identity", "speaker", "licence")
)
_TEXT = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
_PARQUET = ".parquet"
# No slash: the names that are made where nobody is named have one.
_IDENTITY = re.compile(r"[^/\\\x00-\x1f]{1,120}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A row; its path leads there from any folder."""

    source: str
    labels: Labels


def is_list(path: Path) -> bool:
    """By its ending: a file that is named itself, not one that lies in a folder."""
    return path.suffix.lower() in (*_TEXT, _PARQUET)


def read_list(path: Path) -> list[SourceRow]:
    """All rows; raises `ListError` naming every problem."""
    problems: list[str] = []
    rows = []
    for number, record in _records(path, problems):
        row = _row(number, record, path.parent, problems)
        if row is not None:
            rows.append(row)
    if not rows and not problems:
        problems.append(f"it has no rows; the columns are {', '.join(COLUMNS.all)}, meta.*")
    if problems:
        raise ListError(path, problems, "the list of sources cannot be used:")
    return rows


def _records(path: Path, problems: list[str]) -> Iterator[Record]:
    read = parquet_records if path.suffix.lower() == _PARQUET else text_records
    return read(path, COLUMNS, problems)


def _row(number: int, record: dict[str, Any], base: Path, problems: list[str]) -> SourceRow | None:
    given = given_values(number, record, COLUMNS, problems)
    if given is None:
        return None
    found = list(_problems(given, base, suggest=len(problems) < MAX_SHOWN))
    problems += [f"row {number}, {text}" for text in found]
    if found:
        return None
    source = str(given["source"])
    return SourceRow(
        source=source if is_remote(source) else str(base / source),
        labels=Labels(
            language=given.get("language"),
            identity=given.get("identity", given.get("speaker")),
            licence=given.get("licence"),
            meta=meta_values(record),
        ),
    )


def _problems(given: dict[str, Any], base: Path, *, suggest: bool) -> Iterator[str]:
    for column, value in given.items():
        if not isinstance(value, str):
            yield f"`{column}`: a text is needed (got {value!r})"
            return
    if "language" in given and (problem := language_problem(given["language"])):
        yield f"`language`: {problem}"
    for column in ("identity", "speaker"):
        if column in given and not _IDENTITY.fullmatch(given[column]):
            yield f"`{column}`: at most 120 characters without slashes (got {given[column]!r})"
    if given.get("identity", given.get("speaker")) != given.get("speaker", given.get("identity")):
        yield f"`speaker`: `identity` names another person (got {given['speaker']!r} and {given['identity']!r})"
    if problem := _place_problem(given["source"], base, suggest=suggest):
        yield f"`source`: {problem}"


def _place_problem(source: str, base: Path, *, suggest: bool) -> str | None:
    """Objects are looked for later, all of a bucket at once."""
    if is_remote(source):
        scheme = source.partition("://")[0]
        valid = ", ".join(f"{name}://" for name in REMOTE_SCHEMES)
        return None if scheme in REMOTE_SCHEMES else f"nothing reads {scheme}://; valid: {valid} (got {source!r})"
    path = base / source
    try:
        if os.path.lexists(path):
            return None
        near = nearest(path.name, os.listdir(path.parent)) if suggest and path.parent.is_dir() else None
    except OSError as error:
        return f"cannot be looked at: {error.strerror} (got {source[:200]!r})"
    return f"no such file or folder (got {source!r})" + (f"; did you mean {near!r}?" if near else "")
