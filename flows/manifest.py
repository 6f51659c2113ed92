"""The catalogue: what is to be dubbed, one row per output. CSV (as Excel writes it too), JSON Lines or Parquet.

Everything that can be known to be wrong without opening a film is found here, before any work, and all of it at once:
each problem names the row, the column, the value and the nearest valid choice. What the columns are is `rows.py`; what
only the films themselves can tell is `plan_checks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from flows.languages import language_problem
from flows.places import DEFAULT_OUTPUT, file_problem, filled_output, folder_problem, output_problem
from flows.rows import QUALITY_STEPS, REQUIRED, Segment, TitleRow, columns
from flows.segments import read_ranges, read_segments, read_speaker_map, said, speaker_problems
from flows.spans import span_problems
from flows.table import MAX_SHOWN, Columns, ListError, Record, given_values, meta_values, parquet_records, text_records
from shards.errors import RequestError

__all__ = ["COLUMNS", "QUALITY_STEPS", "CatalogueError", "Segment", "TitleRow", "read_catalogue"]

COLUMNS = Columns(
    what="a catalogue", required=REQUIRED, optional=tuple(name for name in columns() if name not in REQUIRED)
)
_TITLE = re.compile(r"(?=.*\S)[^/\\\x00-\x1f]{1,120}")


class CatalogueError(ListError):
    """The catalogue is wrong; `problems` has a line for each thing to mend."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(path, problems, "the catalogue cannot be used:")


def read_catalogue(path: Path) -> tuple[TitleRow, ...]:
    """All rows, checked against each other and against the disk; raises `CatalogueError` naming every problem."""
    if path.is_dir():
        raise RequestError("is a directory; a catalogue is a CSV, JSON Lines or Parquet file", where=str(path))
    if not path.exists():
        raise RequestError("no such file", where=str(path), field="catalogue")
    problems: list[str] = []
    rows: list[tuple[int, TitleRow]] = []
    for number, record in _records(path, problems):
        row = _row(number, record, path.parent, problems)
        if row is not None:
            rows.append((number, row))
    if not rows and not problems:
        problems.append(f"it has no rows; the columns are {', '.join(COLUMNS.required)}")
    problems += _clashes(rows)
    if problems:
        raise CatalogueError(path, problems)
    return tuple(row for _, row in rows)


def _records(path: Path, problems: list[str]) -> Iterator[Record]:
    read = parquet_records if path.suffix.lower() == ".parquet" else text_records
    return read(path, COLUMNS, problems)


def _row(number: int, record: dict[str, Any], base: Path, problems: list[str]) -> TitleRow | None:
    """The typed row; every problem in it is added to `problems`."""
    given = given_values(number, record, COLUMNS, problems)
    if given is None:
        return None
    found: list[str] = []
    # A suggestion looks through a folder: once the list is long enough, no more of them.
    suggest = len(problems) < MAX_SHOWN
    cells = _unfolded(given, base, found)
    row: TitleRow | None = None
    try:
        typed = TitleRow.model_validate({**cells, "number": number, "meta": meta_values(record)})
    except ValidationError as error:
        found += said(error)
    else:
        row = typed.model_copy(update=_led_to(typed, base))
        found += _row_problems(row, suggest=suggest)
    problems += [f"row {number}, {text}" for text in found]
    return None if found else row


def _unfolded(given: dict[str, Any], base: Path, found: list[str]) -> dict[str, Any]:
    """The cells as `TitleRow` takes them: nested ones read, the output's template filled in."""
    cells = dict(given)
    if "segments" in cells:
        cells["segments"] = read_segments(cells["segments"], base, found)
    if "speaker_map" in cells:
        cells["speaker_map"] = read_speaker_map(cells["speaker_map"], base, found)
    if "exclude_ranges" in cells:
        cells["exclude_ranges"] = read_ranges(cells["exclude_ranges"], found)
    template = cells.get("output", DEFAULT_OUTPUT)
    if isinstance(template, str):
        names = {name: str(given[name]) for name in ("title_id", "video", "language")}
        cells["output"] = filled_output(template, names, str(given.get("codec_policy", "")), found)
    return cells


def _led_to(row: TitleRow, base: Path) -> dict[str, Path | None]:
    """Its paths, from where we are."""
    checkpoint = base / row.checkpoint if row.checkpoint is not None else None
    return {"video": base / row.video, "audio": base / row.audio, "checkpoint": checkpoint}


def _row_problems(row: TitleRow, *, suggest: bool) -> Iterator[str]:
    if not _TITLE.fullmatch(row.title_id):
        yield f"`title_id`: at most 120 characters without slashes (got {row.title_id!r})"
    if problem := language_problem(row.language):
        yield f"`language`: {problem}"
    for column, path in row.files():
        if problem := file_problem(path, suggest=suggest):
            yield f"`{column}`: {problem}"
    if row.checkpoint is not None and (problem := folder_problem(row.checkpoint, suggest=suggest)):
        yield f"`checkpoint`: {problem}"
    if problem := output_problem(row.output):
        yield f"`output`: {problem} (got {row.output[:200]!r})"
    yield from span_problems(row)
    yield from speaker_problems(row)


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
