"""The schema of the catalogue: what the reader takes is what the README shows."""

from __future__ import annotations

import re
from pathlib import Path

from flows.manifest import COLUMNS
from flows.rows import REQUIRED, Segment, TitleRow, columns, schema_table

README = Path(__file__).parents[3] / "README.md"


def test_every_column_is_described() -> None:
    assert [name for name, field in columns().items() if not field.description] == []


def test_required_columns_are_the_fields_without_a_default_but_the_output_which_has_a_template() -> None:
    assert {name for name, field in columns().items() if field.is_required()} == {*REQUIRED, "output"}


def test_the_table_has_a_line_for_every_column_and_shows_the_default_first() -> None:
    lines = schema_table().splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == [*columns(), "meta.*"]
    assert len({line.count("|") for line in lines}) == 1
    assert "| `speaker_mode` | `auto`, `largest`, `map`, `off` |" in schema_table()
    assert "| `quality` | `standard`, `draft`, `final` |" in schema_table()
    assert "| `dub_default` | `true`, `false` |" in schema_table()


def test_the_readme_shows_every_column_of_the_catalogue() -> None:
    shown = set(re.findall(r"^\| \**`([a-z_]+)`", README.read_text(), flags=re.MULTILINE))
    assert [name for name in COLUMNS.all if name not in shown] == []


def test_a_row_names_each_file_it_is_made_from_once() -> None:
    turn = Segment.model_validate({"start": 0, "end": 1, "speaker": "Ann", "audio": "ann.wav"})
    row = TitleRow.model_validate(
        {
            "title_id": "one",
            "video": "a.mp4",
            "audio": "a.wav",
            "language": "es",
            "output": "o.mp4",
            "segments": (turn, turn.model_copy(update={"audio": None}), turn),
            "speaker_map": {"Ann": "/faces/ann.png", "Bob": "track:1"},
        }
    )
    assert [(column, str(path)) for column, path in row.files()] == [
        ("video", "a.mp4"),
        ("audio", "a.wav"),
        ("segments", "ann.wav"),
        ("speaker_map", "/faces/ann.png"),
    ]


def test_a_row_goes_through_json_and_back() -> None:
    given = {
        "title_id": "one",
        "video": "a",
        "audio": "b",
        "language": "es",
        "output": "o.mp4",
        "start_tc": "1:00:00;02",
    }
    row = TitleRow.model_validate(given | {"segments": [{"start": "0.5", "end": 2, "speaker": "Ann"}]})
    assert TitleRow.model_validate_json(row.model_dump_json()) == row
