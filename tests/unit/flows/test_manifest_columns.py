"""The catalogue's optional columns: what each holds in each kind of file, and where they contradict each other."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.manifest import COLUMNS, CatalogueError, read_catalogue
from flows.moments import Moment
from flows.rows import Segment, TitleRow
from shards.errors import RequestError

LEAST = {"title_id": "one", "video": "one.mp4", "audio": "one.m4a", "language": "es", "output": "one.es.mp4"}
ALL: dict[str, Any] = LEAST | {
    "output": "one.es.mov",
    "audio_stream": 2,
    "audio_offset_ms": -40,
    "duration_policy": "freeze",
    "start_tc": "01:00:00:00",
    "end_tc": "01:10:00:00",
    "segments": [
        {"start": "01:00:01:00", "end": "01:00:02:12", "speaker": "Ann"},
        {"start": "01:00:02:00", "end": "01:00:04:00", "speaker": "Bob", "audio": "one.m4a"},
    ],
    "speaker_map": {"Ann": "ann.png", "Bob": "track:2"},
    "speaker_mode": "map",
    "exclude_ranges": [["01:05:00:00", "01:06:00:00"]],
    "quality": "final",
    "seed": 7,
    "checkpoint": "models",
    "codec_policy": "mezzanine:prores_422hq",
    "keep_audio": False,
    "dub_default": False,
    "subtitle_policy": "not_default",
    "provenance": "c2pa",
    "consent_ref": "C-17",
    "rights_end": "2027-03-31",
    "priority": 3,
}
"""A row that gives every column there is."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalogue's folder with the files it names."""
    for name in ("one.mp4", "one.m4a", "ann.png"):
        (tmp_path / name).write_bytes(b"media")
    (tmp_path / "models").mkdir()
    return tmp_path


def read(folder: Path, text: str, name: str) -> tuple[TitleRow, ...]:
    (folder / name).write_text(text)
    return read_catalogue(folder / name)


def read_one(folder: Path, **columns: Any) -> TitleRow:
    (title,) = read(folder, json.dumps(LEAST | columns), "catalogue.jsonl")
    return title


def problems(folder: Path, **columns: Any) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        read_one(folder, **columns)
    return [text.removeprefix("row 1, ") for text in caught.value.problems]


def turn(start: object, end: object, speaker: str, **more: object) -> dict[str, object]:
    return {"start": start, "end": end, "speaker": speaker, **more}


# -- three kinds of file -----------------------------------------------------------------------------------------------


def assert_all(title: TitleRow, folder: Path) -> None:
    moments = [Moment.parse(f"01:{text}") for text in ("00:00:00", "10:00:00", "05:00:00", "06:00:00")]
    assert [title.start, title.end, *title.excluded[0]] == moments
    ann, bob = ALL["segments"]
    assert title.segments == tuple(Segment.model_validate(t) for t in (ann, bob | {"audio": folder / "one.m4a"}))
    assert title.speaker_map == {"Ann": str(folder / "ann.png"), "Bob": "track:2"}
    assert (title.checkpoint, title.rights_end) == (folder / "models", date(2027, 3, 31))
    read_otherwise = {"video", "audio", "segments", "speaker_map", "checkpoint", "rights_end"}
    for name in set(ALL) & set(TitleRow.model_fields) - read_otherwise:
        assert getattr(title, name) == ALL[name], name


def test_the_row_that_gives_everything_gives_every_column() -> None:
    assert set(ALL) == set(COLUMNS.all)


def test_json_lines_hold_nested_values_as_they_are(folder: Path) -> None:
    assert_all(read_one(folder, **ALL), folder)


def test_a_spreadsheet_holds_nested_values_as_json_in_a_cell(folder: Path) -> None:
    cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in ALL.items()}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(cells), delimiter=";")
    writer.writeheader()
    writer.writerow({**cells, "keep_audio": "FALSE", "dub_default": "no"})
    (title,) = read(folder, text.getvalue(), "catalogue.csv")
    assert_all(title, folder)


def test_parquet_holds_typed_columns_and_rows_are_counted(folder: Path) -> None:
    rows = [
        ALL | {"rights_end": date(2027, 3, 31)},
        # A row without a map has the keys of the others, all of them empty.
        ALL
        | {"output": "2.mov", "speaker_map": {"Ann": None, "Bob": None}, "speaker_mode": "auto", "segments": None}
        | {"rights_end": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "catalogue.parquet")
    first, second = read_catalogue(folder / "catalogue.parquet")
    assert_all(first, folder)
    assert (second.number, second.speaker_map, second.segments, second.rights_end) == (2, {}, (), None)


def test_a_parquet_file_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match="is not Parquet"):
        read(folder, "not at all", "catalogue.parquet")


# -- defaults ----------------------------------------------------------------------------------------------------------


def test_columns_that_are_left_out_change_nothing(folder: Path) -> None:
    title = read_one(folder)
    assert (title.speaker_mode, title.duration_policy, title.codec_policy) == ("auto", "keep_picture", "match")
    assert (title.keep_audio, title.dub_default, title.subtitle_policy, title.provenance) == (
        True,
        True,
        "keep",
        "sidecar",
    )
    given = {"number", "title_id", "video", "audio", "language", "output"}
    assert {name: value for name, value in title if name not in given} == {
        name: field.get_default(call_default_factory=True)
        for name, field in TitleRow.model_fields.items()
        if name not in given
    }


@pytest.mark.parametrize(
    ("columns", "output"),
    [
        ({}, "one.es.mp4"),
        ({"output": "{language}/{stem}_dub{ext}"}, "es/one_dub.mp4"),
        ({"output": "{title_id}{ext}", "title_id": "{stem}"}, "{stem}.mp4"),
        ({"codec_policy": "mezzanine:dnxhr_hqx"}, "one.es.mov"),
        ({"output": ""}, "one.es.mp4"),
    ],
)
def test_an_output_is_a_name_or_what_a_template_comes_to(folder: Path, columns: dict[str, str], output: str) -> None:
    given = {name: value for name, value in LEAST.items() if name != "output"} | columns
    (title,) = read(folder, json.dumps(given), "catalogue.jsonl")
    assert title.output == output


# -- nested cells ------------------------------------------------------------------------------------------------------


def test_turns_are_read_from_a_file_whose_stems_lie_beside_it(folder: Path) -> None:
    (folder / "stems").mkdir()
    (folder / "stems" / "bob.wav").write_bytes(b"sound")
    (folder / "stems" / "turns.csv").write_text("start;end;speaker;audio\n0:01;0:02.5;Ann;\n2;4;Bob;bob.wav\n")
    title = read_one(folder, segments="stems/turns.csv")
    assert [(turn.speaker, turn.audio) for turn in title.segments] == [("Ann", None), ("Bob", folder / "stems/bob.wav")]


@pytest.mark.parametrize("name", ["turns.json", "turns.jsonl"])
def test_turns_are_read_from_json(folder: Path, name: str) -> None:
    turns = [turn("01:00:00:00", "01:00:01:00", "Ann"), turn("01:00:01:00", "01:00:02:00", "Ann")]
    (folder / name).write_text(json.dumps(turns) if name.endswith(".json") else "\n".join(map(json.dumps, turns)))
    assert read_one(folder, segments=name).segments == tuple(Segment.model_validate(t) for t in turns)


def test_ranges_in_a_cell_have_commas_between_them(folder: Path) -> None:
    title = read_one(folder, exclude_ranges="1:00-1:30, 90.5 \u2013 95")
    assert [(str(start), str(end)) for start, end in title.excluded] == [("60", "90"), ("90.5", "95")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "start,end,speaker\n1,2,Ann\nx,2,Bob\n", "t.csv, row 3, `start`: not a moment"),
        ("t.csv", "start,end,speaker\n1,2,Ann\n1,,Bob\n", "t.csv, row 3, `end`: is empty"),
        ("t.csv", "start,end\n1,2\n", "t.csv, row 1: the column `speaker` is missing"),
        ("t.jsonl", '{"start": 1, "end": 2}', "t.jsonl, row 1, `speaker`: is empty"),
        ("t.json", "{}", "t.json cannot be read: it holds no list of turns"),
        ("t.json", "[", "t.json cannot be read: "),
        ("t.csv", "\0", "t.csv cannot be read: "),
        ("t.csv", "", "the file is empty (got "),
        ("t.txt", "turns", "turns are read from .csv, "),
    ],
)
def test_what_is_wrong_in_a_file_of_turns_is_told_by_its_rows(folder: Path, name: str, text: str, said: str) -> None:
    (folder / name).write_text(text)
    (problem,) = problems(folder, segments=name)
    assert problem.startswith(f"`segments`: {said}"), problem


def test_files_inside_nested_cells_are_looked_for(folder: Path) -> None:
    found = problems(folder, segments=[turn(1, 2, "Ann", audio="on.m4a")], speaker_map={"Ann": "an.png"})
    assert found == [
        f"`segments`: no such file (got {folder / 'on.m4a'}); did you mean 'one.m4a'?",
        f"`speaker_map`: no such file (got {folder / 'an.png'}); did you mean 'ann.png'?",
    ]


# -- wrong values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"language": "en_US"},
            "`language`: not a BCP-47 tag such as es, pt-BR or zh-Hant (got 'en_US'); did you mean",
        ),
        ({"quality": "finel"}, "`quality`: Input should be 'draft', 'standard' or 'final' (got 'finel'); did you mean"),
        ({"codec_policy": "mezzanine"}, "`codec_policy`: Input should be 'match', 'mezzanine:prores_422hq', "),
        ({"audio_stream": -1}, "`audio_stream`: Input should be greater than or equal to 0 (got -1)"),
        ({"audio_offset_ms": 1.5}, "`audio_offset_ms`: Input should be a valid integer"),
        ({"keep_audio": "maybe"}, "`keep_audio`: Input should be a valid boolean"),
        ({"start_tc": "noon"}, "`start_tc`: not a moment such as 01:02:03:12, 01:02:03;12, "),
        ({"start_tc": -1}, "`start_tc`: not a moment such as "),
        ({"rights_end": "31.12.2026"}, "`rights_end`: not a day such as 2027-03-31 (got '31.12.2026')"),
        ({"rights_end": 46387}, "`rights_end`: not a day such as 2027-03-31 (got 46387)"),
        ({"checkpoint": "model"}, "`checkpoint`: no such folder (got "),
        ({"checkpoint": "one.mp4"}, "`checkpoint`: is a file, a folder is needed (got "),
        ({"segments": "turns.csv"}, "`segments`: no such file (got "),
        ({"segments": 7}, "`segments`: a file of turns or a JSON list of them is needed (got 7)"),
        ({"speaker_mode": "map"}, "`speaker_mode`: map needs a `speaker_map`, and there is none"),
        ({"speaker_map": "Ann"}, "`speaker_map`: a JSON object such as "),
        ({"speaker_map": {"Ann": 1}}, "`speaker_map`: a JSON object such as "),
        ({"speaker_map": {"Ann": "track:"}}, "`speaker_map`: `track:` is followed by an identity of the analysis"),
        ({"end_tc": "0"}, "`end_tc`: it is the first frame, so that nothing would be dubbed"),
        ({"title_id": " "}, "`title_id`: at most 120 characters without slashes (got ' ')"),
        ({"meta.note": "\ud83d"}, "row 1: holds half a character"),
        ({"exclude_ranges": "1:00"}, "`exclude_ranges`: ranges are written as 1:00-1:30, 4:10-4:12 (got '1:00')"),
        ({"exclude_ranges": [[1, 2, 3]]}, "`exclude_ranges`, 1"),
        ({"exclude_ranges": 7}, "`exclude_ranges`: a list of ranges such as "),
        ({"output": "{title}.mp4"}, "`output`: there is no {title} to fill in; did you mean {title_id}? Valid: "),
        ({"priorty": 1}, "row 1: unknown column `priorty`; did you mean `priority`?"),
    ],
)
def test_a_wrong_value_is_told_by_column_and_value(folder: Path, columns: dict[str, Any], said: str) -> None:
    (problem,) = problems(folder, **columns)
    assert problem.startswith(said)


def test_every_problem_of_a_row_is_told_with_those_of_its_nested_cells(folder: Path) -> None:
    found = problems(
        folder,
        quality="best",
        segments=[turn("x", 2, "Ann"), {"star": 1, "end": 2, "speaker": "Bob"}, 7],
        speaker_map="{",
        exclude_ranges=[["a", 2]],
        output="{stam}.mp4",
    )
    beginnings = [
        "`segments`: turn 1, `start`: not a moment such as",
        "`segments`: turn 2: there is no `star` in a turn; did you mean `start`?",
        "`segments`: turn 2, `start`: Field required",
        "`segments`: turn 3: an object with start, end and speaker is needed (got 7)",
        "`speaker_map`: not JSON: ",
        "`output`: there is no {stam} to fill in; did you mean {stem}?",
        "`exclude_ranges`, 1, 1: not a moment such as",
        "`quality`: Input should be 'draft', 'standard' or 'final' (got 'best')",
    ]
    assert [text[: len(said)] for text, said in zip(found, beginnings, strict=True)] == beginnings


# -- columns against each other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"start_tc": "10", "end_tc": "5"}, ["`end_tc`: 5 is not after `start_tc`, 10"]),
        ({"segments": [turn(2, 1, "Ann")]}, ["`segments`: turn 1 of Ann ends at 1, not after its start, 2"]),
        (
            {"segments": [turn(4, 6, "Ann"), turn(1, 5, "Bob"), turn(1, 4.5, "Ann")]},
            ["`segments`: turns 3 and 1 of Ann overlap (4.5 and 4)"],
        ),
        (
            {"segments": [turn(1, 9, "Ann"), turn(2, 3, "Ann"), turn(4, 5, "Ann")]},
            [
                "`segments`: turns 1 and 2 of Ann overlap (9 and 2)",
                "`segments`: turns 1 and 3 of Ann overlap (9 and 4)",
            ],
        ),
        (
            {"segments": [turn(1, 2, "Ann")], "speaker_map": {"Anne": "track:1"}},
            ["`speaker_map`: nobody of that name has a turn in `segments` (got 'Anne'); did you mean 'Ann'?"],
        ),
        (
            {"segments": [turn(1, 2, "Bob")], "speaker_map": {"Ann": "track:1"}, "speaker_mode": "map"},
            [
                "`speaker_map`: nobody of that name has a turn in `segments` (got 'Ann')",
                "`segments`: the speaker is not in the `speaker_map` (got 'Bob')",
            ],
        ),
        ({"exclude_ranges": [[3, 3]]}, ["`exclude_ranges`: 3-3 ends before it has begun"]),
        (
            {"exclude_ranges": [[1, 2], [4, 6]], "start_tc": 5},
            ["`exclude_ranges`: 1-2 is outside the part from `start_tc` to `end_tc`"],
        ),
        (
            {"exclude_ranges": [[7, 8]], "end_tc": 7},
            ["`exclude_ranges`: 7-8 is outside the part from `start_tc` to `end_tc`"],
        ),
    ],
)
def test_columns_that_contradict_each_other_are_named(folder: Path, columns: dict[str, Any], said: list[str]) -> None:
    assert problems(folder, **columns) == said


@pytest.mark.parametrize(
    "columns",
    [
        {"segments": [turn(1, 2, "Ann"), turn(2, 3, "Ann"), turn(1, 3, "Bob")]},
        {"speaker_map": {"Ann": "track:1"}, "speaker_mode": "map"},
        {"segments": [turn(1, 2, "Bob")], "speaker_mode": "auto"},
        # A timecode and a clock time: the source's own timecode decides.
        {"start_tc": "01:00:00:00", "end_tc": "10"},
        {"start_tc": "23:59:00:00", "end_tc": "00:01:00:00"},
        {"audio_offset_ms": 500, "duration_policy": "fail"},
    ],
)
def test_columns_that_may_agree_are_taken(folder: Path, columns: dict[str, Any]) -> None:
    assert read_one(folder, **columns).title_id == "one"


ODD_VALUES: tuple[Any, ...] = (
    *(0, -1, 1.5, 1e300, float("nan"), float("inf"), True, 10**40, "", " ", "a\0b", "\x7f", "☃", "n" * 5000, "..", "/"),
    *(
        "{",
        "[",
        "[]",
        "{}",
        "[[]]",
        "[1]",
        "[[1,2]]",
        '{"a":{}}',
        "track:",
        "1-2-3",
        "-",
        "a.json",
        "{title_id",
        "\ud800",
    ),
    *([], [[]], [[1]], [["a", "b"]], [None], [{}], {}, {"a": []}, {"": "x"}, {"a": "\0"}, {"a": None}),
    *([{"start": 1}], [{"start": None, "end": float("nan"), "speaker": []}], [turn(1, 2, "A", audio="\0")]),
)


@pytest.mark.parametrize("column", COLUMNS.all)
def test_no_value_of_any_column_does_worse_than_a_refusal(folder: Path, column: str) -> None:
    refusals = []
    for value in ODD_VALUES:
        try:
            read_one(folder, **{column: value})
        except RequestError as error:
            refusals.append(str(error))
    assert len(refusals) > len(ODD_VALUES) // 4
    assert "\n".join(refusals).encode(), "a message that no terminal or log can show"
