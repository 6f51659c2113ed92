"""Names of finished files: templates and the endings they come to; and what is no file, or no folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.places import DEFAULT_OUTPUT, file_problem, filled_output, folder_problem, output_problem


def filled(template: str = DEFAULT_OUTPUT, *, video: str = "films/one.mov", policy: str = "match", **cells: str) -> str:
    found: list[str] = []
    given = {"title_id": "one", "language": "pt-BR", "video": video} | cells
    name = filled_output(template, given, policy, found)
    assert found == []
    return name


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({}, "one.pt-BR.mov"),
        ({"video": "a.MKV"}, "one.pt-BR.mkv"),
        ({"video": "a.avi"}, "one.pt-BR.mp4"),
        ({"video": "noending"}, "one.pt-BR.mp4"),
        ({"video": "a.mp4", "policy": "mezzanine:prores_422hq"}, "one.pt-BR.mov"),
        ({"video": "a.mkv", "policy": "mezzanine:prores_422hq"}, "one.pt-BR.mkv"),
        ({"video": "a.mkv", "policy": "mezzanine:dnxhr_hqx"}, "one.pt-BR.mov"),
        ({"video": "a.mxf", "policy": "review:h264"}, "one.pt-BR.mp4"),
        ({"template": "{language}/{stem}{ext}"}, "pt-BR/one.mov"),
        ({"template": "{title_id}{title_id}.mp4"}, "oneone.mp4"),
        # What a cell holds is never read as a template.
        ({"title_id": "{stem}"}, "{stem}.pt-BR.mov"),
        ({"template": "plain.mp4"}, "plain.mp4"),
    ],
)
def test_a_template_is_filled_in_from_the_row(columns: dict[str, Any], name: str) -> None:
    assert filled(**columns) == name
    assert output_problem(name) is None


def test_fields_that_do_not_exist_are_told_each_with_what_there_is() -> None:
    found: list[str] = []
    cells = {"title_id": "one", "language": "es", "video": "a.mp4"}
    assert filled_output("{lang}{}.mp4", cells, "", found) == "{lang}{}.mp4"
    assert found == [
        "`output`: there is no {lang} to fill in; did you mean {language}? Valid: {title_id} {language} {stem} {ext} "
        "(got '{lang}{}.mp4')",
        "`output`: there is no {} to fill in. Valid: {title_id} {language} {stem} {ext} (got '{lang}{}.mp4')",
    ]


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"media")
    (tmp_path / "model").mkdir()
    assert file_problem(tmp_path / "film.mp4", suggest=True) is None
    assert folder_problem(tmp_path / "model", suggest=True) is None
    assert "is a directory" in str(file_problem(tmp_path / "model", suggest=True))
    assert "is a file" in str(folder_problem(tmp_path / "film.mp4", suggest=True))
    assert str(folder_problem(tmp_path / "modle", suggest=True)).endswith("did you mean 'model'?")
    assert "did you mean" not in str(folder_problem(tmp_path / "modle", suggest=False))
    assert "cannot be looked at" in str(folder_problem(tmp_path / ("m" * 300), suggest=True))
