"""Where the cuts are: PySceneDetect's content detector, fed frame by frame so that one pass over a title is enough."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
from scenedetect import ContentDetector, FrameTimecode

from preprocessing.faces.base import Shot
from preprocessing.media.base import DecodedFrame
from shards.schema import U8

_WIDTH_PX = 256
"""Cuts are looked for at this width, as PySceneDetect itself does; more only costs time."""


class CutDetector:
    """Says of each frame, as it comes, whether a new shot starts with it."""

    def __init__(self, threshold: float) -> None:
        # No least scene length: it would hold cuts back, and a cut that is kept back joins two faces. A flash therefore
        # makes very short shots, which are rejected later, one by one.
        self._detector = ContentDetector(threshold=threshold, min_scene_len=0)
        self._count = 0

    def is_cut(self, rgb: U8) -> bool:
        scale = min(1.0, _WIDTH_PX / rgb.shape[1])
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) if scale < 1 else rgb
        # The detector only counts frames with this; times stay the source's own.
        place = FrameTimecode(self._count, fps=25.0)
        self._count += 1
        return bool(self._detector.process_frame(place, cv2.cvtColor(small, cv2.COLOR_RGB2BGR)))


def find_shots(frames: Iterable[DecodedFrame], threshold: float) -> tuple[Shot, ...]:
    """All shots of a stretch of frames, in order and without gaps; no frames, no shots."""
    detector = CutDetector(threshold)
    starts: list[int] = []
    stop = 0
    for frame in frames:
        if detector.is_cut(frame.rgb) or not starts:
            starts.append(frame.index)
        stop = frame.index + 1
    ends = [*starts[1:], stop]
    return tuple(Shot(index=i, start=a, stop=b) for i, (a, b) in enumerate(zip(starts, ends, strict=False)))
