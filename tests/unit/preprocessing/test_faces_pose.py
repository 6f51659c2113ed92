"""Size, place and angles of a head from its upper face."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.faces.pose import head_pose
from preprocessing.faces.template import anchor_template
from shards.schema import F64
from shards.topology import TOPOLOGIES, topology

BOTH = pytest.mark.parametrize("name", sorted(TOPOLOGIES))


def seen(name: str, *, yaw: float = 0.0, pitch: float = 0.0, tilt: float = 0.0, size: float = 60.0) -> F64:
    """(1, P, 2): the template's anchor turned by hand, in another order of operations than the code's."""
    shape = topology(name)
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    points = np.full((1, shape.num_points, 2), 7.0)
    turned = anchor_template(shape) @ (about_z @ about_y @ about_x).T
    points[0, list(shape.anchor)] = size * turned[:, :2] + (300, 200)
    return points


@BOTH
def test_a_frontal_head_is_found_exactly(name: str) -> None:
    pose = head_pose(seen(name, tilt=0.3), topology(name))
    assert abs(pose.c[0]) == pytest.approx(60, rel=1e-6)
    assert np.angle(pose.c[0]) == pytest.approx(0.3, abs=1e-6)
    assert pose.d[0] == pytest.approx(300 + 200j, abs=1e-4)
    assert (pose.yaw[0], pose.pitch[0]) == pytest.approx((0, 0), abs=1e-6)


@BOTH
@pytest.mark.parametrize("yaw", [-0.8, -0.4, 0.4, 0.8])
@pytest.mark.parametrize("pitch", [-0.3, 0.0, 0.3])
def test_a_turned_head_is_as_large_as_it_is(name: str, yaw: float, pitch: float) -> None:
    pose = head_pose(seen(name, yaw=yaw, pitch=pitch), topology(name))
    assert abs(pose.c[0]) == pytest.approx(60, rel=0.03)
    assert pose.yaw[0] == pytest.approx(yaw, abs=0.08)
    assert pose.pitch[0] == pytest.approx(pitch, abs=0.08)


def test_a_point_of_the_head_is_placed_where_it_is_seen() -> None:
    pose = head_pose(seen("ibug68", tilt=0.2), topology("ibug68"))
    expected = 300 + 200j + 60 * np.exp(0.2j) * (0.1 + 1.1j)
    assert pose.place(0.1, 1.1, -0.2)[0] == pytest.approx(expected, abs=1e-3)


def test_frames_without_a_face_are_nan_and_the_others_are_not_touched() -> None:
    points = np.concatenate([seen("ibug68"), np.full((1, 68, 2), np.nan), np.full((1, 68, 2), 5.0), seen("ibug68")])
    pose = head_pose(points, topology("ibug68"))
    assert np.isfinite(pose.c).tolist() == [True, False, False, True]
    assert np.isnan(pose.yaw[1:3]).all()
    assert pose.c[0] == pose.c[3]


def test_points_on_a_line_give_finite_numbers() -> None:
    points = seen("mediapipe131")
    points[..., 0] = 300.0
    pose = head_pose(points, topology("mediapipe131"))
    assert np.isfinite([abs(pose.c[0]), pose.yaw[0], pose.pitch[0]]).all()
