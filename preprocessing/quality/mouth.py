"""The mouth as the landmarks tell it: how far it is open, how much of it can be seen, whether it speaks.

Lengths are in eye units (the distance of the eye centres), so that a face counts the same at any size.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from preprocessing.audio.activity import HOP_S, voiced
from shards.schema import F64, CropTransform, Landmarks, Speech

_SYLLABLE_S = 0.4
"""A speaking mouth opens and closes within this."""
_STROKE = 0.035
"""Eye units between open and closed that count as speech: still mouths of real clips stay below in every frame, GRID's
sentences are above in 88 of 100 voiced ones."""
_WORST = 5
"""Percentile of the frames that stands for the worst: one bad frame in twenty is forgiven."""


def mouth_opening(landmarks: Landmarks) -> F64:
    """(T,) distance of the inner lips in eye units; frames without a face are bridged."""
    upper, lower = landmarks.topology.inner_lip_mid
    points = landmarks.points.astype(np.float64)
    gap = np.linalg.norm(points[:, upper] - points[:, lower], axis=1) / eye_distance(landmarks)
    known = np.flatnonzero(np.isfinite(gap))
    out: F64 = np.interp(np.arange(len(gap)), known, gap[known]) if len(known) else np.zeros(len(gap))
    return out


def nearer_half(landmarks: Landmarks) -> float:
    """Width of the mouth's narrower half over that of the wider: 1 frontal, near 0 where half of it is hidden.

    Seen along the eyes' line from the middle of the lips. The worst of the clip.
    """
    shape, points = landmarks.topology, landmarks.points.astype(np.float64)
    eyes = points[:, shape.right_eye].mean(axis=1) - points[:, shape.left_eye].mean(axis=1)
    along = eyes / eye_distance(landmarks)[:, None]
    left, right = (points[:, corner] for corner in shape.mouth_corners)
    middle = points[:, list(shape.inner_lip_mid)].mean(axis=1)
    halves = np.stack([np.einsum("ti,ti->t", part, along) for part in (middle - left, right - middle)])
    # A corner that has passed behind the middle is not seen at all.
    ratio = np.maximum(halves.min(axis=0), 0.0) / np.maximum(halves.max(axis=0), 1e-6)
    return float(np.nanpercentile(ratio, _WORST))


def inside_picture(landmarks: Landmarks, transform: CropTransform, width: int, height: int) -> float:
    """Share of the lip and jaw points, that lie inside the source's picture; the worst of the clip."""
    points = transform.to_source(landmarks.points[:, list(landmarks.topology.content)])
    inside = ((points >= 0) & (points < (width, height))).all(axis=2)
    return float(np.percentile(inside.mean(axis=1), _WORST))


def speaking_share(opening: F64, at_s: F64, speech: Speech) -> float | None:
    """Share of the frames with voice in which this mouth moves as a speaking one does; None where there is no voice."""
    active = voiced(speech)
    if not len(active) or not len(at_s):
        return None
    place = np.round((at_s - float(speech.origin_s)) / HOP_S).astype(int)
    heard = active[np.clip(place, 0, len(active) - 1)] & (place >= 0) & (place < len(active))
    if not heard.any():
        return None
    step = float(np.median(np.diff(at_s))) if len(at_s) > 1 else _SYLLABLE_S
    window = max(3, round(_SYLLABLE_S / step))
    stroke = maximum_filter1d(opening, window) - minimum_filter1d(opening, window)
    return float((stroke[heard] > _STROKE).mean())


def eye_distance(landmarks: Landmarks) -> F64:
    """(T,) distance between the eye centres; never 0."""
    shape, points = landmarks.topology, landmarks.points.astype(np.float64)
    between = points[:, shape.right_eye].mean(axis=1) - points[:, shape.left_eye].mean(axis=1)
    out: F64 = np.maximum(np.linalg.norm(between, axis=1), 1e-6)
    return out
