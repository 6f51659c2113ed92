"""What a person, or a log, is shown of a run."""

from __future__ import annotations

import io

import pytest

from flows.cluster.progress import BEFORE, Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_two_seconds_and_one_at_the_end() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("preprocess", stream=out, clock=clock) as progress:
        progress.total(10)
        for step in range(8):
            clock.now += 0.5
            progress.advance("rejected" if step == 2 else "kept")
    assert out.getvalue().splitlines() == [
        "preprocess 4/10 (40%), 2.0/s, 3 s left: kept 3, rejected 1",
        "preprocess 8/10 (80%), 2.0/s, 1 s left: kept 7, rejected 1",
        "preprocess 8/10 (80%), 2.0/s, 1 s left: kept 7, rejected 1 - 4 s",
    ]


def test_what_comes_of_the_items_is_counted_with_its_own_rate() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("sources", makes="clips", stream=out, clock=clock) as progress:
        progress.total(4)
        clock.now += 2
        progress.made(9)
        progress.advance("kept")
    assert out.getvalue().splitlines()[0] == "sources 1/4 (25%), 0.5/s, 6 s left: kept 1; 9 clips, 4.5/s"


def test_without_a_total_there_is_no_promise_of_an_end() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("dub", stream=out, clock=clock) as progress:
        clock.now += 1
        progress.advance("done", 3)
    assert out.getvalue() == "dub 3, 3.0/s: done 3 - 1 s\n"


def test_a_run_of_nothing_ends_with_a_line_too() -> None:
    out, clock = io.StringIO(), Clock()
    with Progress("preprocess", stream=out, clock=clock) as progress:
        progress.total(0)
        clock.now += 1
    assert out.getvalue() == "preprocess 0/0, 0.0/s - 1 s\n"


def test_a_terminal_gets_a_bar_with_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with Progress("preprocess", stream=out) as progress:
        progress.total(4)
        progress.advance("kept", 3)
        progress.advance("quarantined")
    assert "4/4" in out.getvalue()
    assert "kept 3, quarantined 1" in out.getvalue()


def test_what_an_earlier_run_did_is_done_but_says_nothing_about_speed() -> None:
    clock = Clock()
    progress = Progress("clips", stream=io.StringIO(), clock=clock)
    progress.total(100)
    progress.advance(BEFORE, 50)
    clock.now += 1
    progress.advance("kept", 1)
    progress.advance("rejected", 0)
    assert progress.line() == "clips 51/100 (51%), 1.0/s, 49 s left: done before 50, kept 1"


def test_a_bar_begins_where_an_earlier_run_ended() -> None:
    out = Terminal()
    with Progress("clips", stream=out) as progress:
        progress.total(10)
        progress.advance(BEFORE, 9)
        progress.advance("kept")
    assert "10/10" in out.getvalue()


def test_it_is_shown_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("preprocess") as progress:
        progress.total(1)
        progress.advance("kept")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1/1" in shown.err


@pytest.mark.parametrize(("seconds", "text"), [(41.6, "42 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
