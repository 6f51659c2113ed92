from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flows.evaluation.shift import cut, shift_of, shifted_features, shifted_landmarks, silent_features
from shards.errors import RequestError
from shards.schema import FrameTimes
from tests.support.clips import make_clip


def test_what_is_heard_and_what_the_mouth_must_do_turn_alike() -> None:
    clip = make_clip(1, frames=40)
    by, times_s = shift_of(clip), clip.times.seconds()
    (turned,) = shifted_features(clip, by)
    assert by == 20
    np.testing.assert_array_equal(turned.at(times_s), np.roll(clip.features[0].at(times_s), -by, axis=0))
    truth = shifted_landmarks(clip.landmarks, by)
    np.testing.assert_array_equal(truth.points[0], clip.landmarks.points[20])
    np.testing.assert_array_equal(truth.points[39], clip.landmarks.points[19])


def test_sound_from_before_the_first_frame_is_not_taken_for_the_clips_own() -> None:
    """The feature begins 0.1 s early; the circle is closed over the clip, so those columns are never heard again."""
    clip = make_clip(1, frames=40)
    (turned,) = shifted_features(clip, 20)
    early = clip.features[0].values[:7]
    assert not (turned.values[:, None] == early[None]).all(axis=2).any()


def test_a_clip_that_is_too_short_or_uneven_is_refused() -> None:
    with pytest.raises(RequestError, match="20 frames"):
        shift_of(make_clip(1, frames=19))
    clip = make_clip(1, frames=30)
    pts = clip.times.pts.copy()
    pts[10:] += 4 * 512
    with pytest.raises(RequestError, match="even frame times"):
        shift_of(dataclasses.replace(clip, times=FrameTimes(pts=pts, base=clip.times.base)))


def test_silence_is_the_features_own_at_every_time() -> None:
    clip = make_clip(1, frames=30)
    (silent,) = silent_features(clip)
    assert (silent.at(clip.times.seconds()) == silent.silence).all()


def test_a_part_of_a_clip_hears_what_the_whole_hears_there() -> None:
    clip = make_clip(1, frames=40)
    part = cut(clip, 10, 25)
    assert part.times.seconds()[0] == 0
    np.testing.assert_array_equal(
        part.features[0].at(part.times.seconds()), clip.features[0].at(clip.times.seconds()[10:25])
    )
    assert part.speech.origin_s == clip.speech.origin_s - clip.times.at(10).seconds
    np.testing.assert_array_equal(part.landmarks.points, clip.landmarks.points[10:25])
