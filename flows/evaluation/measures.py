"""What is told of one clip: names of figures, and how each is read off pictures and landmarks.

A figure is called `subject.measure`. The subjects of the shift protocol, all against the true motion:

    made        the generated frames, faces found again in them
    asked       the landmarks that the frames were made to follow: what completion alone achieves
    undubbed    the source as it is, under the new speech: doing nothing
    neutral     a mouth that stays as the mean of the references: saying nothing
    carried     the true mouth, carried by the dub's own head: a dub without a fault, as far as a linear map tells

The truth was filmed under the head of half a clip earlier, and crops keep how a head turns. So no dub that stays with
its head has a lip distance of 0 here; `carried` says what to expect of a perfect one.

`real` is the clip with its own speech, `own` is it dubbed with that speech (reconstruction), `silent` with silence.
T frames, S crop side.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from skimage.metrics import structural_similarity

from model.choice import spread_by_opening
from model.head import Head
from model.landmarks import to_units
from model.metrics import (
    closed_share,
    lip_distance,
    opening_correlation,
    opening_speed,
    openings,
    point_distance,
    psnr_db,
)
from preprocessing.audio.phone_model import PHONES
from shards.schema import F32, F64, U8, AudioFeatures, ClipSample, Landmarks

CLOSED = 0.06
"""Eye distances between the inner lips of a closed mouth. Found again in real crops, 99 of 100 mouths that are shut in
the whole picture are below, and none that is open by 0.1."""
_BILABIALS, _VOWELS = ("P", "B", "M"), ("AA", "AE", "AH", "AO", "AW", "AY", "EH")
_HEARD = 0.2
"""Activity of one of these phones from which a frame counts as saying it."""

Figures = dict[str, float]


def motion(made: Landmarks, truth: Landmarks) -> Figures:
    """How near the mouth is to the truth, whether it opens when it should, and how far."""
    ours, true = openings(made), openings(truth)
    correlation = opening_correlation(made, truth)
    return {
        "lips": lip_distance(made, truth),
        "lips_jaw": point_distance(made, truth, truth.topology.content),
        # A mouth that does not move says nothing at all: it must not leave the mean by being undefined.
        "correlation": correlation if math.isfinite(correlation) or _stays(true) else 0.0,
        "speed": opening_speed(made),
        "spread": _ratio(_std(ours), _std(true)),
        "seen": _ratio(float((made.seen() & truth.seen()).sum()), float(truth.seen().sum())),
    }


def neutral(real: Landmarks, num_references: int) -> Landmarks:
    """The clip with a mouth that never moves: the mean of as many faces as the model is given, spread by opening."""
    seen = np.flatnonzero(real.seen())
    if not len(seen):
        return real
    content, points = list(real.topology.content), real.points.copy()
    chosen = seen[spread_by_opening(openings(real)[seen], num_references)]
    points[:, content] = points[chosen][:, content].mean(axis=0)
    points[~real.seen()] = np.nan
    return dataclasses.replace(real, points=points)


def carried(truth: Landmarks, real: Landmarks, size_px: int) -> Landmarks:
    """The mouths of `truth` moved to where the heads of `real`, the same person's clip, carry them, row for row."""
    topology, points = real.topology, truth.points.copy()
    here, there = (to_units(landmarks.points, size_px) for landmarks in (real, truth))
    head, pose, content = Head(here, topology), list(topology.pose), list(topology.content)
    moved_TK2 = head.carries(here[:, pose]) - head.carries(there[:, pose])
    points[:, content] += (moved_TK2 * size_px / 2).astype(np.float32)
    return dataclasses.replace(truth, points=points)


def likeness(made: U8, real: U8, mask: F32, mouth: F32) -> Figures:
    """How alike the pictures are in the generated region (S, S) and around the lips (T, S, S)."""
    return {
        "psnr_mask_db": psnr_db(made, real, mask),
        "psnr_mouth_db": psnr_db(made, real, mouth),
        "ssim_mouth": _ssim(made, real, mouth),
    }


def outside_change(made: U8, real: U8, mask: F32) -> float:
    """The largest difference of any pixel, of 255, where nothing is generated; 0 is exact."""
    return float((np.abs(made.astype(np.int16) - real.astype(np.int16)).max(axis=3) * (mask == 0)).max())


def closure(landmarks: Landmarks, features: Sequence[AudioFeatures], times_s: F64) -> Figures:
    """Opening at p, b and m and at open vowels, eye distances; nothing where the clip carries no phones.

    A mouth that says them closes at the first and opens at the second.
    """
    found = [f for f in features if f.name == "phones"]
    if not found:
        return {}
    activity, open_T = found[0].at(times_s), openings(landmarks)
    told = {}
    for name, phones in (("bilabial", _BILABIALS), ("vowel", _VOWELS)):
        heard = activity[:, [PHONES.index(p) for p in phones]].sum(axis=1) > _HEARD
        told[f"{name}_opening"] = _mean(open_T[heard & np.isfinite(open_T)])
    return told


def silence(landmarks: Landmarks) -> Figures:
    return {"closed": closed_share(landmarks, CLOSED), "opening": _mean(openings(landmarks))}


def named(subject: str, figures: Mapping[str, float]) -> Figures:
    return {f"{subject}.{name}": value for name, value in figures.items()}


def clip_features(clip: ClipSample, features: Sequence[AudioFeatures]) -> ClipSample:
    return dataclasses.replace(clip, features=tuple(features))


def _ssim(made: U8, real: U8, where: F32) -> float:
    values = []
    for a, b, weight in zip(made, real, where, strict=True):
        if weight.any():
            _, each = structural_similarity(a, b, channel_axis=2, full=True, data_range=255)  # type: ignore[no-untyped-call]
            values.append(float(each.mean(axis=2)[weight > 0].mean()))
    return _mean(np.array(values))


def _stays(openings_T: F32) -> bool:
    """The true mouth does not move, or is not seen: nothing can correlate with it."""
    return not _std(openings_T) > 1e-6


def _std(values: F32) -> float:
    known = values[np.isfinite(values)]
    return float(known.std()) if len(known) else float("nan")


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ratio(a: float, b: float) -> float:
    return a / b if b > 1e-9 else float("nan")
