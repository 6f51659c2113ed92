"""Timecodes against values that broadcasters publish, and the ways people write a moment."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from flows.moments import Moment

FILM, PAL, NTSC = Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001)
FAST_PAL, FAST_NTSC = Fraction(50), Fraction(60000, 1001)


def frame(text: str, rate: Fraction, start: str | None = None) -> Fraction:
    return Moment.parse(text).seconds(rate, start) * rate


# -- counting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate", "count"),
    [
        ("01:00:00;00", NTSC, 107_892),  # 108 drops an hour, against 108 000 labels
        ("00:01:00;02", NTSC, 1800),
        ("00:00:59;29", NTSC, 1799),
        ("00:10:00;00", NTSC, 17_982),
        ("23:59:59;29", NTSC, 2_589_407),
        ("01:00:00;00", FAST_NTSC, 215_784),
        ("00:01:00;04", FAST_NTSC, 3600),
        ("01:00:00:00", NTSC, 108_000),
        ("01:00:00:00", FILM, 86_400),
        ("01:00:00:00", Fraction(24), 86_400),
        ("00:00:01:24", PAL, 49),
        ("00:00:01:49", FAST_PAL, 99),
        ("00:00:00:00", FAST_NTSC, 0),
    ],
)
def test_a_timecode_counts_frames(text: str, rate: Fraction, count: int) -> None:
    assert frame(text, rate) == count


def test_an_hour_of_drop_frame_is_an_hour_less_four_milliseconds() -> None:
    assert Moment.parse("01:00:00;00").seconds(NTSC, None) == Fraction(107_892 * 1001, 30_000)
    assert round(float(Moment.parse("01:00:00;00").seconds(NTSC, None)), 4) == 3599.9964


def test_without_dropping_an_hour_of_labels_is_longer_by_a_thousandth() -> None:
    assert Moment.parse("01:00:00:00").seconds(FILM, None) == Fraction(3_603_600, 1000)


def test_every_label_of_an_hour_counts_one_more_than_the_one_before() -> None:
    labels = [
        f"00:{minute:02}:{second:02};{number:02}"
        for minute in range(60)
        for second in (0, 1, 59)
        for number in range(30)
        if not (second == 0 and number < 2 and minute % 10)
    ]
    counts = [frame(label, NTSC) for label in labels]
    steps = {after - before for before, after in pairwise(counts)}
    assert steps == {1, 57 * 30 + 1}


# -- the source's own timecode -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate", "start", "count"),
    [
        ("01:00:10:00", PAL, "01:00:00:00", 250),
        ("01:00:00:00", PAL, "01:00:00:00", 0),
        ("10:01:00;02", NTSC, "10:00:00;00", 1800),
        ("00:00:01:00", PAL, "23:59:59:00", 50),
        ("00:00:00;00", NTSC, "23:59:59;00", 30),
    ],
)
def test_frames_are_counted_from_the_sources_first_timecode(text: str, rate: Fraction, start: str, count: int) -> None:
    assert frame(text, rate, start) == count


def test_colons_on_a_source_that_drops_frames_mean_the_sources_labels() -> None:
    assert frame("01:01:00:02", NTSC, "01:00:00;00") == frame("01:01:00;02", NTSC, "01:00:00;00") == 1800


def test_clock_times_and_seconds_are_from_the_first_frame_whatever_its_timecode() -> None:
    for text in ("00:00:10.480", "0:10.48", "10.48"):
        assert Moment.parse(text).seconds(PAL, "01:00:00:00") == Fraction(1048, 100)


@pytest.mark.parametrize(
    ("text", "rate", "start", "said"),
    [
        ("00:00:10:00", PAL, "01:00:00:00", "before the source's first frame, whose timecode is 01:00:00:00"),
        ("00:00:10:25", PAL, None, "there is no frame 25 in a second of 25 frames"),
        ("00:00:10;00", PAL, None, "drop-frame timecodes count 29.97 or 59.94 frames a second, not 25"),
        ("00:00:10;00", Fraction(30), None, "not 30"),
        ("00:00:10;00", FILM, None, "not 23.976"),
        ("00:01:00;00", NTSC, None, "leaves this label out"),
        ("00:01:00;03", FAST_NTSC, None, "leaves this label out"),
        ("01:00:10;00", NTSC, "01:00:00:00", "the source counts without dropping, from 01:00:00:00"),
        ("01:00:10:00", PAL, "an hour", "the source's own timecode cannot be read: an hour"),
    ],
)
def test_a_moment_that_a_source_does_not_have_is_refused(
    text: str, rate: Fraction, start: str | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Moment.parse(text).seconds(rate, start)


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["01:02:03:04", "01:02:03;04", "00:00:00:00", "3723.5", "0.123456789", "10", "100", "0"]
)
def test_a_moment_is_written_as_it_was_read(text: str) -> None:
    assert str(Moment.parse(text)) == text
    assert Moment.parse(str(Moment.parse(text))) == Moment.parse(text)


def test_one_place_written_in_two_ways_is_one_moment() -> None:
    assert Moment.parse("0:01:30.50") == Moment.parse(" 90.5 ")


@pytest.mark.parametrize(
    "text", ["", "noon", "1:2:3:4:5", "24:00:00:00", "00:60:00:00", "00:00:61", "-1", "1e3", "00:00:00,5", "1:00:00:1"]
)
def test_what_is_no_moment_is_answered_with_the_ways_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="not a moment such as 01:02:03:12, 01:02:03;12"):
        Moment.parse(text)


def test_order_is_known_within_a_kind_and_not_across_midnight() -> None:
    early, late = Moment.parse("01:00:00:00"), Moment.parse("01:00:00:01")
    assert (early.precedes(late), late.precedes(early), early.precedes(early)) == (True, False, False)
    assert early.precedes(Moment.parse("3600")) is None
    assert Moment.parse("23:59:59:00").precedes(Moment.parse("00:00:01:00")) is None
