"""The catalogue: what is to be dubbed, one row per output. CSV (as Excel writes it too) or JSON Lines.

Everything that can be known to be wrong is found here, before any work, and all of it at once: each problem names the
row, the column, the value and the nearest valid choice.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shards.errors import RequestError, nearest

REQUIRED = ("title_id", "video", "audio", "language", "output")
OPTIONAL = ("quality", "seed")
COLUMNS = (*REQUIRED, *OPTIONAL)
QUALITY_STEPS = {"draft": 2, "standard": 4, "final": 10}
"""Denoising steps by quality."""
# BCP-47: a language, then any subtags. Which languages exist is not ours to say.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_TITLE = re.compile(r"[^/\\\x00-\x1f]{1,120}")


class TitleRow(BaseModel):
    """One output: this picture, with lips that speak this sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title_id: str = Field(description="names the title; rows of one title share its picture and its analysis")
    video: Path = Field(description="the source; relative to the catalogue")
    audio: Path = Field(description="the new speech, delivered as it is; relative to the catalogue")
    language: str = Field(description="BCP-47, e.g. es or pt-BR")
    output: str = Field(description="file name of the result, relative to --out")
    quality: Literal["draft", "standard", "final"] = "standard"
    seed: int = Field(0, ge=0, description="of the noise; the same seed gives the same picture")
    meta: dict[str, str] = Field(default_factory=dict, description="free `meta.*` columns, passed to the report")

    @property
    def steps(self) -> int:
        return QUALITY_STEPS[self.quality]


class CatalogueError(RequestError):
    """The catalogue is wrong; `problems` has a line for each thing to mend."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = problems
        shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
        super().__init__("\n  ".join(["the catalogue cannot be used:", *shown]), where=str(path))


def read_catalogue(path: Path) -> tuple[TitleRow, ...]:
    """All rows, checked against each other and against the disk; raises `CatalogueError` naming every problem."""
    if path.is_dir():
        raise RequestError("is a directory; a catalogue is a CSV or JSON Lines file", where=str(path))
    if not path.exists():
        raise RequestError("no such file", where=str(path), field="catalogue")
    problems: list[str] = []
    rows: list[tuple[int, TitleRow]] = []
    for number, record in _records(path, problems):
        row = _row(number, record, path.parent, problems)
        if row is not None:
            rows.append((number, row))
    if not rows and not problems:
        problems.append(f"it has no rows; the columns are {', '.join(REQUIRED)}")
    problems += _clashes(rows)
    if problems:
        raise CatalogueError(path, problems)
    return tuple(row for _, row in rows)


def _records(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number as an editor shows it, column -> value)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"is not a text file in UTF-8 ({error.reason})", where=str(path)) from None
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield from _json_record(number, line, problems)
        return
    yield from _csv_records(text, problems)


def _json_record(number: int, line: str, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        problems.append(f"row {number}: not JSON: {error.msg} at column {error.colno}")
        return
    if not isinstance(record, dict):
        problems.append(f"row {number}: a JSON object is needed, one per line")
        return
    yield number, record


def _csv_records(text: str, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    header = text.splitlines()[0] if text.strip() else ""
    # Excel writes semicolons or tabs where the comma is the decimal sign.
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="", skipinitialspace=True)
    columns = [(name or "").strip() for name in reader.fieldnames or []]
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in COLUMNS and not name.startswith("meta.")]
    for name in unknown:
        near = nearest(name, missing) or nearest(name, COLUMNS)
        hint = f"; did you mean `{near}`?" if near else ""
        problems.append(f"row 1: unknown column `{name}`{hint} Valid: {', '.join(COLUMNS)}, meta.*")
    problems += [f"row 1: the column `{name}` is missing" for name in missing]
    if unknown or missing:
        return
    reader.fieldnames = columns
    for record in reader:
        if any((value or "") for key, value in record.items() if key):
            if "" in record:
                problems.append(f"row {reader.line_num}: has more cells than the header; quote values that hold commas")
                continue
            yield reader.line_num, {k: (v or "").strip() for k, v in record.items()}


def _row(number: int, record: dict[str, Any], base: Path, problems: list[str]) -> TitleRow | None:
    """The typed row; every problem in it is added to `problems`."""
    before = len(problems)
    meta = {k.removeprefix("meta."): str(v) for k, v in record.items() if k.startswith("meta.")}
    given = {k: v for k, v in record.items() if not k.startswith("meta.") and v not in ("", None)}
    for name in sorted(set(given) - set(COLUMNS)):
        near = nearest(name, COLUMNS)
        problems.append(f"row {number}: unknown column `{name}`" + (f"; did you mean `{near}`?" if near else ""))
    problems += [f"row {number}, `{name}`: is empty" for name in REQUIRED if name not in given]
    if len(problems) > before:
        return None
    try:
        row = TitleRow(**given, meta=meta)
    except ValidationError as error:
        for item in error.errors():
            column = str(item["loc"][0])
            problems.append(f"row {number}, `{column}`: {item['msg']} (got {item.get('input')!r})")
        return None
    row = row.model_copy(update={"video": base / row.video, "audio": base / row.audio})
    problems += [f"row {number}, {text}" for text in _row_problems(row)]
    return row if len(problems) == before else None


def _row_problems(row: TitleRow) -> Iterator[str]:
    if not _TITLE.fullmatch(row.title_id):
        yield f"`title_id`: at most 120 characters without slashes (got {row.title_id!r})"
    if not _LANGUAGE.fullmatch(row.language):
        yield f"`language`: not a BCP-47 tag such as es, pt-BR or zh-Hant (got {row.language!r})"
    for column, path in (("video", row.video), ("audio", row.audio)):
        if path.is_dir():
            yield f"`{column}`: is a directory, a file is needed (got {path})"
        elif not path.exists():
            near = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else None
            yield f"`{column}`: no such file (got {path})" + (f"; did you mean {near!r}?" if near else "")
        elif path.stat().st_size == 0:
            yield f"`{column}`: the file is empty (got {path})"
    output = PurePosixPath(row.output)
    if output.is_absolute() or ".." in output.parts or "\\" in row.output or not output.suffix:
        yield f"`output`: a file name with a suffix, inside --out (got {row.output!r})"
    elif output.parts[0].startswith("."):
        yield f"`output`: names that begin with a dot are kept for the run's own records (got {row.output!r})"


def _clashes(rows: list[tuple[int, TitleRow]]) -> list[str]:
    """Rows that contradict each other."""
    problems: list[str] = []
    outputs: dict[str, int] = {}
    for number, row in rows:
        first = outputs.setdefault(row.output.casefold(), number)
        if first != number:
            problems.append(f"row {number}, `output`: row {first} writes the same file (got {row.output!r})")
    return problems
