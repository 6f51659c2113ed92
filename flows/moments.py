"""Moments of a title, as people write them: timecodes with frames, clock times, plain seconds.

    01:00:10:12     frame 12 of that second, on the source's own timecode where it has one, else from its first frame
    01:00:10;12     the same, counted drop-frame (29.97 and its multiples)
    00:00:10.480    hours, minutes and seconds from the first frame
    10.48           seconds from the first frame

Owns reading them and their exact place on the title's clock, whose zero is the first frame. Which frame is shown there
is for whoever knows the frame times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

DAY_S = 24 * 3600
_TIMECODE = re.compile(r"(\d{1,2}):([0-5]\d):([0-5]\d)([:;])(\d{2,3})")
_CLOCK = re.compile(r"(?:(\d{1,3}):)?([0-5]?\d):([0-5]?\d(?:\.\d{1,9})?)")
_SECONDS = re.compile(r"\d{1,7}(?:\.\d{1,9})?")
_NTSC = Fraction(1000, 1001)
"""What 24, 30 and 60 frames a second really are in NTSC countries, of their name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A place in a title, as it was written."""

    label_s: Fraction
    """Hours, minutes and seconds of what was written, in seconds; whole where there is a frame number."""
    frame: int | None = None
    """The frame of that second; None for times without frames, which are on the title's clock already."""
    is_drop: bool = False

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Reads one; raises `ValueError` with the ways there are to write it."""
        text = text.strip()
        if found := _TIMECODE.fullmatch(text):
            hours, minutes, seconds, sign, frame = found.groups()
            if int(hours) < 24:
                label_s = Fraction(int(hours) * 3600 + int(minutes) * 60 + int(seconds))
                return cls(label_s=label_s, frame=int(frame), is_drop=sign == ";")
        elif found := _CLOCK.fullmatch(text):
            return cls(label_s=int(found[1] or 0) * 3600 + int(found[2]) * 60 + Fraction(found[3]))
        elif _SECONDS.fullmatch(text):
            return cls(label_s=Fraction(text))
        raise ValueError("not a moment such as 01:02:03:12, 01:02:03;12, 00:02:03.480 or 123.48")

    def __str__(self) -> str:
        if self.frame is None:
            return f"{float(self.label_s):.9f}".rstrip("0").rstrip(".")
        minutes, seconds = divmod(int(self.label_s), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{';' if self.is_drop else ':'}{self.frame:02}"

    def precedes(self, other: Moment) -> bool | None:
        """Whether it comes first; None where that depends on the source, as between a timecode and a clock time."""
        if (self.frame is None) != (other.frame is None):
            return None
        # A timecode may run past midnight: 23:59:59:00 then comes before 00:00:01:00.
        if self.frame is not None and abs(self.label_s - other.label_s) > DAY_S // 2:
            return None
        return (self.label_s, self.frame or 0) < (other.label_s, other.frame or 0)

    def seconds(self, rate: Fraction, start_timecode: str | None) -> Fraction:
        """On the title's clock; `ValueError` for a frame that this rate does not have, or one before the first."""
        if self.frame is None:
            return self.label_s
        if start_timecode is None:
            return self._count(rate, self.is_drop) / rate
        first = _first(start_timecode)
        if self.is_drop and not first.is_drop:
            raise ValueError(f"a drop-frame timecode, and the source counts without dropping, from {start_timecode}")
        # People write colons for drop-frame too: what the source says of its own counting holds.
        count = self._count(rate, first.is_drop) - first._count(rate, first.is_drop)
        a_day = Moment(label_s=Fraction(DAY_S), frame=0)._count(rate, first.is_drop)
        if count < -a_day // 2:
            count += a_day  # past midnight, where timecodes begin again
        if count < 0:
            raise ValueError(f"before the source's first frame, whose timecode is {start_timecode}")
        return count / rate

    def _count(self, rate: Fraction, is_drop: bool) -> int:
        """Frames from label 00:00:00:00 to this one."""
        named, frame = round(rate), self.frame or 0
        if frame >= named:
            raise ValueError(f"there is no frame {frame} in a second of {named} frames")
        count = int(self.label_s) * named + frame
        if not is_drop:
            return count
        if named % 30 or abs(rate / named / _NTSC - 1) > Fraction(1, 10_000):
            raise ValueError(f"drop-frame timecodes count 29.97 or 59.94 frames a second, not {float(rate):.5g}")
        # Two labels (of 30) are left out at the beginning of each minute but the tenth: 17982 frames in ten minutes.
        dropped, minutes = named // 15, int(self.label_s) // 60
        if frame < dropped and self.label_s % 60 == 0 and minutes % 10:
            raise ValueError("drop-frame counting leaves this label out")
        return count - dropped * (minutes - minutes // 10)


def _first(start_timecode: str) -> Moment:
    """What the source says of its first frame."""
    if not _TIMECODE.fullmatch(start_timecode):
        raise ValueError(f"the source's own timecode cannot be read: {start_timecode}; give seconds instead")
    return Moment.parse(start_timecode)
