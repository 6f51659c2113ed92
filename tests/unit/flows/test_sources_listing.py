"""Lists of sources: every form they come in, and every problem at once by row, column and value."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.sources.base import Labels
from flows.sources.listing import read_list
from flows.table import ListError
from shards.errors import RequestError

ROW = {"source": "a.mp4", "language": "pt-BR", "speaker": "Ann", "licence": "CC-BY-4.0", "meta.day": "2"}
LABELS = Labels(language="pt-BR", identity="Ann", licence="CC-BY-4.0", meta={"day": "2"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"a")
    return tmp_path


def problems(path: Path) -> list[str]:
    with pytest.raises(ListError) as caught:
        read_list(path)
    return caught.value.problems


@pytest.mark.parametrize("form", ["comma", "excel", "jsonl", "parquet"])
def test_every_form_says_the_same(folder: Path, form: str) -> None:
    path = folder / {"jsonl": "list.jsonl", "parquet": "list.parquet"}.get(form, "list.csv")
    if form == "comma":
        path.write_text(",".join(ROW) + "\n" + ",".join(ROW.values()) + "\n")
    elif form == "excel":
        path.write_bytes(b"\xef\xbb\xbf" + f"{';'.join(ROW)};;\r\n{';'.join(ROW.values())};;\r\n;;;;;;\r\n".encode())
    elif form == "jsonl":
        path.write_text(
            '{"source": "a.mp4", "language": "pt-BR", "identity": "Ann", "licence": "CC-BY-4.0", "meta.day": 2}\n'
        )
    else:
        pq.write_table(pa.Table.from_pylist([ROW]), path)
    (row,) = read_list(path)
    assert (row.source, row.labels) == (str(folder / "a.mp4"), LABELS)


def test_an_address_stays_as_it_is_and_nothing_but_a_source_is_needed(folder: Path) -> None:
    (folder / "list.csv").write_text("source\ns3://bucket/films\n")
    (row,) = read_list(folder / "list.csv")
    assert (row.source, row.labels) == ("s3://bucket/films", Labels())


def test_all_problems_are_told_at_once(folder: Path) -> None:
    (folder / "list.jsonl").write_text(
        '{"source": "a.mp", "language": "portuguese!"}\n'
        '{"source": "a.mp4", "speaker": "a/b"}\n'
        '{"source": "a.mp4", "langauge": "es"}\n'
        '{"language": "es"}\n'
        '{"source": "a.mp4", "speaker": "Ann", "identity": "Bea"}\n'
        '{"source": "ftp://host/a.mp4"}\n'
        '{"source": 7}\n'
        '{"source": "no\\u0000name"}\n'
    )
    assert problems(folder / "list.jsonl") == [
        "row 1, `language`: not a BCP-47 tag such as es, pt-BR or zh-Hant (got 'portuguese!'); did you mean 'pt'?",
        "row 1, `source`: no such file or folder (got 'a.mp'); did you mean 'a.mp4'?",
        "row 2, `speaker`: at most 120 characters without slashes (got 'a/b')",
        "row 3: unknown column `langauge`; did you mean `language`?",
        "row 4, `source`: is empty",
        "row 5, `speaker`: `identity` names another person (got 'Ann' and 'Bea')",
        "row 6, `source`: nothing reads ftp://; valid: s3://, gs://, az:// (got 'ftp://host/a.mp4')",
        "row 7, `source`: a text is needed (got 7)",
        "row 8, `source`: no such file or folder (got 'no\\x00name')",
    ]


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_an_unknown_column_is_refused_with_what_was_meant(folder: Path, name: str) -> None:
    if name.endswith("csv"):
        (folder / name).write_text("source,licens\na.mp4,x\n")
    else:
        pq.write_table(pa.Table.from_pylist([{"source": "a.mp4", "licens": "x"}]), folder / name)
    (problem,) = problems(folder / name)
    assert problem.startswith("row 1: unknown column `licens`; did you mean `licence`?")


def test_a_list_without_rows_says_which_columns_there_are(folder: Path) -> None:
    (folder / "list.csv").write_text("source,language\n")
    assert problems(folder / "list.csv") == [
        "it has no rows; the columns are source, language, identity, speaker, licence, meta.*"
    ]


@pytest.mark.parametrize(("name", "said"), [("a.parquet", "is not Parquet"), ("a.csv", "a list of sources is CSV")])
def test_a_file_that_is_no_list_is_refused(folder: Path, name: str, said: str) -> None:
    (folder / name).write_bytes(b"\0\1\2")
    with pytest.raises(RequestError, match=said):
        read_list(folder / name)
