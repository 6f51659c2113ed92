"""Stored frames as people see them: for a look at a few frames in the middle of a long title.

`decode.py` reads the same pictures through ffmpeg and counts from the beginning, which is right for whole titles.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from preprocessing.media.base import DecodedFrame, MediaInfo
from preprocessing.media.colour import Coding, yuv_to_rgb
from preprocessing.media.native import NativeSource, native_video
from preprocessing.media.probe import picture
from shards.schema import FrameTimes


class DisplayedSource:
    """A `FrameSource` that is entered where it is asked for."""

    def __init__(self, path: Path, info: MediaInfo, times: FrameTimes) -> None:
        self.info, self.times = info, times
        self._native = NativeSource(path, info, times=times)
        self._coding = Coding.of(native_video(picture(info)))
        self._quarters = picture(info).rotation // 90

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        """Frames [start, stop) in display order."""
        for frame in self._native.frames(start, stop):
            rgb = np.clip(np.rint(yuv_to_rgb(frame.planes, self._coding)), 0, 255).astype(np.uint8)
            yield DecodedFrame(index=frame.index, rgb=np.ascontiguousarray(np.rot90(rgb, -self._quarters)))

    def close(self) -> None:
        self._native.close()
