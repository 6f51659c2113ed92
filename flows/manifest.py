"""The catalogue: what is to be dubbed, one row per output. CSV (as Excel writes it too) or JSON Lines.

Everything that can be known to be wrong is found here, before any work, and all of it at once: each problem names the
row, the column, the value and the nearest valid choice.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preprocessing.media.tracks import container_for
from shards.errors import RequestError, nearest

REQUIRED = ("title_id", "video", "audio", "language", "output")
OPTIONAL = ("quality", "seed")
COLUMNS = (*REQUIRED, *OPTIONAL)
QUALITY_STEPS = {"draft": 2, "standard": 4, "final": 10}
"""Denoising steps by quality."""
# BCP-47: a language, then any subtags. Which languages exist is not ours to say.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_TITLE = re.compile(r"[^/\\\x00-\x1f]{1,120}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_NAME_BYTES = 200
"""Of a part of an output's path; file systems take 255, and the files it is made from add to the name."""
MAX_SHOWN = 20
"""Problems listed in the message."""
_HEAD_BYTES = 4096


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


class CatalogueError(RequestError):
    """The catalogue is wrong; `problems` has a line for each thing to mend."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = problems
        more = len(problems) - MAX_SHOWN
        shown = problems[:MAX_SHOWN] + ([f"... and {more} more"] if more > 0 else [])
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
    text = _text(path)
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        # Not `splitlines`: JSON may hold what Unicode calls a line separator.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield from _json_record(number, line, problems)
        return
    try:
        yield from _csv_records(text, problems)
    except csv.Error as error:
        problems.append(f"not CSV from here on: {error}; is a quote not closed?")


def _text(path: Path) -> str:
    """The whole file; a look at its beginning keeps a film that was given by mistake out of memory."""
    with path.open("rb") as stream:
        if b"\0" in stream.read(_HEAD_BYTES):
            raise RequestError("is not a text file; a catalogue is CSV or JSON Lines in UTF-8", where=str(path))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"is not a text file in UTF-8 ({error.reason} at byte {error.start})", where=str(path)
        ) from None


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
    header = text.partition("\n")[0]
    # Excel writes semicolons or tabs where the comma is the decimal sign.
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    columns = [name.strip() for name in next(reader, [])]
    if not _readable_header(columns, problems):
        return
    for cells in reader:
        values = [cell.strip() for cell in cells]
        pairs = list(zip_longest(columns, values, fillvalue=""))
        # Excel ends rows with empty cells for as far as anything was ever typed.
        if any(value for name, value in pairs if not name):
            problems.append(f"row {reader.line_num}: has more cells than the header; quote values that hold commas")
        elif any(values):
            yield reader.line_num, {name: value for name, value in pairs if _is_known(name)}


def _readable_header(columns: list[str], problems: list[str]) -> bool:
    """Names what is wrong with the first row; False when the rows below cannot be read by it."""
    if not any(columns):
        problems.append(f"row 1: has no column names; the columns are {', '.join(REQUIRED)}")
        return False
    missing = [name for name in REQUIRED if name not in columns]
    for name in columns:
        if name and not _is_known(name):
            near = nearest(name, missing) or nearest(name, COLUMNS)
            hint = f"; did you mean `{near}`?" if near else "."
            problems.append(f"row 1: unknown column `{name}`{hint} Valid: {', '.join(COLUMNS)}, meta.*")
    problems += [f"row 1: the column `{name}` is missing" for name in missing]
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    problems += [f"row 1: the column `{name}` is there more than once" for name in twice]
    return not missing and not twice


def _is_known(name: str) -> bool:
    return name in COLUMNS or name.startswith("meta.")


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
        row = TitleRow(**given, number=number, meta=meta)
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
    if not _LANGUAGE.fullmatch(row.language):
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
