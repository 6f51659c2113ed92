"""The page an operator reads: whole, self-contained, and nothing in it that a catalogue could smuggle in."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import pytest

from flows.report.page import render, write_report


def report(**row: Any) -> dict[str, Any]:
    first = {
        "title_id": "one",
        "language": "es",
        "output": "one.es.mp4",
        "status": "succeeded",
        "reason": None,
        "frames": 20,
        "rendered_frames": 8,
        "checks": {"speech": "copied"},
        "left_alone": [],
        "meta": {},
    }
    return {
        "catalogue": "catalogue.csv",
        "model": "tiny (64 px), untrained",
        "checkpoint": "d" * 64,
        "titles": {"succeeded": 1},
        "outputs": ["out/one.es.mp4"],
        "rows": [first | row],
        "seconds": 1.5,
    }


def test_the_page_says_what_became_of_each_row() -> None:
    page = render(report(), {})
    for said in ("one.es.mp4", "succeeded", "tiny (64 px), untrained", "copied", '<td class="n">12</td>'):
        assert said in page


def test_a_row_that_failed_says_why() -> None:
    page = render(report(status="failed_input", reason="analyse: truncated: the file ends early"), {})
    assert '<p class="failed_input">analyse: truncated: the file ends early</p>' in page


def test_stretches_left_alone_are_listed_with_their_reasons() -> None:
    page = render(report(left_alone=[{"code": "no_face", "detail": "frames 3 to 9"}]), {})
    assert "<tr><td>no_face</td><td>frames 3 to 9</td></tr>" in page


def test_pictures_are_inside_the_page() -> None:
    page = render(report(), {"one.es.mp4": b"jpeg bytes"})
    assert f"data:image/jpeg;base64,{base64.b64encode(b'jpeg bytes').decode()}" in page
    assert 'src="http' not in page


def test_what_a_catalogue_says_is_text_and_never_markup() -> None:
    page = render(report(title_id="<script>alert(1)</script>", reason='"><img onerror=x>'), {})
    assert "<script>" not in page
    assert "<img onerror" not in page


@pytest.mark.parametrize(
    ("output", "link"),
    [
        ("a#1 50%.mp4", "a%231%2050%25.mp4"),
        ("sub/ä.mp4", "sub/%C3%A4.mp4"),
        ("javascript:x().mp4", "javascript%3Ax%28%29.mp4"),
    ],
)
def test_a_link_leads_to_the_file_whatever_its_name(output: str, link: str) -> None:
    assert f'href="{link}"' in render(report(output=output), {})


def test_a_report_that_lacks_a_fact_is_an_error_not_a_gap() -> None:
    broken = report()
    del broken["model"]
    with pytest.raises(jinja2.UndefinedError):
        render(broken, {})


def test_both_files_are_written_and_no_part_is_left(tmp_path: Path) -> None:
    page = write_report(tmp_path, report(), {})
    assert page == tmp_path / "report.html"
    assert json.loads((tmp_path / "report.json").read_text()) == report()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    write_report(tmp_path, report(), {})
    write_report(tmp_path, report(title_id="two"), {})
    assert json.loads((tmp_path / "report.json").read_text())["rows"][0]["title_id"] == "two"


def test_a_page_that_cannot_be_put_in_place_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_report(tmp_path, report(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
