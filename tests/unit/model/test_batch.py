from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from model.batch import audio_columns, collate, pictures, windows
from model.config import LandmarkCondition, ModelConfig
from model.errors import CheckpointMismatch
from shards.errors import RequestError
from shards.schema import AudioFeatures, ClipSample, FrameTimes, Landmarks
from tests.support.clips import make_clip
from tests.support.models import nano_config


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


def timed(name: str, rate_hz: int, origin_s: Fraction, version: str = "1") -> AudioFeatures:
    """Two channels, each the column's own time; six seconds of them."""
    times = float(origin_s) + np.arange(6 * rate_hz) / rate_hz
    return AudioFeatures(
        name=name,
        version=version,
        values=np.stack([times, times], axis=1).astype(np.float32),
        hop_s=Fraction(1, rate_hz),
        origin_s=origin_s,
        silence=np.full(2, -9, dtype=np.float32),
    )


@pytest.mark.parametrize("width", [1, 5, 16])
@pytest.mark.parametrize("rates_hz", [(80, 50), (50, 80), (80, 80), (50, 100)])
@pytest.mark.parametrize("origins_s", [(Fraction(0), Fraction(-1, 5)), (Fraction(-2, 7), Fraction(1, 160))])
def test_features_of_different_rates_and_origins_meet_by_time(
    rates_hz: tuple[int, int], origins_s: tuple[Fraction, Fraction], width: int
) -> None:
    names = ("mel", "hubert-3f9a2c1b")
    features = [timed(*about) for about in zip(names, rates_hz, origins_s, strict=True)]
    config = nano_config()
    condition = LandmarkCondition(features=names, feature_dims=(2, 2))
    completion = config.completion.model_copy(update={"audio_columns": width})
    config = config.model_copy(update={"condition": condition, "completion": completion})
    at_s = np.arange(10, 100) * 0.04 + 0.003
    got_TWC = audio_columns(features, at_s, config).numpy()
    assert got_TWC.shape == (90, width, 4)
    meant_TW = at_s[:, None] + (np.arange(width) - (width - 1) / 2) / 80
    for part, rate_hz in zip((got_TWC[..., :2], got_TWC[..., 2:]), rates_hz, strict=True):
        assert np.abs(part - meant_TW[..., None]).max() <= 0.5 / rate_hz + 1e-5


@pytest.mark.parametrize("width", [4, 5, 16])
def test_of_a_feature_of_the_grid_s_rate_each_frame_has_that_many_neighbouring_columns(width: int) -> None:
    config = nano_config()
    condition = LandmarkCondition(features=("mel",), feature_dims=(2,))
    completion = config.completion.model_copy(update={"audio_columns": width})
    config = config.model_copy(update={"condition": condition, "completion": completion})
    feature = timed("mel", 80, Fraction(-1, 5))
    got_TW = audio_columns([feature], np.arange(100) * 0.04, config).numpy()[..., 0]
    # In columns from the first: the frame's place, less half the window, rounded up.
    first_T = np.ceil(np.round(16 + np.arange(100) * 3.2 - width / 2, 6)).astype(int)
    np.testing.assert_array_equal(got_TW, feature.values[first_T[:, None] + np.arange(width), 0])


def test_a_feature_of_another_version_is_refused_by_name(config: ModelConfig, clip: ClipSample) -> None:
    condition = config.condition.model_copy(update={"feature_versions": ("test-0",)})
    with pytest.raises(CheckpointMismatch, match=r"feature_versions\[mel\].*'test-0'.*test-1"):
        windows(clip, 10, np.random.default_rng(0), config.model_copy(update={"condition": condition}))
    with pytest.raises(CheckpointMismatch, match=r"feature_versions\[mel\]"):
        audio_columns(clip.features, np.array([0.4]), config.model_copy(update={"condition": condition}))


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
