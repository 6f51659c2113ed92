"""The strip of one judged clip: what the frame showed, the frame whose mouth is right, what was made; top to bottom."""

from __future__ import annotations

import cv2
import numpy as np

from flows.evaluation.judge import Judged
from flows.explain.drawing import drawn
from shards.schema import U8, ClipSample

FRAMES, SIDE_PX = 6, 128
_JPEG_QUALITY = 85


def strip(judged: Judged, *, landmarks: bool, frames: int = FRAMES) -> U8:
    """(3 x side, n x side, 3): source, truth, generated, at the same moments; on request with the faces found."""
    rows = (judged.clip, judged.truth, judged.made)
    columns = [np.concatenate([_shown(row, i, landmarks) for row in rows], axis=0) for i in _moments(judged, frames)]
    return np.concatenate(columns, axis=1)


def jpeg(rgb: U8) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise RuntimeError("the strip could not be encoded as JPEG")
    return bytes(data)


def _moments(judged: Judged, count: int) -> list[int]:
    """Frames spread over those in which the face is seen."""
    seen = np.flatnonzero(judged.clip.landmarks.seen())
    pool = seen if len(seen) else np.arange(len(judged.clip.frames))
    return [int(pool[i]) for i in np.unique(np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int))]


def _shown(clip: ClipSample, index: int, landmarks: bool) -> U8:
    if landmarks:
        return drawn(clip, index, SIDE_PX)
    return np.asarray(cv2.resize(clip.frames[index], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)
