"""Nested cells: who speaks when (`segments`), who they are (`speaker_map`), what is left alone (`exclude_ranges`).

JSON Lines and Parquet hold them as values; a CSV cell holds the same as JSON, or the path of a file of turns, or
ranges as `1:00-1:30, 4:10-4:12`. Owns turning each into typed values whose paths lead there from any folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.places import file_problem
from flows.rows import TRACK, Segment, TitleRow
from flows.table import Columns, Record, given_values, text_records
from shards.errors import RequestError, nearest

TURN_COLUMNS = Columns(what="a list of turns", required=("start", "end", "speaker"), optional=("audio",))
_TURN_FILES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
# Spreadsheets turn a hyphen between figures into a dash.
_RANGE = re.compile(r"\s*([^-\u2013\s]+)\s*[-\u2013]\s*([^-\u2013\s]+)\s*")


@dataclass(frozen=True, slots=True)
class CellProblems:
    """Gathers what is wrong with one cell."""

    column: str
    found: list[str]

    def add(self, text: str) -> None:
        self.found.append(f"`{self.column}`: {text}")


def read_segments(cell: Any, base: Path, found: list[str]) -> tuple[Segment, ...]:
    """The turns a cell holds or leads to; what is wrong with them goes to `found`."""
    problems = CellProblems("segments", found)
    value = _from_json(cell, "[", problems)
    if isinstance(value, str):
        path = base / value
        records, base, where = _turns_of_file(path, problems), path.parent, f"{path.name}, row"
    elif isinstance(value, list):
        records, where = enumerate(value, start=1), "turn"
    else:
        problems.add(f"a file of turns or a JSON list of them is needed (got {_short(cell)})")
        return ()
    turns = (_turn(f"{where} {number}", record, base, problems) for number, record in records)
    return tuple(turn for turn in turns if turn is not None)


def _turns_of_file(path: Path, problems: CellProblems) -> Iterator[tuple[int, Any]]:
    if path.suffix.lower() not in _TURN_FILES:
        problems.add(f"turns are read from {', '.join(_TURN_FILES)} (got {path.name!r})")
    elif problem := file_problem(path, suggest=True):
        problems.add(problem)
    else:
        try:
            yield from _json_turns(path) if path.suffix.lower() == ".json" else _listed_turns(path, problems)
        except (RequestError, ValueError) as error:
            problems.add(f"{path.name} cannot be read: {error}")


def _json_turns(path: Path) -> Iterator[tuple[int, Any]]:
    value = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(value, list):
        raise ValueError("it holds no list of turns")
    return iter(enumerate(value, start=1))


def _listed_turns(path: Path, problems: CellProblems) -> Iterator[Record]:
    wrong: list[str] = []
    for number, record in text_records(path, TURN_COLUMNS, wrong):
        given = given_values(number, record, TURN_COLUMNS, wrong)
        if given is not None:
            yield number, given
    for text in wrong:
        problems.add(f"{path.name}, {text}")


def _turn(where: str, record: Any, base: Path, problems: CellProblems) -> Segment | None:
    if not isinstance(record, Mapping):
        problems.add(f"{where}: an object with start, end and speaker is needed (got {_short(record)})")
        return None
    for name in sorted(set(map(str, record)) - set(TURN_COLUMNS.all)):
        near = nearest(name, TURN_COLUMNS.all)
        problems.add(f"{where}: there is no `{name}` in a turn" + (f"; did you mean `{near}`?" if near else ""))
    given = {name: record[name] for name in TURN_COLUMNS.all if record.get(name) not in (None, "")}
    try:
        turn = Segment.model_validate(given)
    except ValidationError as error:
        for text in said(error):
            problems.add(f"{where}, {text}")
        return None
    return turn if turn.audio is None else turn.model_copy(update={"audio": base / turn.audio})


def read_speaker_map(cell: Any, base: Path, found: list[str]) -> dict[str, str]:
    """Speaker -> where the reference picture lies, or an identity of the analysis."""
    problems = CellProblems("speaker_map", found)
    value = _from_json(cell, "{", problems)
    if not isinstance(value, Mapping) or not all(isinstance(v, str | None) for v in value.values()):
        problems.add(f'a JSON object such as {{"Ann": "ann.jpg", "Bob": "{TRACK}1"}} is needed (got {_short(cell)})')
        return {}
    # Parquet gives every row the keys of all rows.
    given = {str(speaker): place for speaker, place in value.items() if place}
    return {
        speaker: place if place.startswith(TRACK) else str((base / place).absolute())
        for speaker, place in given.items()
    }


def read_ranges(cell: Any, found: list[str]) -> list[Any]:
    """Pairs of what should be moments; `TitleRow` reads those."""
    problems = CellProblems("exclude_ranges", found)
    value = _from_json(cell, "[", problems)
    if isinstance(value, str):
        parts = [part for part in re.split(r"[,|\n]", value) if part.strip()]
        pairs = [_RANGE.fullmatch(part) for part in parts]
        for part, pair in zip(parts, pairs, strict=True):
            if pair is None:
                problems.add(f"ranges are written as 1:00-1:30, 4:10-4:12 (got {part.strip()!r})")
        return [pair.groups() for pair in pairs if pair]
    if isinstance(value, list):
        return value
    problems.add(f"a list of ranges such as 1:00-1:30, 4:10-4:12 is needed (got {_short(cell)})")
    return []


def speaker_problems(row: TitleRow) -> Iterator[str]:
    """Where turns, map and mode contradict each other."""
    turns = list(dict.fromkeys(turn.speaker for turn in row.segments))
    if row.speaker_mode == "map" and not row.speaker_map:
        yield "`speaker_mode`: map needs a `speaker_map`, and there is none"
    for name in [name for name, place in row.speaker_map.items() if place == TRACK]:
        yield f"`speaker_map`: `{TRACK}` is followed by an identity of the analysis (got {name!r}: {TRACK!r})"
    if turns:
        for name in [name for name in row.speaker_map if name not in turns]:
            yield f"`speaker_map`: nobody of that name has a turn in `segments` (got {name!r}){_hint(name, turns)}"
    if row.speaker_mode == "map" and row.speaker_map:
        for name in [name for name in turns if name not in row.speaker_map]:
            near = _hint(name, list(row.speaker_map))
            yield f"`segments`: the speaker is not in the `speaker_map` (got {name!r}){near}"


def said(error: ValidationError) -> Iterator[str]:
    """What pydantic found, as `column`: what is wrong, the value, and the nearest valid choice where there are some."""
    for item in error.errors():
        column, *inner = [str(part) for part in item["loc"]] or [""]
        place = f"`{column}`" + "".join(f", {int(p) + 1}" if p.isdigit() else f", {p}" for p in inner)
        choices = re.findall(r"'([^']*)'", str(item.get("ctx", {}).get("expected", "")))
        value = item.get("input")
        yield f"{place}: {item['msg'].removeprefix('Value error, ')} (got {_short(value)}){_hint(str(value), choices)}"


def _hint(value: str, choices: list[str]) -> str:
    near = nearest(value, choices)
    return f"; did you mean {near!r}?" if near else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _from_json(cell: Any, opens: str, problems: CellProblems) -> Any:
    """A text cell that begins as JSON, read; anything else as it is."""
    if not isinstance(cell, str) or not cell.lstrip().startswith(opens):
        return cell
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        problems.add(f"not JSON: {error.msg} at character {error.pos + 1} (got {_short(cell)})")
        return {} if opens == "{" else []
