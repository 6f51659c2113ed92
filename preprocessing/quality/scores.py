"""Raw measurements of a clip by name. No thresholds here: scores are stored, and `gates` may move without measuring.

What could not be measured is left out, never filled with a number.
"""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from preprocessing.audio.activity import HOP_S, level_dbfs, silence_share
from shards.schema import F64, U8, CropTransform, FrameTimes, Landmarks, Speech

_SHARPNESS_FRAMES = 9
"""Frames looked at for sharpness; more change the median little."""
_MAX_AV_OFFSET_S = 0.4
"""How far picture and sound may be apart and still be found."""
_MIN_STEADY_FRAMES = 5


def score_clip(
    frames: U8,
    landmarks: Landmarks,
    transform: CropTransform,
    times: FrameTimes,
    speech: Speech | None,
) -> dict[str, float]:
    """All scores of a clip given in crop px and on the clip's clock; without speech those about it are absent."""
    opening = mouth_opening(landmarks)
    scores = {
        "face_px": face_height_px(landmarks, transform),
        "sharpness": sharpness(frames, transform),
        "seen": float((landmarks.confidence > 0).mean()),
        "yaw": yaw(landmarks),
        "mouth_motion": float(opening.std()),
    }
    if speech is not None:
        at = times.seconds()
        step = float(np.median(np.diff(at))) if len(at) > 1 else 0.0
        end = Fraction(float(at[-1]) + step).limit_denominator(1_000_000)
        scores["silence"] = silence_share(speech.between(Fraction(0), end))
        if len(at) >= _MIN_STEADY_FRAMES:
            scores["av_corr"], scores["av_offset_s"] = best_av_correlation(opening, at, speech)
    return scores


def mouth_opening(landmarks: Landmarks) -> F64:
    """(T,) distance of the inner lips over the distance of the eye centres."""
    upper, lower = landmarks.topology.inner_lip_mid
    points = landmarks.points.astype(np.float64)
    gap = np.linalg.norm(points[:, upper] - points[:, lower], axis=1)
    out: F64 = gap / _eye_distance(landmarks)
    return out


def face_height_px(landmarks: Landmarks, transform: CropTransform) -> float:
    """Median height of the points' box, source px."""
    y = landmarks.points[:, :, 1].astype(np.float64)
    return float(np.median((y.max(axis=1) - y.min(axis=1)) / transform.scale()))


def sharpness(frames: U8, transform: CropTransform) -> float:
    """Variance of the Laplacian inside the generated region: what the model will learn to draw. Median over frames."""
    inside = transform.window.mask(transform.size_px) > 0.5
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _SHARPNESS_FRAMES).round().astype(int))]
    values = [cv2.Laplacian(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.CV_32F)[inside].var() for f in chosen]
    return float(np.median(values))


def yaw(landmarks: Landmarks) -> float:
    """How far the head turns: 0 frontal; from about 0.25 the far half of the mouth is half hidden. Median of |yaw|.

    From where the nose lies between the eye centres, measured along the line through them.
    """
    shape = landmarks.topology
    points = landmarks.points.astype(np.float64)
    left, right = points[:, shape.left_eye].mean(axis=1), points[:, shape.right_eye].mean(axis=1)
    along = (right - left) / _eye_distance(landmarks)[:, None] ** 2
    nose = points[:, shape.nose].mean(axis=1)
    return float(np.median(np.abs(np.einsum("ti,ti->t", nose - (left + right) / 2, along))))


def best_av_correlation(opening: F64, at_s: F64, speech: Speech) -> tuple[float, float]:
    """(correlation, offset in seconds) of mouth opening and loudness where they fit best.

    A positive offset: the sound comes late. Coarse - it finds grossly wrong sound, the sync expert finds the rest.
    """
    level = np.maximum(level_dbfs(speech), -60.0)
    clock = float(speech.origin_s) + HOP_S * np.arange(len(level))
    best = (0.0, 0.0)
    # From the middle outwards, so that a tie (a still mouth, silence) says offset 0.
    offsets = np.arange(0, _MAX_AV_OFFSET_S + 1e-9, 0.02)
    for offset in sorted({float(o) for o in np.concatenate([offsets, -offsets])}, key=abs):
        found = _correlation(opening, np.interp(at_s + offset, clock, level, left=-60.0, right=-60.0))
        if found > best[0]:
            best = (found, offset)
    return best


def _correlation(a: F64, b: F64) -> float:
    """Pearson's, and 0 where either does not move."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 1e-9 else 0.0


def _eye_distance(landmarks: Landmarks) -> F64:
    """(T,) distance between the eye centres; never 0."""
    shape, points = landmarks.topology, landmarks.points.astype(np.float64)
    between = points[:, shape.right_eye].mean(axis=1) - points[:, shape.left_eye].mean(axis=1)
    out: F64 = np.maximum(np.linalg.norm(between, axis=1), 1e-6)
    return out
