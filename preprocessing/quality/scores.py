"""What is measured on a clip, by name. No thresholds here: scores are stored, and `gates` may move without measuring.

What could not be measured is left out, never filled with a number.

| score | unit |
|---|---|
| `face_px` | source px, height of the points |
| `sharpness` | fine detail by contrast, in 1,000 parts of white noise's |
| `seen`, `confidence` | share of the frames; of the landmark backend, worst |
| `yaw`, `pitch` | degrees from ahead, worst |
| `mouth_visible`, `mouth_inside` | narrower half over wider; share of points inside the picture; both worst |
| `uncovered` | likeness of the generated region to what it mostly is, in the frame where it is least |
| `lip_edges` | change from row to row within the lips over that in the skin around them |
| `mouth_motion` | eye units, standard deviation of the opening |
| `look_*` | a hash; see `duplicates.py` |
| `silence`, `loudness_lufs` | share of the clip; LUFS |
| `speaking` | share of the voiced frames in which this mouth moves |
| `av_offset_s`, `av_corr`, `av_confidence` | see `sync.py` |

"Worst" is the 5th percentile of the frames, or the 95th where much is bad. `clip.py` adds `faces`, `av_shift_s` and
what a further scorer gives: a sync expert's `sync_offset_s`, `sync_confidence` and `sync_distance` (0 to 2).
"""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.audio.activity import silence_share
from preprocessing.audio.loudness import integrated_lufs
from preprocessing.faces.pose import head_pose
from preprocessing.quality.duplicates import look_scores
from preprocessing.quality.mouth import inside_picture, lip_edges, mouth_opening, nearer_half, speaking_share
from preprocessing.quality.sync import sync_curve
from shards.schema import F64, U8, CropTransform, FrameTimes, Landmarks, Speech

_LOOKED_AT = 9
"""Frames looked at for sharpness and for what covers the mouth; more change little."""
_SHARPNESS_SIDE_PX = 128
"""Larger crops are brought to this first, so that a threshold means the same at every crop size."""
_LEAST_CONTRAST = 4.0
"""Grey levels squared: a crop of one colour has no detail, not infinitely much."""
_COVER_SIDE_PX = 24
"""The crop is compared this coarsely: a hand is seen, a lip that moves hardly."""


def picture_scores(
    frames: U8, landmarks: Landmarks, transform: CropTransform, *, width: int, height: int
) -> dict[str, float]:
    """What the (T, S, S, 3) crops and their landmarks in crop px say; the source's picture is `width` x `height`."""
    seen = landmarks.confidence > 0
    pose = head_pose(landmarks.points, landmarks.topology)
    scores = {
        "face_px": face_height_px(landmarks, transform),
        "sharpness": sharpness(frames, transform),
        "seen": float(seen.mean()),
        "yaw": _worst_degrees(pose.yaw),
        "pitch": _worst_degrees(pose.pitch),
        "mouth_visible": nearer_half(landmarks),
        "mouth_inside": inside_picture(landmarks, transform, width, height),
        "uncovered": uncovered(frames, transform),
        "lip_edges": lip_edges(_some(frames), landmarks.points[_looked_at(len(frames))], landmarks.topology),
        "mouth_motion": float(mouth_opening(landmarks).std()),
    }
    if seen.any():
        scores["confidence"] = float(np.percentile(landmarks.confidence[seen], 5))
    return {name: value for name, value in scores.items() if np.isfinite(value)} | look_scores(frames)


def sound_scores(landmarks: Landmarks, times: FrameTimes, speech: Speech) -> dict[str, float]:
    """What the sound says, alone and beside the lips. It is on the clip's clock and better goes on beyond its ends."""
    at, opening = times.seconds(), mouth_opening(landmarks)
    own = speech.between(Fraction(0), _end_s(at))
    scores = {"silence": silence_share(own)}
    loudness, speaking = integrated_lufs(own), speaking_share(opening, at, own)
    if loudness is not None:
        scores["loudness_lufs"] = loudness
    if speaking is not None:
        scores["speaking"] = speaking
    curve = sync_curve(opening, at, speech)
    if curve.seconds:
        found = curve.peak()
        scores |= {"av_offset_s": found.offset_s, "av_corr": found.corr, "av_confidence": found.confidence}
    return scores


def face_height_px(landmarks: Landmarks, transform: CropTransform) -> float:
    """Median height of the points' box, source px."""
    y = landmarks.points[:, :, 1].astype(np.float64)
    return float(np.median((y.max(axis=1) - y.min(axis=1)) / transform.scale()))


def sharpness(frames: U8, transform: CropTransform) -> float:
    """Fine detail inside the generated region, what the model will learn to draw, by contrast. Median over frames.

    The Laplacian's variance over that of the grey, so a dark or pale face is not a blurred one; in 1,000 parts of what
    white noise has, whose Laplacian varies 20 times as much as itself.
    """
    side = min(frames.shape[1], _SHARPNESS_SIDE_PX)
    inside = transform.window.mask(side) > 0.5
    values = []
    for frame in _some(frames):
        grey = cv2.cvtColor(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        detail = cv2.Laplacian(grey, cv2.CV_32F)[inside].var()
        values.append(1000 / 20 * detail / max(grey[inside].var(), _LEAST_CONTRAST))
    return float(np.median(values))


def uncovered(frames: U8, transform: CropTransform) -> float:
    """Correlation of the generated region that differs most from the usual one, the median, seen coarsely.

    A hand before the mouth lowers it. What covers the mouth in most of the clip is the usual one; `lip_edges` tells.
    """
    size = (_COVER_SIDE_PX, _COVER_SIDE_PX)
    inside = transform.window.mask(_COVER_SIDE_PX) > 0.5
    small = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA)[inside] for f in _some(frames)])
    usual: F64 = np.median(small, axis=0)
    return min(_likeness(frame.astype(np.float64), usual) for frame in small)


def _some(frames: U8) -> U8:
    chosen: U8 = frames[_looked_at(len(frames))]
    return chosen


def _looked_at(num_frames: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, num_frames - 1, _LOOKED_AT).round().astype(np.intp))


def _likeness(a: F64, b: F64) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 0 else 1.0


def _worst_degrees(angle: F64) -> float:
    return float(np.degrees(np.nanpercentile(np.abs(angle), 95))) if np.isfinite(angle).any() else float("nan")


def _end_s(at: F64) -> Fraction:
    """Of the last frame, which is taken to last as long as most do."""
    step = float(np.median(np.diff(at))) if len(at) > 1 else 0.0
    return Fraction(float(at[-1]) + step).limit_denominator(1_000_000)
