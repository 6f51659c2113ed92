from __future__ import annotations

import numpy as np
import torch

from model.landmarks import at_times, filled, opening, to_px, to_units
from shards.schema import Landmarks
from shards.topology import topology


def moving(times_s: np.ndarray, unseen: tuple[int, ...] = ()) -> Landmarks:
    """Points that move by one px a second."""
    points = np.tile(times_s[:, None, None], (1, 131, 2)).astype(np.float32)
    points[list(unseen)] = np.nan
    confidence = np.ones(len(times_s), np.float32)
    return Landmarks(points=points, confidence=confidence, topology_name="mediapipe131", space="crop")


def test_the_crops_edges_are_minus_one_and_one() -> None:
    assert to_units(np.array([-0.5, 31.5, 63.5]), 64).tolist() == [-1.0, 0.0, 1.0]


def test_units_and_pixels_are_inverse() -> None:
    points = np.random.default_rng(0).uniform(-10, 80, (5, 131, 2))
    np.testing.assert_allclose(to_px(to_units(points, 64), 64), points)


def test_opening_is_the_distance_of_the_inner_lips_and_has_a_slope_when_closed() -> None:
    layout = topology("mediapipe131")
    points = torch.zeros(131, 2)
    points[layout.inner_lip_mid[1], 1] = 3.0
    assert abs(float(opening(points, layout)) - 3.0) < 1e-5
    closed = torch.zeros(131, 2, requires_grad=True)
    opening(closed, layout).backward()
    assert closed.grad is not None
    assert closed.grad.isfinite().all()


def test_points_move_linearly_between_times() -> None:
    have = np.arange(10) * 0.04
    want = np.array([0.0, 0.05, 0.333])
    moved = at_times(moving(have), have, want)
    np.testing.assert_allclose(moved[:, 0, 0], want, atol=1e-6)


def test_a_long_gap_stays_unseen_and_a_short_one_is_bridged() -> None:
    have = np.arange(20) * 0.04
    short, long = moving(have, (3,)), moving(have, tuple(range(3, 12)))
    assert np.isfinite(at_times(short, have, have)).all()
    assert np.isnan(at_times(long, have, have[5:10])).all()
    assert np.isnan(at_times(short, have, np.array([5.0]))).all()


def test_one_seen_frame_is_enough() -> None:
    have = np.array([0.0, 0.04])
    moved = at_times(moving(have, (1,)), have, have)
    assert np.isfinite(moved[0]).all()


def test_unseen_frames_become_zero_and_are_named() -> None:
    points = torch.ones(3, 131, 2)
    points[1, 5, 0] = torch.nan
    got, seen = filled(points)
    assert seen.tolist() == [True, False, True]
    assert got[1].abs().sum() == 0
