"""Stored frames as people see them: for a look at a few frames in the middle of a long title.

`decode.py` reads the same pictures through ffmpeg and counts from the beginning, which is right for whole titles.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from preprocessing.media.base import DecodedFrame, MediaInfo
from preprocessing.media.colour import Coding, yuv_to_rgb
from preprocessing.media.native import NativeFrame, NativeSource, native_video
from preprocessing.media.probe import picture
from shards.schema import FrameTimes

NEAR_FRAMES = 300
"""As many as a group of pictures may hold: to decode on from the last look costs no more than to enter again."""


class DisplayedSource:
    """A `FrameSource` that is entered where it is asked for. Looks in order of time go on from one another."""

    def __init__(self, path: Path, info: MediaInfo, times: FrameTimes) -> None:
        self.info, self.times = info, times
        self._native = NativeSource(path, info, times=times)
        self._coding = Coding.of(native_video(picture(info)))
        self._quarters = picture(info).rotation // 90
        self._ahead: Iterator[NativeFrame] | None = None
        self._reached = 0

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        """Frames [start, stop) in display order."""
        stop = len(self.times) if stop is None else stop
        for frame in self._from(start) if start < stop else ():
            self._reached = frame.index + 1
            if frame.index >= start:
                yield self._displayed(frame)
            if frame.index + 1 >= stop:
                return

    def close(self) -> None:
        self._ahead = None
        self._native.close()

    def _from(self, start: int) -> Iterator[NativeFrame]:
        if self._ahead is None or not 0 <= start - self._reached <= NEAR_FRAMES:
            self._ahead = self._native.frames(start)
        return self._ahead

    def _displayed(self, frame: NativeFrame) -> DecodedFrame:
        rgb = np.clip(np.rint(yuv_to_rgb(frame.planes, self._coding)), 0, 255).astype(np.uint8)
        return DecodedFrame(index=frame.index, rgb=np.ascontiguousarray(np.rot90(rgb, -self._quarters)))
