"""Lists that people write: rows by column from CSV (as Excel writes it too), JSON Lines or Parquet.

Owns reading them tolerantly, and telling what is wrong by row and column; what the columns mean is the list's own
business (`manifest.py`, `sources/listing.py`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from shards.errors import RequestError, nearest

MAX_SHOWN = 20
"""Problems listed in a message."""
META = "meta."
"""Begins the names of free columns."""
_HALF = re.compile(r"[\ud800-\udfff]")
_JSON_LINES = frozenset({".jsonl", ".ndjson"})
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns a list has besides `meta.*`."""

    what: str
    """The list, in messages: `a catalogue`."""
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.required, *self.optional)

    def has(self, name: str) -> bool:
        return name in self.all or name.startswith(META)


Record = tuple[int, dict[str, Any]]
"""(row number as an editor shows it, column -> value)."""


class ListError(RequestError):
    """A list is wrong; `problems` has a line for each thing to mend."""

    def __init__(self, path: Path, problems: list[str], said: str) -> None:
        self.problems = problems
        super().__init__("\n  ".join([said, *shown(problems)]), where=str(path))


def shown(problems: list[str]) -> list[str]:
    """As many as a message holds, and how many more there are."""
    more = len(problems) - MAX_SHOWN
    return problems[:MAX_SHOWN] + ([f"... and {more} more"] if more > 0 else [])


def text_records(path: Path, columns: Columns, problems: list[str]) -> Iterator[Record]:
    """The rows of a CSV or JSON Lines file; what is wrong goes to `problems`."""
    text = _text(path, columns)
    if path.suffix.lower() in _JSON_LINES:
        # Not `splitlines`: JSON may hold what Unicode calls a line separator.
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield from _json_record(number, line, problems)
        return
    try:
        yield from _csv_records(text, columns, problems)
    except csv.Error as error:
        problems.append(f"not CSV from here on: {error}; is a quote not closed?")


def parquet_records(path: Path, columns: Columns, problems: list[str]) -> Iterator[Record]:
    """The rows of a Parquet file, counted from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RequestError(f"is not Parquet: {error}", where=str(path)) from None
    if not _readable_header(table.column_names, columns, problems):
        return
    known = table.select([name for name in table.column_names if columns.has(name)])
    yield from enumerate(known.to_pylist(), start=1)


def given_values(number: int, record: dict[str, Any], columns: Columns, problems: list[str]) -> dict[str, Any] | None:
    """The values of a row that are not empty; None, and the reasons in `problems`, when columns are unknown or missing.

    Only JSON Lines need the look at names: there each row has its own.
    """
    before = len(problems)
    given = {k: v for k, v in record.items() if not k.startswith(META) and v not in ("", None)}
    for name in sorted(set(given) - set(columns.all)):
        near = nearest(name, columns.all)
        problems.append(f"row {number}: unknown column `{name}`" + (f"; did you mean `{near}`?" if near else ""))
    problems += [f"row {number}, `{name}`: is empty" for name in columns.required if name not in given]
    return given if len(problems) == before else None


def meta_values(record: dict[str, Any]) -> dict[str, str]:
    """The free columns, without their prefix."""
    return {k.removeprefix(META): str(v) for k, v in record.items() if k.startswith(META) and v is not None}


def _text(path: Path, columns: Columns) -> str:
    """The whole file; a look at its beginning keeps a film that was given by mistake out of memory."""
    with path.open("rb") as stream:
        if b"\0" in stream.read(_HEAD_BYTES):
            said = f"is not a text file; {columns.what} is CSV or JSON Lines in UTF-8"
            raise RequestError(said, where=str(path))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"is not a text file in UTF-8 ({error.reason} at byte {error.start})", where=str(path)
        ) from None


def _json_record(number: int, line: str, problems: list[str]) -> Iterator[Record]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        problems.append(f"row {number}: not JSON: {error.msg} at column {error.colno}")
        return
    if not isinstance(record, dict):
        problems.append(f"row {number}: a JSON object is needed, one per line")
        return
    # JSON can spell half of a character, which no file name, report or record can hold.
    if _HALF.search(json.dumps(record, ensure_ascii=False)):
        problems.append(f"row {number}: holds half a character (a surrogate without its other half); save it as UTF-8")
        return
    yield number, record


def _csv_records(text: str, columns: Columns, problems: list[str]) -> Iterator[Record]:
    header = text.partition("\n")[0]
    # Excel writes semicolons or tabs where the comma is the decimal sign.
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    names = [name.strip() for name in next(reader, [])]
    if not _readable_header(names, columns, problems):
        return
    for cells in reader:
        values = [cell.strip() for cell in cells]
        pairs = list(zip_longest(names, values, fillvalue=""))
        # Excel ends rows with empty cells for as far as anything was ever typed.
        if any(value for name, value in pairs if not name):
            problems.append(f"row {reader.line_num}: has more cells than the header; quote values that hold commas")
        elif any(values):
            yield reader.line_num, {name: value for name, value in pairs if columns.has(name)}


def _readable_header(names: list[str], columns: Columns, problems: list[str]) -> bool:
    """Names what is wrong with the first row; False when the rows below cannot be read by it."""
    if not any(names):
        problems.append(f"row 1: has no column names; the columns are {', '.join(columns.required)}")
        return False
    missing = [name for name in columns.required if name not in names]
    for name in names:
        if name and not columns.has(name):
            near = nearest(name, missing) or nearest(name, columns.all)
            hint = f"; did you mean `{near}`?" if near else "."
            problems.append(f"row 1: unknown column `{name}`{hint} Valid: {', '.join(columns.all)}, meta.*")
    problems += [f"row 1: the column `{name}` is missing" for name in missing]
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    problems += [f"row 1: the column `{name}` is there more than once" for name in twice]
    return not missing and not twice
