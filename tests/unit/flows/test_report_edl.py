"""An edit list of flags is what an editing system reads: events, timecodes, locators, counting."""

from __future__ import annotations

import re

import pytest

from flows.report.edl import MOST_EVENTS, flags_edl
from tests.support.accounts import told_flag, told_row

TC = r"\d\d:\d\d:\d\d[:;]\d\d"
EVENT = re.compile(rf"^(\d{{3}})  AX       V     C        ({TC}) ({TC}) \2 \3$", re.MULTILINE)


def flag(start: int, severity: str = "Issue", sign: str = ":", **changes: object) -> dict[str, object]:
    place = {
        "start": start,
        "stop": start + 5,
        "tc_in": f"01:00:00{sign}{start:02}",
        "tc_out": f"01:00:01{sign}{start:02}",
    }
    return told_flag(severity, **place, **changes)


def test_each_flag_is_an_event_and_a_locator_at_its_first_frame() -> None:
    text = flags_edl(told_row(flags=[flag(12, "Blocker"), flag(3, "FYI")]))
    assert EVENT.findall(text.replace("\r\n", "\n")) == [
        ("001", "01:00:00:03", "01:00:01:03"),
        ("002", "01:00:00:12", "01:00:01:12"),
    ]
    assert "* LOC: 01:00:00:12 RED     BLOCKER sync_low: lips and speech do not fit" in text
    assert "* LOC: 01:00:00:03 GREEN   FYI sync_low" in text
    assert "* SEVERITY: BLOCKER" in text


@pytest.mark.parametrize(("sign", "counting"), [(":", "FCM: NON-DROP FRAME"), (";", "FCM: DROP FRAME")])
def test_the_list_says_how_frames_are_counted(sign: str, counting: str) -> None:
    assert counting in flags_edl(told_row(flags=[flag(3, sign=sign)])).split("\r\n")


def test_a_title_without_flags_has_a_list_without_events() -> None:
    row = told_row(flags=[])
    assert flags_edl(row) == "TITLE: one.es.mp4\r\nFCM: NON-DROP FRAME\r\n\r\n"
    row["shots"][0]["tc_in"] = "01:00:00;00"
    assert "FCM: DROP FRAME" in flags_edl(row)


def test_a_line_is_ascii_and_short_and_one() -> None:
    text = flags_edl(told_row(output="fülm.mp4", flags=[flag(1, detail="ü\n" * 300)]))
    assert text.isascii()
    assert max(map(len, text.split("\r\n"))) < 140
    assert "TITLE: f?lm.mp4" in text


def test_what_does_not_fit_is_the_least_grave() -> None:
    flags = [flag(50, "Blocker"), *[flag(n % 40, "FYI") for n in range(MOST_EVENTS + 10)]]
    text = flags_edl(told_row(flags=flags)).replace("\r\n", "\n")
    assert len(EVENT.findall(text)) == MOST_EVENTS
    assert "SEVERITY: BLOCKER" in text
    assert "* 11 MORE FLAGS ARE IN FLAGS.CSV" in text
