from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from model.batch import audio_columns, collate, pictures, windows
from model.config import ModelConfig
from model.errors import CheckpointMismatch
from shards.errors import RequestError
from shards.schema import ClipSample, FrameTimes, Landmarks
from tests.support.clips import make_clip


def with_hole(clip: ClipSample, frames: list[int]) -> ClipSample:
    points = clip.landmarks.points.copy()
    points[frames] = np.nan
    lm = clip.landmarks
    return replace(
        clip,
        landmarks=Landmarks(points=points, confidence=lm.confidence, topology_name=lm.topology_name, space="crop"),
    )


def test_a_batch_has_the_shapes_its_names_say(config: ModelConfig, clip: ClipSample) -> None:
    batch = collate(windows(clip, 10, np.random.default_rng(0), config, count=3))
    assert batch.frames_BTCHW.shape == (3, 10, 3, 32, 32)
    assert batch.landmarks_BTP2.shape == (3, 10, 131, 2)
    assert batch.audio_BTWC.shape == (3, 10, 16, 80)
    assert batch.ref_frames_BRCHW.shape == (3, 2, 3, 32, 32)
    assert batch.ref_landmarks_BNP2.shape == (3, 3, 131, 2)
    assert batch.mask_HW.shape == (32, 32)
    assert batch.seen_BT.all()


def test_unseen_frames_are_masked_and_never_references(config: ModelConfig, clip: ClipSample) -> None:
    batch = windows(with_hole(clip, [2, 3, 20]), 24, np.random.default_rng(0), config)[0]
    assert (~batch.seen_BT).nonzero().flatten().tolist() == [2, 3, 20]
    assert batch.landmarks_BTP2.isfinite().all()
    assert batch.ref_landmarks_BNP2.isfinite().all()


def test_a_short_clip_is_filled_up_with_unseen_frames(config: ModelConfig) -> None:
    batch = windows(make_clip(1, frames=6, size=32), 10, np.random.default_rng(0), config)[0]
    assert batch.seen_BT.tolist() == [True] * 6 + [False] * 4


def test_references_come_from_outside_the_window(config: ModelConfig, clip: ClipSample) -> None:
    for seed in range(5):
        batch = windows(clip, 10, np.random.default_rng(seed), config)[0]
        inside = {frame.numpy().tobytes() for frame in batch.frames_BTCHW}
        assert not any(frame.numpy().tobytes() in inside for frame in batch.ref_frames_BRCHW)


def test_audio_is_that_of_the_frames_timestamp(config: ModelConfig, clip: ClipSample) -> None:
    feature = clip.features[0]
    got = audio_columns(clip.features, np.array([0.4]), config)[0]
    # 80 columns a second from -0.1 s: 16 columns around 0.4 s are those from 0.3 s on.
    np.testing.assert_array_equal(got.numpy(), feature.values[32:48])


def test_an_absent_feature_is_named(config: ModelConfig) -> None:
    with pytest.raises(CheckpointMismatch, match="phones"):
        audio_columns(make_clip(1, features=("phones",)).features, np.array([0.0]), config)


def test_a_clip_at_another_rate_is_refused(config: ModelConfig, clip: ClipSample) -> None:
    fast = replace(clip, times=FrameTimes(pts=np.arange(24, dtype=np.int64), base=Fraction(1, 50)))
    with pytest.raises(RequestError, match="25 frames"):
        windows(fast, 10, np.random.default_rng(0), config)


def test_a_clip_without_a_face_is_refused(config: ModelConfig, clip: ClipSample) -> None:
    with pytest.raises(RequestError, match=clip.key):
        windows(with_hole(clip, list(range(24))), 10, np.random.default_rng(0), config)


def test_pictures_span_minus_one_to_one() -> None:
    got = pictures(np.array([0, 255], dtype=np.uint8).repeat(3).reshape(2, 1, 1, 3))
    assert torch.equal(got.flatten(1)[:, 0], torch.tensor([-1.0, 1.0]))
