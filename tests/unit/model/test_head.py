"""A mouth that both speaks and is carried by its head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from model.batch import collate, windows
from model.config import ModelConfig
from model.head import CALM_FRAMES, Head
from model.landmarks import opening, to_px, to_units
from shards.schema import F32, F64, ClipSample
from shards.topology import topology
from tests.support.clips import make_clip
from tests.support.lips import landmarks

LAYOUT = topology("mediapipe131")
SIZE, FRAMES = 32, 150
T = np.arange(FRAMES)


def turning(frames: F64 = T) -> F64:
    """From side to side in six seconds, crop units."""
    sides: F64 = 0.1 * np.sin(2 * np.pi * frames / FRAMES)
    return sides


def speaking(pace: float = 0.23) -> F64:
    opened: F64 = 0.15 + 0.1 * np.sin(2 * np.pi * pace * T)
    return opened


def face() -> F32:
    """(T, P, 2) crop units: the pose is pushed aside by the turning and the mouth twice as far; it says `speaking`."""
    points = to_units(landmarks(speaking()).points, 64).astype(np.float64)
    points[:, list(LAYOUT.pose), 0] += turning()[:, None]
    points[:, list(LAYOUT.content), 0] += 2 * turning()[:, None]
    return points.astype(np.float32)


def clip() -> ClipSample:
    made = make_clip(1, frames=FRAMES, size=SIZE)
    points = to_px(face(), SIZE).astype(np.float32)
    return replace(made, landmarks=replace(made.landmarks, points=points))


def test_what_is_slow_is_the_heads_and_what_is_fast_is_said() -> None:
    points = face()
    carried = Head(points, LAYOUT).carries(points[:, list(LAYOUT.pose)])
    np.testing.assert_allclose(
        carried[..., 0] - carried[..., 0].mean(axis=0), np.tile(2 * turning()[:, None], 57), atol=0.02
    )
    assert np.abs(carried[..., 1] - carried[..., 1].mean(axis=0)).max() < 0.02  # speech opens it up and down


def test_too_short_a_clip_tells_nothing_of_the_head() -> None:
    points = face()[: 3 * CALM_FRAMES - 1]
    assert not Head(points, LAYOUT).carries(points[:, list(LAYOUT.pose)]).any()


def test_unseen_frames_do_not_matter_to_the_rest() -> None:
    points = face()
    hole = points.copy()
    hole[[3, 90]] = np.nan
    pose = points[:, list(LAYOUT.pose)]
    np.testing.assert_allclose(Head(hole, LAYOUT).carries(pose), Head(points, LAYOUT).carries(pose), atol=0.01)


def test_under_another_head_the_mouth_says_the_same_elsewhere(config: ModelConfig) -> None:
    own = windows(clip(), 25, np.random.default_rng(3), config)[0]
    other = windows(clip(), 25, np.random.default_rng(3), config, other_pose=1.0)[0]
    for name, tensor in own.tensors().items():
        assert torch.equal(tensor, other.tensors()[name])
    turned = other.under_other_heads()
    assert turned.seen_BT.all()
    pose, content = list(LAYOUT.pose), list(LAYOUT.content)
    pushed = (turned.landmarks_BTP2 - own.landmarks_BTP2)[..., 0]
    assert pushed[:, pose].abs().max() > 0.05
    torch.testing.assert_close(pushed[:, content].mean(dim=1), 2 * pushed[:, pose].mean(dim=1), atol=0.02, rtol=0)
    torch.testing.assert_close(
        opening(turned.landmarks_BTP2, LAYOUT), opening(own.landmarks_BTP2, LAYOUT), atol=0.02, rtol=0.05
    )


def test_a_frame_is_left_out_that_is_unseen_here_or_there(config: ModelConfig) -> None:
    whole = clip()
    points = whole.landmarks.points.copy()
    points[: FRAMES // 2] = np.nan
    half = replace(whole, landmarks=replace(whole.landmarks, points=points))
    own = windows(half, FRAMES, np.random.default_rng(0), config, other_pose=1.0)[0]
    other = own.under_other_heads()
    assert other.seen_BT.sum() < own.seen_BT.sum() == FRAMES // 2
    assert not other.landmarks_BTP2[~other.seen_BT].any()


def test_so_many_windows_have_another_head_and_the_others_their_own(config: ModelConfig) -> None:
    batch = collate(windows(clip(), 25, np.random.default_rng(5), config, count=40, other_pose=0.5))
    same_B = (batch.under_other_heads().landmarks_BTP2 == batch.landmarks_BTP2).all(dim=(1, 2, 3))
    assert 10 <= int(same_B.sum()) <= 30


def test_without_other_heads_a_batch_is_its_own(config: ModelConfig) -> None:
    batch = collate(windows(clip(), 25, np.random.default_rng(5), config, count=2))
    assert batch.under_other_heads() is batch
    assert batch.turned_BTP2 is None
