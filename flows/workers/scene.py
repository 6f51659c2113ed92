"""A clip among its neighbours: what the completion of its mouth looks at, and the clock it keeps.

A track that is longer than a clip is rendered in several. So that nobody sees where they meet, each is completed with
the poses before and after it, in windows that lie on the title's clock and not on the clip's: each frame is then
computed in the same windows as if the track were one clip, from the same poses and the same sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.batch import FRAME_S
from model.choice import References
from model.pipeline import DubbingPipeline
from preprocessing.faces.base import Analysis
from shards.schema import F32, F64, AudioFeatures, Landmarks

_HAIR_S = 1e-6
"""Keeps a tick from being taken for its neighbour by the last bit of its seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """The rows of a track from some way before a clip to some way after it."""

    landmarks: Landmarks
    """(E, P, 2) crop px, the source's."""
    times_s: F64
    """(E,) on the title's clock."""
    clip: slice
    """The clip's own rows."""
    ticks: tuple[int, int]
    """First and last tick of the completion's windows, both included."""


def scene_of(analysis: Analysis, track: int, first: int, count: int, window: int, overlap: int) -> Scene:
    """Of the clip that is `count` rows of the track from row `first` on; `window` and `overlap` are completion's."""
    aligned = analysis.tracks[track]
    start, stop = aligned.track.start, aligned.track.stop
    times_s = analysis.times.seconds()[start:stop] - float(analysis.times.at(0).seconds)
    ticks = aligned_ticks(times_s[first], times_s[first + count - 1], window, overlap)
    low_s, high_s = ticks[0] * FRAME_S, ticks[1] * FRAME_S
    low = min(int(np.searchsorted(times_s, low_s + 2 * _HAIR_S)), first)
    high = max(int(np.searchsorted(times_s, high_s - 2 * _HAIR_S)), first + count)
    tracked = aligned.track.landmarks.slice(low, high)
    return Scene(
        landmarks=Landmarks(
            points=aligned.transform.slice(low, high).to_crop(tracked.points).astype(np.float32),
            confidence=tracked.confidence,
            topology_name=tracked.topology_name,
            space="crop",
        ),
        times_s=times_s[low:high],
        clip=slice(first - low, first - low + count),
        ticks=ticks,
    )


def aligned_ticks(first_s: float, last_s: float, window: int, overlap: int) -> tuple[int, int]:
    """The ticks of every window that looks at any moment from `first_s` to `last_s`, windows beginning at multiples of
    their stride."""
    stride = window - overlap
    first, last = math.floor(first_s / FRAME_S + _HAIR_S), math.ceil(last_s / FRAME_S - _HAIR_S)
    begin = (first - window) // stride + 1
    return begin * stride, (last // stride) * stride + window - 1


def completed(pipe: DubbingPipeline, scene: Scene, features: Sequence[AudioFeatures], references: References) -> F32:
    """(E, P, 2) crop px: the faces that say the sound; `features` are on the title's clock."""
    # Two moments at which no face is seen stretch the windows over the whole of their ticks.
    ends_s = scene.ticks[0] * FRAME_S + _HAIR_S, scene.ticks[1] * FRAME_S - _HAIR_S
    nobody = np.full((1, *scene.landmarks.points.shape[1:]), np.nan, dtype=np.float32)
    unseen = np.zeros(1, dtype=np.float32)
    stretched = Landmarks(
        points=np.concatenate([nobody, scene.landmarks.points, nobody]),
        confidence=np.concatenate([unseen, scene.landmarks.confidence, unseen]),
        topology_name=scene.landmarks.topology_name,
        space="crop",
    )
    times_s = np.concatenate([ends_s[:1], scene.times_s, ends_s[1:]])
    points: F32 = pipe.predict_landmarks(features, times_s, stretched, references).points[1:-1]
    return points
