"""The pages of a run: whole, self-contained, and nothing in them that a catalogue could smuggle in."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest

from flows.report import dub
from flows.report.dub import is_one_page, write_dub_report
from tests.support.accounts import FAILED, strip, told_flag, told_report, told_row


def written(out: Path, *rows: Mapping[str, Any], strips: Mapping[str, bytes] | None = None) -> str:
    page = write_dub_report(out, told_report(*rows), strips or {})
    assert page == out / "report.html"
    return page.read_text()


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("<body>")[1].split("<script>")[0]))


def test_the_overview_says_what_became_of_each_output(tmp_path: Path) -> None:
    said = text_of(written(tmp_path, told_row(), told_row(output="two.de.mp4", language="de", **FAILED)))
    assert "one.es.mp4 es succeeded 1 0:04.0 40 % 100 % 0.40 0.45 0.99 -23.1 -22.4" in said
    assert "two.de.mp4 de failed input" in said
    assert "analyse: truncated: the file ends early" in said


def test_a_shot_says_what_was_decided_and_why_and_its_scores_beside_the_sources(tmp_path: Path) -> None:
    said = text_of(written(tmp_path))
    assert "1 01:00:00:00 dubbed 1 40 of 40 0.40 0.45 +20 ms 0.99 1.10 1.00 0.90" in said
    assert "2 01:00:01:15 left no face was found here 60 frames 0 0 of 60" in said


def test_a_flag_leads_to_its_frames_and_marks_its_score(tmp_path: Path) -> None:
    row = told_row(flags=[told_flag(start=12)])
    row["shots"][0]["flags"] = ["sync_low"]
    page = written(tmp_path, row)
    assert '<button type="button" data-seek="12">01:00:00:10</button>' in page
    assert '<td class="n off">0.40 <small>0.45</small></td>' in page


def test_what_was_left_is_summed_up_in_words(tmp_path: Path) -> None:
    left = [{"code": "excluded", "detail": "x", "start": a, "stop": a + 5, "tc_in": "", "tc_out": ""} for a in (0, 50)]
    assert "it lies in `exclude_ranges` excluded 2 10" in text_of(written(tmp_path, told_row(left_alone=left)))


def test_players_show_the_source_and_the_result_by_relative_links(tmp_path: Path) -> None:
    page = written(tmp_path / "out", told_row(video=str(tmp_path / "films" / "ä#1.mov"), output="sub/a 50%.mp4"))
    assert 'data-src="../films/%C3%A4%231.mov"' in page
    assert 'data-src="sub/a%2050%25.mp4"' in page
    assert 'href="report/sub/a%2050%25.mp4.edl"' in page
    assert (tmp_path / "out" / "report" / "sub" / "a 50%.mp4.edl").is_file()


@pytest.mark.parametrize("row", [told_row(**FAILED), told_row(status="failed_system", reason="the disk is full")])
def test_an_output_that_failed_has_no_players_and_no_edit_list(tmp_path: Path, row: dict[str, Any]) -> None:
    assert "<video" not in written(tmp_path, row)
    assert not (tmp_path / "report").exists()


def test_what_an_adaptation_brought_is_told(tmp_path: Path) -> None:
    judged = [{"lip_distance": value, "correlation": 0.5} for value in (0.123, 0.111)]
    gain = {"kept": True, "why": "the lips came nearer", "before": judged[0], "after": judged[1]}
    said = text_of(written(tmp_path, told_row(adapted=gain)))
    assert "kept: the lips came nearer; on the held-out part the lip distance went from 0.123 to 0.111" in said
    gain = {"kept": False, "why": "too few clips", "before": None, "after": None}
    assert "not kept: too few clips" in text_of(written(tmp_path, told_row(adapted=gain)))


def test_a_name_is_never_taken_for_an_address(tmp_path: Path) -> None:
    page = written(tmp_path, told_row(output="javascript:x().mp4"))
    assert 'href="javascript%3Ax%28%29.mp4"' in page
    assert not re.search(r"(href|src)=\"javascript:", page)


def test_what_a_catalogue_says_is_text_and_never_markup(tmp_path: Path) -> None:
    evil = '"><img onerror=x><script>alert(1)</script>'
    shots = told_row()["shots"]
    shots[0]["reasons"] = [{"code": evil, "detail": evil, "frames": 1}]
    row = told_row(
        title_id=evil,
        language=evil,
        reason=evil,
        meta={evil: evil},
        checks={evil: evil},
        flags=[told_flag(detail=evil)],
    )
    page = written(tmp_path, row | {"shots": shots})
    assert page.count("<script>") == 1
    assert "<img" not in page


def test_pictures_are_inside_the_page_and_nothing_is_fetched(tmp_path: Path) -> None:
    picture = strip()
    page = written(tmp_path, strips={"one.es.mp4": picture})
    assert f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    assert "default-src 'none'" in page


def test_a_report_that_lacks_a_fact_is_an_error_not_a_gap(tmp_path: Path) -> None:
    broken = told_report()
    del broken["model"]
    with pytest.raises(jinja2.UndefinedError):
        write_dub_report(tmp_path, broken, {})


def test_all_files_are_written_and_no_part_is_left(tmp_path: Path) -> None:
    written(tmp_path, strips={"one.es.mp4": strip()})
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    files = {"report.html", "report.json", "results.parquet", "flags.csv", "contact.jpg", "report/one.es.mp4.edl"}
    assert names == files
    assert json.loads((tmp_path / "report.json").read_text()) == told_report()


def test_an_older_report_is_replaced(tmp_path: Path) -> None:
    written(tmp_path)
    assert "two" in written(tmp_path, told_row(title_id="two"))
    assert json.loads((tmp_path / "report.json").read_text())["rows"][0]["title_id"] == "two"


def test_a_file_that_cannot_be_put_in_place_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_dub_report(tmp_path, told_report(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


# -- many titles -------------------------------------------------------------------------------------------------------


def test_a_page_of_many_titles_leaves_their_details_to_pages_of_their_own(tmp_path: Path) -> None:
    rows = [told_row(output=f"films/{number}.mp4", video=str(tmp_path / "in.mp4")) for number in range(61)]
    page = written(tmp_path, *rows)
    assert '<details class="title"' not in page
    assert 'href="report/films/60.mp4.html"' in page
    own = (tmp_path / "report" / "films" / "60.mp4.html").read_text()
    assert own.count('<details class="title"') == 1
    assert 'href="../../report.html"' in own
    assert 'data-src="../../in.mp4"' in own
    assert 'data-src="../../films/60.mp4"' in own


def test_one_page_holds_so_many_titles_and_lines() -> None:
    assert is_one_page([told_row()] * 60)
    assert not is_one_page([told_row()] * 61)
    assert not is_one_page([told_row(flags=[told_flag()] * 3001)])


def test_a_table_without_end_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dub, "MOST_LINES", 5)
    page = written(tmp_path, told_row(flags=[told_flag()] * 8))
    assert page.count('<tr><td class="seek">') == 5
    assert "3 further lines are in report.json" in page
