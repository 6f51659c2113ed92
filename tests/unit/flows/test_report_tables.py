"""The tables of a run: a row per output, a line per flag, typed and harmless."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.report.tables import FLAG_COLUMNS, flags_csv, results_parquet
from tests.support.accounts import told_flag, told_row


def table(*rows: dict[str, Any]) -> pa.Table:
    return pq.read_table(io.BytesIO(results_parquet(rows)))


def lines(*rows: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(flags_csv(rows).decode("utf-8-sig"))))


def test_an_outputs_figures_are_in_its_row() -> None:
    (row,) = table(told_row()).to_pylist()
    assert row["output"] == "one.es.mp4"
    assert (row["frames"], row["dubbed_frames"], row["shots"], row["shots_dubbed"], row["shots_left"]) == (
        100,
        40,
        2,
        1,
        1,
    )
    assert (row["sync"], row["source_sync"], row["speech_lufs"], row["fps"]) == (0.4, 0.45, -23.1, 25.0)
    assert (row["blockers"], row["issues"], row["fyis"]) == (0, 0, 1)


def test_scores_of_shots_count_by_their_dubbed_frames() -> None:
    shots = told_row()["shots"]
    shots[1] |= {"dubbed_frames": 20, "identity": 0.69, "seam": 1.4}
    (row,) = table(told_row(shots=shots)).to_pylist()
    assert row["identity"] == pytest.approx((40 * 0.99 + 20 * 0.69) / 60)
    assert row["seam"] == 1.4


def test_what_was_not_measured_is_null_and_keeps_its_type() -> None:
    found = table(
        told_row(loudness={}, fps=None, coverage=None, shots=[], meta={"client": "ü"}), told_row(fps="30000/1001")
    )
    assert found["speech_lufs"].to_pylist() == [None, -23.1]
    assert found["fps"].to_pylist() == [None, pytest.approx(29.97, abs=1e-3)]
    assert found.schema.field("seam").type == pa.float64()
    assert found["meta.client"].to_pylist() == ["ü", None]


def test_a_flag_is_a_line_with_its_output_and_place() -> None:
    (line,) = lines(told_row(flags=[told_flag(detail='a, "b"\nc')]), told_row(output="other", flags=[]))
    assert tuple(line) == FLAG_COLUMNS
    assert (line["output"], line["severity"], line["tc_in"], line["start"], line["shot"]) == (
        "one.es.mp4",
        "Issue",
        "01:00:00:10",
        "10",
        "1",
    )
    assert line["detail"] == 'a, "b"\nc'


def test_a_flag_of_the_whole_title_has_no_shot() -> None:
    assert lines(told_row(flags=[told_flag(shot=None)]))[0]["shot"] == ""


def test_no_cell_is_run_by_a_spreadsheet() -> None:
    (line,) = lines(told_row(title_id="=HYPERLINK(1)", flags=[told_flag(detail="@x")]))
    assert (line["title_id"], line["detail"]) == ("'=HYPERLINK(1)", "'@x")
