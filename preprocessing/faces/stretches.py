"""What is left over: the stretches of a source in which no face can be used, as rows for the account."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preprocessing.faces.base import Shot
from preprocessing.faces.track import FollowedFace
from shards.schema import FrameTimes, MediaTime, Rejection, Span


def unused_stretches(
    shots: Sequence[Shot],
    kept: Sequence[FollowedFace],
    small: Sequence[FollowedFace],
    times: FrameTimes,
    min_height_px: float,
) -> list[Rejection]:
    """One row per stretch of a shot without a kept face; it says whether there was a face that is too small."""
    rows = []
    for shot in shots:
        covered = np.zeros(shot.stop - shot.start, dtype=np.bool_)
        for face in kept:
            if face.track.shot.index == shot.index:
                covered[face.track.start - shot.start : face.track.stop - shot.start] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[True], covered, [True]]).astype(np.int8)))
        for start, stop in edges.reshape(-1, 2) + shot.start:
            heights = [f.height_px for f in small if f.track.start < stop and start < f.track.stop]
            rows.append(_row(span_of(times, int(start), int(stop)), heights, min_height_px))
    return rows


def span_of(times: FrameTimes, start: int, stop: int) -> Span:
    """The time of frames [start, stop); the last frame of a source is taken to last as long as most do."""
    if stop < len(times):
        end = times.at(stop)
    else:
        step = int(np.median(np.diff(times.pts))) if len(times) > 1 else 1
        end = MediaTime(pts=int(times.pts[-1]) + step, base=times.base)
    return Span(start=times.at(start), end=end)


def _row(span: Span, heights: Sequence[float], min_height_px: float) -> Rejection:
    if not heights:
        return Rejection(code="no_face", detail="no face was found here", span=span)
    return Rejection(
        code="face_too_small",
        detail=f"the largest face here is {max(heights):.0f} px high, {min_height_px:.0f} are needed",
        value=max(heights),
        threshold=min_height_px,
        span=span,
    )
