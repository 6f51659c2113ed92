"""Moments of a row against each other: what is known from how they are written, and from the title's clock."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from flows.moments import Moment
from flows.rows import TitleRow
from flows.spans import moments, span_problems, timed

PAL = Fraction(25)


def row(**columns: Any) -> TitleRow:
    given = {"title_id": "one", "video": "a.mp4", "audio": "a.wav", "language": "es", "output": "o.mp4"}
    return TitleRow.model_validate(given | columns)


def turn(start: str, end: str, speaker: str = "Ann") -> dict[str, str]:
    return {"start": start, "end": end, "speaker": speaker}


def on_clock(given: TitleRow) -> TitleRow:
    return timed(given, lambda moment: moment.seconds(PAL, "01:00:00:00"))


def test_every_moment_of_a_row_is_named_by_its_column_in_one_order() -> None:
    given = row(start_tc="1", segments=[turn("2", "3")], exclude_ranges=[["4", "5"]], end_tc="9")
    assert [(column, str(moment)) for column, moment in moments(given)] == [
        ("start_tc", "1"),
        ("end_tc", "9"),
        ("segments", "2"),
        ("segments", "3"),
        ("exclude_ranges", "4"),
        ("exclude_ranges", "5"),
    ]
    assert list(moments(row())) == []


def test_the_title_s_clock_keeps_all_of_a_row_but_how_its_moments_are_written() -> None:
    given = row(start_tc="01:00:00:05", end_tc="7", segments=[turn("01:00:01:00", "1.5")], seed=3)
    placed = on_clock(given)
    assert [moment for _, moment in moments(placed)] == [
        Moment(label_s=Fraction(text)) for text in ("1/5", "7", "1", "3/2")
    ]
    assert placed.seed == 3
    assert on_clock(placed) == placed
    assert timed(row(), lambda moment: Fraction(0)) == row()


def test_what_cannot_be_compared_as_it_is_written_is_compared_on_the_clock() -> None:
    given = row(
        start_tc="01:00:02:00",
        end_tc="1",
        segments=[turn("0", "3"), turn("01:00:02:00", "4")],
        exclude_ranges=[["01:00:00:00", "0.5"]],
    )
    assert list(span_problems(given)) == []
    assert [problem.partition(":")[0] for problem in span_problems(on_clock(given))] == [
        "`end_tc`",
        "`segments`",
        "`exclude_ranges`",
    ]


def test_a_title_that_runs_past_midnight_is_in_order() -> None:
    given = row(
        start_tc="23:59:50:00",
        end_tc="00:00:20:00",
        segments=[turn("00:00:05:00", "00:00:10:00"), turn("23:59:55:00", "00:00:05:00")],
        exclude_ranges=[["23:59:59:00", "00:00:01:00"]],
    )
    assert list(span_problems(given)) == []
    placed = timed(given, lambda moment: moment.seconds(PAL, "23:59:50:00"))
    assert [moment.label_s for _, moment in moments(placed)] == [0, 30, 15, 20, 5, 15, 9, 11]
    assert list(span_problems(placed)) == []
