"""What is measured on a clip that was dubbed, against the clip it was made from. No thresholds here, as in `scores.py`.

Crops are compared with crops, before anything is composed or encoded: what is worse here is the model's doing. What
could not be measured is left out.

| score | unit |
|---|---|
| `made_av_offset_s`, `made_av_corr`, `made_av_confidence` | the made mouth with the new speech, see `sync.py` |
| `source_av_offset_s`, `source_av_corr`, `source_av_confidence` | the source's mouth with its own speech, same frames |
| `identity` | correlation of looks in [-1, 1] over the generated face, see `faces/identify.py` |
| `flicker_inside`, `flicker_outside` | made over source, around the lips and on the rest of the generated region |
| `sharpness_ratio` | made over source, fine detail of the generated region |
| `change` | grey levels, mean difference from the source in the generated region |

Only rendered rows count. The made mouth's landmarks are found again in its crops; the source's are those it came with,
of the same network in the whole picture: one clip's correlation is 0.448 by the first and 0.435 by the second. Flicker
is how far a frame's brightness is from the mean of its two neighbours: what comes and goes within a frame, while
movement over several frames hardly counts. Outside the generated region the two clips are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.audio.activity import voiced
from preprocessing.faces.identify import LookBuilder
from preprocessing.quality.mouth import mouth_opening
from preprocessing.quality.scores import sharpness
from preprocessing.quality.sync import pooled, sync_curve
from shards.crop import CropWindow
from shards.schema import F32, F64, U8, ClipSample, Landmarks, Speech

_SIDE_PX = 128
"""Larger crops are brought to this first, so that flicker means the same at every crop size."""
_LEAST_FLICKER = 0.5
"""Grey levels: below this it is the noise of the source's encode, and a ratio to it would say nothing."""
_LEAST_SHARPNESS = 1.0
"""Parts of 1,000: a source without any detail cannot be matched or missed."""
_AROUND_LIPS = 1.25
"""Sizes of the lips that count as inside."""
_LISTENED_HZ = 25
"""Faces are found again so often a second, which is what `sync.py` looks at; it is most of the time that this takes."""
_LISTENED_S = 4.0
"""Of a clip: a shot is measured by all its clips, and to find a face takes 19 ms, three times what pasting takes."""
_LOWER_FACE = CropWindow(name="made", centre=(0.0, 1.35), side=1.9, mask_box=(-1.0, -1.0, 1.0, 1.0), mask_radius=0.0)
"""Looks are compared where the model draws. On one clip: 0.996 for the same person saying something else, 0.79 for a
mirrored face, 0.72 for one that is a quarter wider."""
Mask = NDArray[np.bool_]


class FaceFinder(Protocol):
    """Finds the faces of crops again: `landmarks/crops.py`."""

    def found_in(self, frames: U8, clip: ClipSample) -> Landmarks: ...


def dubbed_scores(
    source: ClipSample,
    made_frames: U8,
    made: Landmarks,
    rows: Sequence[tuple[int, int]],
    heard: Speech,
    finder: FaceFinder | None,
) -> dict[str, float]:
    """Scores of the (T, S, S, 3) crops that were made of `source` in the row ranges `rows`.

    `made` are the landmarks that were drawn, `heard` the new speech on the clip's clock, which had better go on beyond
    the clip's ends. A `finder` knows one kind of points; without one nothing is said of the made mouth's sync.
    """
    drawn = [t for start, stop in rows for t in range(start, stop)]
    if not drawn:
        return {}
    scores = _picture_scores(source, made_frames, made, rows, drawn) | _identity(source, made_frames, drawn)
    listened = _listened(source, rows)
    scores |= _sync("source", source.landmarks, listened, source, source.speech)
    if finder is not None:
        taken = [t for part in listened for t in part]
        points, confidence = np.full_like(made.points, np.nan), np.zeros_like(made.confidence)
        found = finder.found_in(made_frames[taken], _frames_of(source, taken))
        points[taken], confidence[taken] = found.points, found.confidence
        again = dataclasses.replace(made, points=points, confidence=confidence)
        scores |= _sync("made", again, listened, source, heard)
    return {name: value for name, value in scores.items() if np.isfinite(value)}


# -- sound -------------------------------------------------------------------------------------------------------------


def _listened(clip: ClipSample, rows: Sequence[tuple[int, int]]) -> list[range]:
    """The rows looked at, a range per stretch; of a long clip the middle of its longest one."""
    at = clip.times.seconds()
    step_s = float(np.median(np.diff(at))) if len(at) > 1 else 1.0
    every = max(1, round(1 / (step_s * _LISTENED_HZ)))
    most = every * round(_LISTENED_S * _LISTENED_HZ)
    if sum(stop - start for start, stop in rows) <= most:
        return [range(start, stop, every) for start, stop in rows]
    start, stop = max(rows, key=lambda run: run[1] - run[0])
    first = start + max(stop - start - most, 0) // 2
    return [range(first, min(first + most, stop), every)]


def _sync(
    name: str, landmarks: Landmarks, listened: Sequence[range], clip: ClipSample, speech: Speech
) -> dict[str, float]:
    """Pooled over the stretches."""
    seen, at = landmarks.seen(), clip.times.seconds()
    if not any(seen[part].any() for part in listened) or not voiced(speech).any():
        return {}
    opening = mouth_opening(landmarks)
    curve = pooled(sync_curve(opening[part], at[part], speech) for part in listened)
    if not curve.seconds:
        return {}
    peak = curve.peak()
    values = {"av_offset_s": peak.offset_s, "av_corr": peak.corr, "av_confidence": peak.confidence}
    return {f"{name}_{measure}": value for measure, value in values.items()}


# -- picture -----------------------------------------------------------------------------------------------------------


def _identity(source: ClipSample, made_frames: U8, drawn: Sequence[int]) -> dict[str, float]:
    """How one speaks changes a mean over many frames little."""
    seen, marks = source.landmarks.seen(), source.landmarks
    looks = [LookBuilder(marks.topology_name, _LOWER_FACE) for _ in range(2)]
    for t in drawn:
        if seen[t]:
            # The same place in both pictures: the upper face is the source's.
            looks[0].add(source.frames[t], marks.points[t])
            looks[1].add(made_frames[t], marks.points[t])
    # A picture without edges looks like nobody.
    before, after = (look.look() for look in looks)
    return {"identity": before.likeness(after)} if before.edges.any() else {}


def _picture_scores(
    source: ClipSample, frames: U8, made: Landmarks, rows: Sequence[tuple[int, int]], drawn: list[int]
) -> dict[str, float]:
    transform, size = source.transform, min(source.transform.size_px, _SIDE_PX)
    generated = transform.window.mask(size) > 0.5
    before, after = _grey(source.frames, size), _grey(frames, size)
    scores = {"change": float(np.abs(after[drawn] - before[drawn])[:, generated].mean())}
    own = sharpness(source.frames[drawn], transform)
    if own >= _LEAST_SHARPNESS:
        scores["sharpness_ratio"] = sharpness(frames[drawn], transform) / own
    # A frame with a rendered neighbour on either side.
    middles = [t for start, stop in rows for t in range(start + 1, stop - 1)]
    if not middles:
        return scores
    scale = size / transform.size_px
    lips = [_lips(source.landmarks, t, size, scale) | _lips(made, t, size, scale) for t in middles]
    for name, masks in (
        ("flicker_inside", [mouth & generated for mouth in lips]),
        ("flicker_outside", [generated & ~mouth for mouth in lips]),
    ):
        scores[name] = _flicker(after, middles, masks) / max(_flicker(before, middles, masks), _LEAST_FLICKER)
    return scores


def _grey(frames: U8, size: int) -> F32:
    """(T, size, size)."""
    small = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in small]).astype(np.float32)


def _lips(landmarks: Landmarks, row: int, size: int, scale: float) -> Mask:
    """(size, size) what the lips' outline encloses, a little enlarged; nothing where they are not seen."""
    mask = np.zeros((size, size), np.uint8)
    points: F64 = landmarks.points[row, list(landmarks.topology.lips_outer)].astype(np.float64) * scale
    if np.isfinite(points).all():
        middle = points.mean(axis=0)
        hull = cv2.convexHull((middle + _AROUND_LIPS * (points - middle)).astype(np.float32))
        cv2.fillConvexPoly(mask, hull.round().astype(np.int32), 1)
    return mask > 0


def _flicker(grey: F32, middles: Sequence[int], masks: Sequence[Mask]) -> float:
    values = [
        np.abs(grey[t] - (grey[t - 1] + grey[t + 1]) / 2)[mask].mean()
        for t, mask in zip(middles, masks, strict=True)
        if mask.any()
    ]
    return float(np.mean(values)) if values else float("nan")


def _frames_of(clip: ClipSample, rows: Sequence[int]) -> ClipSample:
    """The clip with those frames alone."""
    marks = clip.landmarks
    return dataclasses.replace(
        clip,
        frames=clip.frames[rows],
        times=dataclasses.replace(clip.times, pts=clip.times.pts[rows]),
        landmarks=dataclasses.replace(marks, points=marks.points[rows], confidence=marks.confidence[rows]),
        transform=dataclasses.replace(clip.transform, matrices=clip.transform.matrices[rows]),
    )
