from __future__ import annotations

import math

import numpy as np
import pytest

from model.metrics import (
    closed_share,
    eye_distance,
    lip_distance,
    mouth_weight,
    opening_correlation,
    opening_rate,
    opening_speed,
    openings,
    point_distance,
    psnr_db,
)
from shards.schema import F32, Landmarks
from shards.topology import topology

LAYOUT = topology("mediapipe131")


def face(points: F32) -> Landmarks:
    confidence = np.ones(len(points), np.float32)
    return Landmarks(points=points, confidence=confidence, topology_name="mediapipe131", space="crop")


def talking(openings: np.ndarray) -> F32:
    points = np.zeros((len(openings), 131, 2), np.float32)
    points[:, list(LAYOUT.right_eye), 0] = 10.0
    points[:, LAYOUT.inner_lip_mid[1], 1] = openings
    return points


def test_psnr_counts_where_the_weight_is() -> None:
    real = np.zeros((1, 4, 4, 3), np.uint8)
    made = real.copy()
    made[:, :2] = 255
    weight = np.zeros((4, 4), np.float32)
    weight[:2] = 1
    assert psnr_db(made, real, weight) == pytest.approx(0.0)
    assert psnr_db(made, real, 1 - weight) > 90
    assert math.isnan(psnr_db(made, real, 0 * weight))


def test_lip_distance_is_in_eye_distances_and_skips_unseen_frames() -> None:
    real = talking(np.zeros(4))
    made = real.copy()
    made[:, list(LAYOUT.lips)] += (3.0, 4.0)
    real[2] = np.nan
    assert eye_distance(real[:1], LAYOUT)[0] == pytest.approx(10.0)
    assert lip_distance(face(made), face(real)) == pytest.approx(0.5)


def test_half_the_motion_at_the_right_time_correlates_fully_at_half_the_rate() -> None:
    openings = np.abs(np.sin(np.arange(50)))
    made, real = face(talking(openings / 2)), face(talking(openings))
    assert opening_correlation(made, real) == pytest.approx(1.0, abs=1e-4)
    assert opening_rate(made, real) == pytest.approx(0.5, abs=1e-4)


def test_a_still_mouth_has_no_correlation() -> None:
    still, real = face(talking(np.ones(20))), face(talking(np.sin(np.arange(20)) + 1))
    assert math.isnan(opening_correlation(still, real))
    assert opening_rate(still, real) == pytest.approx(0.0, abs=1e-5)


def test_the_mouth_is_the_box_of_the_lips_with_a_margin() -> None:
    points = np.zeros((2, 131, 2), np.float32)
    lips = list(LAYOUT.lips)
    points[0, lips] = np.linspace((10, 20), (29, 27), len(lips))
    points[1] = np.nan
    weight = mouth_weight(face(points), 64, margin=0.1)
    rows, columns = np.nonzero(weight[0])
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (8, 31, 18, 29)
    assert weight[0].sum() == 24 * 12
    assert not weight[1].any()


def test_any_points_can_be_compared() -> None:
    real, made = talking(np.zeros(4)), talking(np.zeros(4))
    made[:, list(LAYOUT.jaw)] += (0.0, 1.0)
    assert lip_distance(face(made), face(real)) == 0
    assert point_distance(face(made), face(real), LAYOUT.jaw) == pytest.approx(0.1)


def test_speed_is_the_change_a_frame_in_eye_distances_over_seen_neighbours() -> None:
    points = talking(np.array([0.0, 1.0, 3.0, 9.0, 9.0]))
    assert opening_speed(face(points)) == pytest.approx((0.1 + 0.2 + 0.6 + 0) / 4, abs=1e-4)
    points[3] = np.nan
    assert opening_speed(face(points)) == pytest.approx(0.15, abs=1e-4)
    assert math.isnan(opening_speed(face(points[:1])))


def test_a_share_of_the_seen_frames_is_closed() -> None:
    points = talking(np.array([0.0, 0.2, 2.0, 0.0]))
    points[3] = np.nan
    assert closed_share(face(points), below=0.05) == pytest.approx(2 / 3)
    assert math.isnan(openings(face(points))[3])
