"""Labels of frames lead back to the frames they label, whatever the source counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from flows.dubbing.timecode import Timecodes, frames_of
from flows.moments import Moment
from shards.schema import FrameTimes
from tests.support.accounts import told_title

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("rate", "start", "frame", "label"),
    [
        (Fraction(25), None, 0, "00:00:00:00"),
        (Fraction(25), "10:00:00:00", 26, "10:00:01:01"),
        (Fraction(24000, 1001), "01:00:00:00", 24, "01:00:01:00"),
        (NTSC, None, 1800, "00:01:00:00"),
        (NTSC, "00:00:00;00", 1799, "00:00:59;29"),
        (NTSC, "00:00:00;00", 1800, "00:01:00;02"),
        (NTSC, "00:00:00;00", 17982, "00:10:00;00"),
        (NTSC, "01:00:00;00", 107892, "02:00:00;00"),
        (2 * NTSC, "00:00:59;59", 1, "00:01:00;04"),
        (Fraction(25), "23:59:59:24", 1, "00:00:00:00"),
        (NTSC, "23:59:59;29", 1, "00:00:00;00"),
        (Fraction(50), "no timecode", 51, "00:00:01:01"),
        (Fraction(25), "01:00:00:99", 3, "00:00:00:03"),
    ],
)
def test_a_frame_has_the_label_an_editor_gives_it(rate: Fraction, start: str | None, frame: int, label: str) -> None:
    assert Timecodes.of(told_title(rate=rate, start_timecode=start)).at(frame) == label


@pytest.mark.parametrize("sign", [":", ";"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), NTSC, 2 * NTSC, Fraction(60)])
def test_each_label_leads_back_to_its_frame(rate: Fraction, sign: str) -> None:
    sign = sign if rate in (NTSC, 2 * NTSC) else ":"
    start = f"00:58:59{sign}10"
    clock = Timecodes.of(told_title(rate=rate, start_timecode=start))
    for frame in [*range(0, 4000, 7), *range(17950, 18100), 107_900, 200_001]:
        assert Moment.parse(clock.at(frame)).seconds(rate, start) * rate == frame


def test_at_an_uneven_rate_a_label_says_when_the_frame_is_shown() -> None:
    times = FrameTimes(pts=np.array([500, 540, 1540, 1580]), base=Fraction(1, 1000))
    labels = [Timecodes.of(told_title()).at(i, times) for i in range(5)]
    assert labels == [f"00:00:{t}" for t in ("00:00", "00:01", "01:01", "01:02", "01:03")]


def test_a_span_is_the_frames_shown_in_it() -> None:
    times = FrameTimes(pts=np.array([100, 140, 180, 220]), base=Fraction(1, 1000))
    assert frames_of(times, Fraction(140, 1000), Fraction(220, 1000)) == (1, 3)
    assert frames_of(times, Fraction(0), Fraction(9)) == (0, 4)
    assert frames_of(times, Fraction(101, 1000), Fraction(141, 1000)) == (1, 2)
