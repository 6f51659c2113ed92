"""The catalogue: what is to be dubbed, one row per output. CSV (as Excel writes it too) or JSON Lines.

Everything that can be known to be wrong is found here, before any work, and all of it at once: each problem names the
row, the column, the value and the nearest valid choice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.table import LANGUAGE, MAX_SHOWN, Columns, ListError, given_values, meta_values, text_records
from preprocessing.media.tracks import container_for
from shards.errors import RequestError, nearest

COLUMNS = Columns(
    what="a catalogue",
    required=("title_id", "video", "audio", "language", "output"),
    optional=("quality", "seed"),
)
QUALITY_STEPS = {"draft": 2, "standard": 4, "final": 10}
"""Denoising steps by quality."""
_TITLE = re.compile(r"[^/\\\x00-\x1f]{1,120}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_NAME_BYTES = 200
"""Of a part of an output's path; file systems take 255, and the files it is made from add to the name."""


class TitleRow(BaseModel):
    """One output: this picture, with lips that speak this sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title_id: str = Field(description="names the title; rows of one title share its picture and its analysis")
    video: Path = Field(description="the source; relative to the catalogue")
    audio: Path = Field(description="the new speech, delivered as it is; relative to the catalogue")
    language: str = Field(description="BCP-47, e.g. es or pt-BR")
    output: str = Field(description="file name of the result, relative to --out")
    quality: Literal["draft", "standard", "final"] = "standard"
    seed: int = Field(0, ge=0, lt=2**63, description="of the noise; the same seed gives the same picture")
    number: int = Field(0, description="the row's place in the catalogue, for messages; no column")
    meta: dict[str, str] = Field(default_factory=dict, description="free `meta.*` columns, passed to the report")

    @property
    def steps(self) -> int:
        return QUALITY_STEPS[self.quality]


class CatalogueError(ListError):
    """The catalogue is wrong; `problems` has a line for each thing to mend."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(path, problems, "the catalogue cannot be used:")


def read_catalogue(path: Path) -> tuple[TitleRow, ...]:
    """All rows, checked against each other and against the disk; raises `CatalogueError` naming every problem."""
    if path.is_dir():
        raise RequestError("is a directory; a catalogue is a CSV or JSON Lines file", where=str(path))
    if not path.exists():
        raise RequestError("no such file", where=str(path), field="catalogue")
    problems: list[str] = []
    rows: list[tuple[int, TitleRow]] = []
    for number, record in text_records(path, COLUMNS, problems):
        row = _row(number, record, path.parent, problems)
        if row is not None:
            rows.append((number, row))
    if not rows and not problems:
        problems.append(f"it has no rows; the columns are {', '.join(COLUMNS.required)}")
    problems += _clashes(rows)
    if problems:
        raise CatalogueError(path, problems)
    return tuple(row for _, row in rows)


def _row(number: int, record: dict[str, Any], base: Path, problems: list[str]) -> TitleRow | None:
    """The typed row; every problem in it is added to `problems`."""
    before = len(problems)
    given = given_values(number, record, COLUMNS, problems)
    if given is None:
        return None
    try:
        row = TitleRow(**given, number=number, meta=meta_values(record))
    except ValidationError as error:
        for item in error.errors():
            column = str(item["loc"][0])
            problems.append(f"row {number}, `{column}`: {item['msg']} (got {item.get('input')!r})")
        return None
    row = row.model_copy(update={"video": base / row.video, "audio": base / row.audio})
    # A suggestion looks through a folder: once the list is long enough, no more of them.
    problems += [f"row {number}, {text}" for text in _row_problems(row, suggest=len(problems) < MAX_SHOWN)]
    return row if len(problems) == before else None


def _row_problems(row: TitleRow, *, suggest: bool) -> Iterator[str]:
    if not _TITLE.fullmatch(row.title_id):
        yield f"`title_id`: at most 120 characters without slashes (got {row.title_id!r})"
    if not LANGUAGE.fullmatch(row.language):
        yield f"`language`: not a BCP-47 tag such as es, pt-BR or zh-Hant (got {row.language!r})"
    for column, path in (("video", row.video), ("audio", row.audio)):
        try:
            problem = _file_problem(path, suggest=suggest)
        except OSError as error:
            problem = f"cannot be looked at: {error.strerror} (got {str(path)[:200]})"
        if problem:
            yield f"`{column}`: {problem}"
    if problem := _output_problem(row.output):
        yield f"`output`: {problem} (got {row.output[:200]!r})"


def _file_problem(path: Path, *, suggest: bool) -> str | None:
    if path.is_dir():
        return f"is a directory, a file is needed (got {path})"
    if not path.exists():
        near = nearest(path.name, os.listdir(path.parent)) if suggest and path.parent.is_dir() else None
        return f"no such file (got {path})" + (f"; did you mean {near!r}?" if near else "")
    if path.stat().st_size == 0:
        return f"the file is empty (got {path})"
    return None if os.access(path, os.R_OK) else f"this program may not read it (got {path})"


def _output_problem(output: str) -> str | None:
    path = PurePosixPath(output)
    if path.is_absolute() or ".." in path.parts or "\\" in output or not path.suffix or _CONTROL.search(output):
        return "a file name with a suffix, inside --out"
    if path.parts[0].startswith("."):
        return "names that begin with a dot are kept for the run's own records"
    if max(len(part.encode()) for part in path.parts) > MAX_NAME_BYTES:
        return f"a name of at most {MAX_NAME_BYTES} bytes"
    try:
        container_for(Path(output))
    except RequestError as error:
        return f"{error.message}; valid endings: {', '.join(error.choices)}"
    return None


def _clashes(rows: list[tuple[int, TitleRow]]) -> list[str]:
    """Rows that contradict each other; two names are one where a file system may not tell capitals apart."""
    problems: list[str] = []
    outputs: dict[PurePosixPath, int] = {}
    for number, row in rows:
        first = outputs.setdefault(PurePosixPath(row.output.casefold()), number)
        if first != number:
            problems.append(f"row {number}, `output`: row {first} writes the same file (got {row.output!r})")
    return problems + [
        f"row {number}, `output`: row {outputs[folder]} writes a file where this needs a folder"
        for path, number in outputs.items()
        for folder in path.parents
        if folder in outputs
    ]
