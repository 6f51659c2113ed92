"""Topologies are consistent: every point is somebody's, no generated point fixes the crop."""

from __future__ import annotations

import pytest

from shards.errors import RequestError
from shards.topology import MEDIAPIPE131_MESH_INDICES, TOPOLOGIES, Topology, topology

each = pytest.mark.parametrize("layout", TOPOLOGIES.values(), ids=lambda t: t.name)


@each
def test_pose_and_content_share_every_point_out_between_them(layout: Topology) -> None:
    assert sorted(layout.pose + layout.content) == list(range(layout.num_points))


@each
def test_the_crop_is_fixed_by_points_that_are_never_generated(layout: Topology) -> None:
    assert set(layout.anchor) <= set(layout.pose)
    assert not set(layout.anchor) & set(layout.content)


@each
def test_the_lip_contours_are_the_lips(layout: Topology) -> None:
    assert sorted(layout.lips_outer + layout.lips_inner) == sorted(layout.lips)


@each
def test_the_named_points_lie_where_their_names_say(layout: Topology) -> None:
    left, right = layout.mouth_corners
    assert layout.lips_outer[0] == left
    assert right in layout.lips_outer
    assert set(layout.inner_lip_mid) <= set(layout.lips_inner)
    assert layout.chin in layout.jaw
    assert layout.jaw[len(layout.jaw) // 2] == layout.chin


@each
def test_eyes_brows_and_nose_do_not_overlap(layout: Topology) -> None:
    parts = [layout.left_eye, layout.right_eye, *layout.brows, layout.nose]
    together = [point for part in parts for point in part]
    assert len(together) == len(set(together))
    assert set(together) <= set(layout.pose)


@each
def test_both_lip_contours_run_over_the_upper_lip_first(layout: Topology) -> None:
    upper, lower = layout.inner_lip_mid
    assert layout.lips_inner.index(upper) < layout.lips_inner.index(lower)


def test_the_mesh_indices_are_distinct_and_of_the_mesh() -> None:
    assert len(set(MEDIAPIPE131_MESH_INDICES)) == 131
    assert max(MEDIAPIPE131_MESH_INDICES) < 478


def test_an_unknown_topology_is_refused_with_the_nearest_name() -> None:
    assert topology("ibug68").name == "ibug68"
    with pytest.raises(RequestError, match="did you mean 'ibug68'"):
        topology("ibug86")
