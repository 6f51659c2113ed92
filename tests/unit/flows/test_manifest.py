"""The catalogue: everything that is wrong with it is said, at once, in words a person can act on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows import places
from flows.manifest import CatalogueError, TitleRow, read_catalogue
from flows.table import MAX_SHOWN
from shards.errors import RequestError

HEADER = "title_id,video,audio,language,output"
GOOD = "one,one.mp4,one.m4a,es,one.es.mp4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalogue's folder with the files it names."""
    for name in ("one.mp4", "two.mp4", "one.m4a"):
        (tmp_path / name).write_bytes(b"media")
    (tmp_path / "void.m4a").touch()
    (tmp_path / "films").mkdir()
    return tmp_path


def read(folder: Path, text: str | bytes, name: str = "catalogue.csv") -> tuple[TitleRow, ...]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_catalogue(path)


def problems(folder: Path, text: str | bytes, name: str = "catalogue.csv") -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        read(folder, text, name)
    return caught.value.problems


def row(**columns: Any) -> str:
    given = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | columns
    return "\n".join([",".join(given), ",".join(str(v) for v in given.values())])


# -- what is read ------------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_catalogue_and_defaults_are_filled_in(folder: Path) -> None:
    (title,) = read(folder, f"{HEADER}\n{GOOD}\n")
    assert title.video == folder / "one.mp4"
    assert title.audio == folder / "one.m4a"
    assert (title.quality, title.seed, title.steps, title.meta) == ("standard", 0, 4, {})


def test_an_absolute_path_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    (title,) = read(folder, row(video=tmp_path / "two.mp4"))
    assert title.video == tmp_path / "two.mp4"


def test_excel_writes_a_mark_semicolons_and_windows_line_ends(folder: Path) -> None:
    text = "\ufeff" + f"{HEADER}\r\n{GOOD}\r\n".replace(",", ";")
    assert [title.title_id for title in read(folder, text)] == ["one"]


def test_tabs_part_columns_as_well(folder: Path) -> None:
    assert len(read(folder, f"{HEADER}\n{GOOD}".replace(",", "\t"))) == 1


def test_blank_lines_and_rows_of_empty_cells_are_no_rows(folder: Path) -> None:
    assert len(read(folder, f"{HEADER}\n\n{GOOD}\n,,,,\n\n  \n")) == 1


def test_empty_cells_beyond_the_last_column_are_what_excel_leaves_behind(folder: Path) -> None:
    assert len(read(folder, f"{HEADER},,\n{GOOD},,\n,,,,,,\n")) == 1


def test_a_quoted_cell_may_hold_commas_and_lines(folder: Path) -> None:
    (title,) = read(folder, f'{HEADER},meta.note\n{GOOD},"first, second\nthird"\n')
    assert title.meta == {"note": "first, second\nthird"}


def test_json_lines_hold_the_same_columns(folder: Path) -> None:
    record = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {"seed": 7, "meta.client": "A"}
    (title,) = read(folder, "\n" + json.dumps(record) + "\n\n", "catalogue.jsonl")
    assert (title.seed, title.meta) == (7, {"client": "A"})


def test_a_line_separator_inside_json_does_not_cut_the_line(folder: Path) -> None:
    record = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {"title_id": "one\u2028two"}
    (title,) = read(folder, json.dumps(record, ensure_ascii=False), "catalogue.jsonl")
    assert title.title_id == "one\u2028two"


# -- the first row -----------------------------------------------------------------------------------------------------


def test_a_misspelt_column_names_the_nearest_one(folder: Path) -> None:
    (unknown, missing) = problems(folder, f"{HEADER.replace('video', 'vidoe')}\n{GOOD}\n")
    assert unknown.startswith("row 1: unknown column `vidoe`; did you mean `video`? Valid: title_id, ")
    assert missing == "row 1: the column `video` is missing"


def test_a_column_like_none_of_ours_is_answered_with_the_list(folder: Path) -> None:
    (unknown,) = problems(folder, f"{HEADER},qqq\n{GOOD},1\n")
    assert unknown.startswith("row 1: unknown column `qqq`. Valid: title_id, ")


def test_an_unknown_column_does_not_hide_what_is_wrong_in_the_rows(folder: Path) -> None:
    assert len(problems(folder, row(language="?", qqq=1))) == 2


def test_a_column_given_twice_is_refused(folder: Path) -> None:
    assert problems(folder, f"{HEADER},video\n{GOOD},two.mp4\n") == [
        "row 1: the column `video` is there more than once"
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "   \n"])
def test_an_empty_catalogue_says_which_columns_it_needs(folder: Path, text: str) -> None:
    assert problems(folder, text) == ["row 1: has no column names; the columns are title_id, video, audio, language"]


@pytest.mark.parametrize(("text", "name"), [(HEADER, "c.csv"), (f"{HEADER}\n,,,,\n", "c.csv"), ("\n", "c.jsonl")])
def test_a_catalogue_without_rows_is_refused(folder: Path, text: str, name: str) -> None:
    assert problems(folder, text, name) == ["it has no rows; the columns are title_id, video, audio, language"]


# -- the file itself ---------------------------------------------------------------------------------------------------


def test_a_film_given_as_the_catalogue_is_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(
        RequestError, match=r"film\.mp4: is not a text file; a catalogue is CSV or JSON Lines"
    ) as caught:
        read(folder, b"\0\0\0 ftypisom" + bytes(range(256)), "film.mp4")
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf_8_is_refused_with_the_place(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"is not a text file in UTF-8 \(.* at byte 37\)"):
        read(folder, f"{HEADER}\n".encode() + "ñ".encode("latin-1") + GOOD.encode())


def test_a_folder_or_nothing_at_all_is_no_catalogue(folder: Path) -> None:
    with pytest.raises(RequestError, match="is a directory"):
        read_catalogue(folder)
    with pytest.raises(RequestError, match="no such file"):
        read_catalogue(folder / "absent.csv")


def test_a_quote_that_is_never_closed_does_not_swallow_the_rest_in_silence(folder: Path) -> None:
    (problem,) = problems(folder, f'{HEADER}\n"{GOOD}\n{GOOD}\n')
    assert "is a quote not closed?" in problem


def test_a_line_that_is_no_json_is_named_and_the_others_are_read_on(folder: Path) -> None:
    found = problems(folder, '{"title_id": \n[1]\n{"titel": "x"}\n', "catalogue.jsonl")
    assert found[0].startswith("row 1: not JSON: ")
    assert found[1] == "row 2: a JSON object is needed, one per line"
    assert found[2] == "row 3: unknown column `titel`; did you mean `title_id`?"


# -- rows --------------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_told_by_row_column_value_and_nearest_name(folder: Path) -> None:
    (problem,) = problems(folder, row(video="ome.mp4"))
    assert problem == f"row 2, `video`: no such file (got {folder / 'ome.mp4'}); did you mean 'one.mp4'?"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"video": "films"}, "`video`: is a directory, a file is needed (got "),
        ({"audio": "void.m4a"}, "`audio`: the file is empty (got "),
        ({"audio": "nowhere/new.m4a"}, "`audio`: no such file (got "),
        ({"video": "n" * 300}, "`video`: cannot be looked at: File name too long (got "),
        ({"video": ""}, "`video`: is empty"),
        ({"language": "Spanish!"}, "`language`: not a BCP-47 tag such as es, pt-BR or zh-Hant (got 'Spanish!')"),
        ({"language": "es_419"}, "`language`: not a BCP-47 tag"),
        ({"title_id": "a/b"}, "`title_id`: at most 120 characters without slashes (got 'a/b')"),
        ({"quality": "best"}, "`quality`: Input should be 'draft', 'standard' or 'final' (got 'best')"),
        ({"seed": "-1"}, "`seed`: Input should be greater than or equal to 0 (got '-1')"),
        ({"seed": "x"}, "`seed`: Input should be a valid integer"),
        ({"seed": 2**63}, "`seed`: Input should be less than"),
        ({"output": "../one.mp4"}, "`output`: a file name with a suffix, inside --out (got '../one.mp4')"),
        ({"output": "/one.mp4"}, "`output`: a file name with a suffix, inside --out"),
        ({"output": "a\\one.mp4"}, "`output`: a file name with a suffix, inside --out"),
        ({"output": "one"}, "`output`: a file name with a suffix, inside --out"),
        ({"output": ".mp4"}, "`output`: a file name with a suffix, inside --out"),
        ({"output": ".dubwright/one.mp4"}, "`output`: names that begin with a dot are kept"),
        ({"output": "./.one.mp4"}, "`output`: names that begin with a dot are kept"),
        ({"output": "n" * 220 + ".mp4"}, "`output`: a name of at most 200 bytes"),
        ({"output": "one.avi"}, "`output`: titles are not finished in this kind of file; valid endings: .mp4, .m4v"),
    ],
)
def test_a_wrong_value_is_told_by_row_column_and_value(folder: Path, columns: dict[str, object], said: str) -> None:
    (problem,) = problems(folder, row(**columns))
    assert problem.startswith(f"row 2, {said}")


def test_a_control_character_in_an_output_name_is_refused(folder: Path) -> None:
    record = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {"output": "one\n.mp4"}
    (problem,) = problems(folder, json.dumps(record), "catalogue.jsonl")
    assert problem.startswith("row 1, `output`: a file name with a suffix")


def test_a_number_where_json_needs_text_is_refused(folder: Path) -> None:
    record = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {"title_id": 12}
    (problem,) = problems(folder, json.dumps(record), "catalogue.jsonl")
    assert problem == "row 1, `title_id`: Input should be a valid string (got 12)"


def test_too_many_cells_are_refused_and_too_few_are_empty(folder: Path) -> None:
    found = problems(folder, f"{HEADER}\n{GOOD},more\none,one.mp4\n")
    assert found[0] == "row 2: has more cells than the header; quote values that hold commas"
    assert found[1:] == [f"row 3, `{name}`: is empty" for name in ("audio", "language")]


def test_every_problem_of_every_row_is_reported_at_once(folder: Path) -> None:
    found = problems(folder, f"{HEADER}\na/b,ome.mp4,void.m4a,?,one\n{GOOD}\n{GOOD}\n")
    assert len(found) == 6
    assert found[-1] == "row 4, `output`: row 3 writes the same file (got 'one.es.mp4')"


def test_a_long_list_is_shown_up_to_a_point_and_kept_whole(folder: Path) -> None:
    with pytest.raises(CatalogueError, match=r"\.\.\. and 10 more") as caught:
        read(folder, f"{HEADER}\n" + "one,one.mp4,one.m4a,?,one.mp4\n" * 30)
    assert len(caught.value.problems) == 30


def test_suggestions_end_where_the_shown_list_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(places, "nearest", lambda value, choices: asked.append(value))
    problems(folder, f"{HEADER}\n" + "".join(f"one,ome{i}.mp4,one.m4a,es,{i}.mp4\n" for i in range(500)))
    assert len(asked) == MAX_SHOWN


# -- rows against each other -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", ["one.es.mp4", "ONE.ES.MP4", "./one.es.mp4"])
def test_two_rows_may_not_write_the_same_file(folder: Path, same: str) -> None:
    found = problems(folder, f"{HEADER}\n{GOOD}\none,one.mp4,one.m4a,fr,{same}\n")
    assert found == [f"row 3, `output`: row 2 writes the same file (got {same!r})"]


def test_two_spellings_of_one_path_are_one_file(folder: Path) -> None:
    text = f"{HEADER}\none,one.mp4,one.m4a,es,sub/one.mp4\none,one.mp4,one.m4a,fr,sub//./one.mp4\n"
    assert problems(folder, text) == ["row 3, `output`: row 2 writes the same file (got 'sub//./one.mp4')"]


def test_a_file_cannot_be_the_folder_of_another(folder: Path) -> None:
    text = f"{HEADER}\none,one.mp4,one.m4a,es,one.mp4\none,one.mp4,one.m4a,fr,one.mp4/fr.mp4\n"
    assert problems(folder, text) == ["row 3, `output`: row 2 writes a file where this needs a folder"]


def test_rows_may_share_a_folder_and_a_title(folder: Path) -> None:
    text = f"{HEADER}\none,one.mp4,one.m4a,es,sub/one.es.mp4\none,one.mp4,one.m4a,fr,sub/one.fr.mp4\n"
    assert [title.output for title in read(folder, text)] == ["sub/one.es.mp4", "sub/one.fr.mp4"]
