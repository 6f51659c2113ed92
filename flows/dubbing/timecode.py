"""Timecodes of a title's frames, as an edit list writes them: the way back from `flows/moments.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from flows.moments import DAY_S, Moment
from flows.title import Title
from shards.schema import FrameTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Timecodes:
    """Labels frames: from the source's own start timecode where it has one that can be read, else from zero."""

    rate: Fraction
    first: int = 0
    """The first frame's count from label 00:00:00:00."""
    is_drop: bool = False

    @classmethod
    def of(cls, title: Title) -> Timecodes:
        video = title.info.video
        rate = video.frame_rate if video else Fraction(25)
        try:
            start = Moment.parse(title.start_timecode or "")
            first = start.seconds(rate, None) * rate
        except ValueError:
            return cls(rate=rate)
        return cls(rate=rate, first=int(first), is_drop=start.is_drop)

    def at(self, frame: int, times: FrameTimes | None = None) -> str:
        """Of a frame, or of the end, one after the last. With `times` by when it is shown: at an uneven rate an editing
        system counts frames of the nominal one."""
        if times is None or not len(times):
            return self._label(self.first + frame)
        inside = min(frame, len(times) - 1)
        shown_s = (int(times.pts[inside]) - int(times.pts[0])) * times.base
        return self._label(self.first + round(shown_s * self.rate) + frame - inside)

    def _label(self, count: int) -> str:
        named = max(1, round(self.rate))
        if self.is_drop:
            # Two labels (of 30) are left out at the beginning of each minute but the tenth.
            dropped = named // 15
            in_ten, in_one = named * 600 - 9 * dropped, named * 60 - dropped
            tens, rest = divmod(count, in_ten)
            minutes = 0 if rest < named * 60 else 1 + (rest - named * 60) // in_one
            count = tens * named * 600 + rest + dropped * minutes
        seconds, frame = divmod(count % (named * DAY_S), named)
        return str(Moment(label_s=Fraction(seconds), frame=frame, is_drop=self.is_drop))


def frames_of(times: FrameTimes, start_s: Fraction, end_s: Fraction) -> tuple[int, int]:
    """The half-open range of frames that are shown from `start_s` on and before `end_s`, on the times' own clock."""
    edges = [math.ceil(s / times.base) for s in (start_s, end_s)]
    start, stop = np.searchsorted(times.pts, edges)
    return int(start), int(stop)
