"""The shift protocol: a clip is dubbed with its own speech, turned round by half its length, so the truth is known.

What the mouth must do at frame t is what it did at frame t + T/2 (mod T), in the crop's face-normalised frame. The
undubbed source is then a real baseline, and nothing of the right mouth stands in the frames that are dubbed.
T frames.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from shards.errors import RequestError
from shards.schema import AudioFeatures, ClipSample, Landmarks

SHORTEST = 20
"""Frames: below 0.8 s half a turn moves the speech by less than two syllables."""


def shift_of(clip: ClipSample) -> int:
    """By how many frames the speech comes early: half the clip."""
    times_s = clip.times.seconds()
    if len(times_s) < SHORTEST:
        raise RequestError(f"at least {SHORTEST} frames are needed to shift a clip", field="clips", value=clip.key)
    steps = np.diff(times_s)
    if steps.max() - steps.min() > 0.1 * np.median(steps):
        raise RequestError("only a clip of even frame times can be turned round", field="clips", value=clip.key)
    return len(times_s) // 2


def shifted_features(clip: ClipSample, frames: int) -> tuple[AudioFeatures, ...]:
    """The clip's features, `frames` early; what runs out at the end begins again, and the clip's edges lie within."""
    times_s = clip.times.seconds()
    step_s = float(np.median(np.diff(times_s)))
    return tuple(_turned(f, frames * step_s, len(times_s) * step_s) for f in clip.features)


def shifted_landmarks(landmarks: Landmarks, frames: int) -> Landmarks:
    """The same turn of the faces: row t is what was at t + frames."""
    return dataclasses.replace(
        landmarks,
        points=np.roll(landmarks.points, -frames, axis=0),
        confidence=np.roll(landmarks.confidence, -frames),
    )


def silent_features(clip: ClipSample) -> tuple[AudioFeatures, ...]:
    """Digital silence in place of the clip's speech: features without columns, for outside them there is silence."""
    return tuple(dataclasses.replace(f, values=f.values[:0]) for f in clip.features)


def cut(clip: ClipSample, start: int, stop: int) -> ClipSample:
    """Frames [start, stop) of a clip on a clock of their own; the sound is moved along and stays whole."""
    begin_s = clip.times.at(start).seconds - clip.times.at(0).seconds
    return dataclasses.replace(
        clip,
        frames=clip.frames[start:stop],
        times=clip.times.slice(start, stop).from_zero(),
        landmarks=clip.landmarks.slice(start, stop),
        transform=clip.transform.slice(start, stop),
        speech=dataclasses.replace(clip.speech, origin_s=clip.speech.origin_s - begin_s),
        features=tuple(dataclasses.replace(f, origin_s=f.origin_s - begin_s) for f in clip.features),
    )


def _turned(feature: AudioFeatures, by_s: float, length_s: float) -> AudioFeatures:
    """Column by column what stands `by_s` later; time is a circle of the clip's length, frame 0 at its origin."""
    columns_s = float(feature.origin_s) + float(feature.hop_s) * np.arange(len(feature.values), dtype=np.float64)
    # Half a column, since the one nearest to the first frame may lie a little before it.
    half_s = float(feature.hop_s) / 2
    return dataclasses.replace(feature, values=feature.at((columns_s + by_s + half_s) % length_s - half_s))
