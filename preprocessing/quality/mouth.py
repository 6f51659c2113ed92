"""The mouth as the landmarks tell it: how far it is open, how much of it can be seen, whether it speaks.

Lengths are in eye units (the distance of the eye centres), so that a face counts the same at any size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from preprocessing.audio.activity import HOP_S, voiced
from shards.schema import F32, F64, U8, CropTransform, Landmarks, Speech
from shards.topology import Topology

_SYLLABLE_S = 0.4
"""A speaking mouth opens and closes within this."""
_STROKE = 0.035
"""Eye units between open and closed that count as speech: still mouths of real clips stay below in every frame, GRID's
sentences are above in 88 of 100 voiced ones."""
_WORST = 5
"""Percentile of the frames that stands for the worst: one bad frame in twenty is forgiven."""
_EDGES_SIDE_PX = 128
"""Crops are compared at this size, so that a ratio means the same at every crop size."""
_SKIN = (1.25, 1.7)
"""From where to where around the lips' middle the skin is looked at, in sizes of the lips."""
_LEAST_EDGE = 1.0
"""Grey levels a row: the skin of an overexposed face has no edges, not infinitely fewer than the lips."""
_LEAST_AREA_PX = 8


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


def lip_edges(frames: U8, points: F32, topology: Topology) -> float:
    """How much more the grey changes from row to row within the lips than in the skin around; median of the frames.

    Of (T, S, S, 3) crops and their (T, P, 2) points.
    Lips have three edges across, and teeth or the dark between them; what covers them steadily has none where the
    landmarks guess the lips. In crops the eyes are level, so the lips' edges lie across. NaN where no lips are found.
    """
    lips = points[:, list(topology.lips_outer)].astype(np.float64) * (_EDGES_SIDE_PX / frames.shape[1])
    found = [_edge_ratio(frame, at) for frame, at in zip(frames, lips, strict=True) if np.isfinite(at).all()]
    ratios = [ratio for ratio in found if ratio is not None]
    return float(np.median(ratios)) if ratios else float("nan")


def _edge_ratio(frame: U8, lips: F64) -> float | None:
    """None where too little of the lips is in the crop."""
    size = (_EDGES_SIDE_PX, _EDGES_SIDE_PX)
    grey = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    edges = np.abs(cv2.Sobel(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0), cv2.CV_32F, 0, 1))
    inside, near, far = (_around(lips, times) for times in (1.0, *_SKIN))
    skin = far & ~near
    if min(inside.sum(), skin.sum()) < _LEAST_AREA_PX:
        return None
    return float(edges[inside].mean() / max(edges[skin].mean(), _LEAST_EDGE))


def _around(lips: F64, size: float) -> NDArray[np.bool_]:
    """What the lips' outline encloses, enlarged about its middle."""
    middle = lips.mean(axis=0)
    mask = np.zeros((_EDGES_SIDE_PX, _EDGES_SIDE_PX), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull((middle + size * (lips - middle)).astype(np.float32)).astype(np.int32), 1)
    found: NDArray[np.bool_] = mask > 0
    return found


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
