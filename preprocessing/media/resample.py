"""An even frame rate over any reader, with times that are known before a picture is decoded.

Owns which source frame stands at which tick. ffmpeg's own `fps` filter would do, but how many frames it gives at the
end differs between its releases, and a clip's key must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import gcd

import numpy as np

from preprocessing.errors import Unusable
from preprocessing.media.base import DecodedFrame, FrameSource, MediaInfo, VideoStream
from preprocessing.media.probe import picture
from shards.errors import RequestError
from shards.schema import I64, FrameTimes

MAX_STILL_S = 600
"""A picture that is shown for longer is a jump of the clock: repeated 25 times a second, a day of it takes hours."""


def fitted_size(video: VideoStream, max_side_px: int) -> tuple[int, int]:
    """(width, height) with the longer side at most `max_side_px`; never enlarged."""
    longer = max(video.width, video.height)
    if longer <= max_side_px:
        return video.width, video.height
    scale = Fraction(max_side_px, longer)
    return max(1, round(video.width * scale)), max(1, round(video.height * scale))


def even_times(times: FrameTimes, fps: Fraction) -> tuple[FrameTimes, I64]:
    """Ticks of 1/fps from the first frame on, and for each the source frame that is shown then.

    The frame shown is the latest that starts less than half a tick later: an uneven clock (23.976 in milliseconds)
    then gives every frame once, and a long still stays until its end. Refuses a clock that jumps (`bad_timestamps`).
    """
    _need_no_jump(times)
    step = 1 / fps / times.base
    end = int(times.pts[-1]) + _last_length(times)
    count = max(1, round((end - int(times.pts[0])) / step))
    base = _common(times.base, 1 / fps / 2)
    first, ticks = int(times.pts[0] * (times.base / base)), int(1 / fps / base)
    pts = first + ticks * np.arange(count, dtype=np.int64)
    source = (times.pts.astype(np.int64) * int(times.base / base)) - ticks // 2
    shown = np.searchsorted(source, pts, side="left") - 1
    return FrameTimes(pts=pts, base=base), np.maximum(shown, 0).astype(np.int64)


class EvenSource:
    """A reader seen at an even rate: frames are repeated or left out, never blended."""

    def __init__(self, inner: FrameSource, fps: Fraction) -> None:
        if fps <= 0:
            raise RequestError("must be positive", field="fps", value=str(fps))
        self._inner = inner
        self.times, self._shown = even_times(inner.times, fps)
        self.info = _evened(inner.info, self.times, fps)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        """Frames [start, stop) of the even clock."""
        stop = len(self.times) if stop is None else stop
        if not 0 <= start <= stop <= len(self.times):
            raise RequestError(f"frames [{start}, {stop}) of {len(self.times)}", field="frames")
        return self._read(start, stop)

    def close(self) -> None:
        self._inner.close()

    def _read(self, start: int, stop: int) -> Iterator[DecodedFrame]:
        if start == stop:
            return
        wanted = self._shown[start:stop]
        index = start
        for frame in self._inner.frames(int(wanted[0]), int(wanted[-1]) + 1):
            while index < stop and self._shown[index] == frame.index:
                # A copy for each repeat: a consumer may draw on its frame.
                yield DecodedFrame(index=index, rgb=frame.rgb.copy())
                index += 1


def _need_no_jump(times: FrameTimes) -> None:
    longest = int(np.argmax(np.diff(times.pts))) if len(times) > 1 else 0
    seconds = float((times.pts[min(longest + 1, len(times) - 1)] - times.pts[longest]) * times.base)
    if seconds > MAX_STILL_S:
        detail = (
            f"the clock jumps by {seconds:.0f} s after frame {longest}, at most {MAX_STILL_S} are believed; re-mux it"
        )
        raise Unusable.because("bad_timestamps", detail, value=seconds, threshold=MAX_STILL_S)


def _common(a: Fraction, b: Fraction) -> Fraction:
    """The largest base in which both are whole numbers: the source's own ticks, and half ticks of the even rate."""
    return Fraction(gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


def _last_length(times: FrameTimes) -> int:
    """The last frame is shown as long as the middle one of all frames: packets seldom say."""
    return int(np.median(np.diff(times.pts))) if len(times) > 1 else round(Fraction(1, 25) / times.base)


def _evened(info: MediaInfo, times: FrameTimes, fps: Fraction) -> MediaInfo:
    video = replace(
        picture(info),
        frame_rate=fps,
        time_base=times.base,
        start_pts=int(times.pts[0]),
        num_frames=len(times),
        is_vfr=False,
    )
    return replace(info, video=video)
