"""Pictures of a portrait in a pose, and where its landmarks truly are."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.sample import warp
from preprocessing.sample.fields import Layer, displaced, shapes
from preprocessing.sample.inverse import Inverse, View, grid_nodes
from preprocessing.sample.motion import FacePose
from preprocessing.sample.portrait import PHOTOGRAPHS, Portrait
from preprocessing.sample.warp import render_pose
from shards.errors import RequestError
from shards.topology import topology

TOPOLOGY = topology("mediapipe131")
UPPER, LOWER = TOPOLOGY.inner_lip_mid
LEFT, RIGHT = TOPOLOGY.mouth_corners
MOVED = FacePose(opening=0.8, width=0.3, brow=0.5, head_x=0.03, head_y=-0.02, roll=0.03, scale=1.02, yaw=0.05)
EXTREMES = (
    FacePose(opening=1.0),
    FacePose(opening=0.2, width=-1.0, rounding=1.0),
    FacePose(opening=0.3, width=1.0),
    FacePose(press=1.0, head_x=-0.04, roll=-0.04, scale=0.98, yaw=-0.06, pitch=0.05),
    MOVED,
)

portraits = pytest.mark.parametrize("name", sorted(PHOTOGRAPHS))


def gap(points: np.ndarray) -> float:
    return float(points[LOWER, 1] - points[UPPER, 1])


@portraits
def test_the_lips_of_a_face_at_rest_are_together_and_open_with_the_pose(name: str) -> None:
    portrait = Portrait.load(name)
    gaps = [gap(render_pose(portrait, FacePose(opening=o))[1]) for o in (0.0, 0.25, 0.5, 1.0)]
    assert abs(gaps[0]) < 1.0
    assert np.all(np.diff(gaps) > 3)


@portraits
def test_width_and_chin_follow_the_pose(name: str) -> None:
    portrait = Portrait.load(name)
    rest, spread, narrow, wide_open = (
        render_pose(portrait, pose)[1]
        for pose in (FacePose(), FacePose(width=1.0), FacePose(width=-1.0), FacePose(opening=1.0))
    )
    widths = [p[RIGHT, 0] - p[LEFT, 0] for p in (narrow, rest, spread)]
    assert widths[0] < 0.85 * widths[1] < 0.95 * widths[2]
    assert wide_open[TOPOLOGY.chin, 1] - rest[TOPOLOGY.chin, 1] > 8
    upper_face = list(TOPOLOGY.anchor)
    assert np.abs(wide_open[upper_face] - rest[upper_face]).max() < 0.6


@portraits
def test_a_blink_lowers_the_upper_lid_only(name: str) -> None:
    portrait = Portrait.load(name)
    rest, shut = (render_pose(portrait, FacePose(blink=b))[1] for b in (0.0, 1.0))
    lower, upper = list(TOPOLOGY.left_eye[1:8]), list(TOPOLOGY.left_eye[9:])
    assert np.allclose(shut[lower], rest[lower], atol=0.05)
    height = rest[lower, 1].mean() - rest[upper, 1].mean()
    assert shut[upper, 1].mean() - rest[upper, 1].mean() > 0.8 * height


@portraits
@pytest.mark.parametrize("pose", EXTREMES)
@pytest.mark.parametrize("layer", list(Layer))
def test_the_warp_never_folds_and_its_inverse_finds_the_way_back(name: str, pose: FacePose, layer: Layer) -> None:
    stage = warp._stage(name)
    nodes = grid_nodes()
    moved = stage.moved(stage.grids[layer], pose)
    side = round(np.sqrt(len(nodes)))
    by_row, by_column = (np.diff(moved.reshape(side, side, 2), axis=a) for a in (0, 1))
    area = by_column[:-1, :, 0] * by_row[:, :-1, 1] - by_column[:-1, :, 1] * by_row[:, :-1, 0]
    assert area.min() > 0.1 * 16  # canvas px^2 of a 4 x 4 cell
    view = View.of((512, 512), np.array([256.0, 256.0]))
    rest = Inverse.of(moved).rest(view, (slice(8, 504, 8), slice(8, 504, 8))).reshape(-1, 2).astype(np.float64)
    at = shapes(stage.face, stage.portrait.photograph, stage.face.frame.to_face(rest), layer)
    there = stage.face.frame.to_canvas(displaced(at, pose, stage.face, stage.portrait.photograph))
    want = view.canvas_of((slice(8, 504, 8), slice(8, 504, 8))).reshape(-1, 2)
    error = np.abs(there - want)
    assert error.mean() < 0.02
    assert np.quantile(error, 0.999) < 0.8  # at the corners of the lips, where the field bends most


@portraits
def test_the_background_stands_still(name: str) -> None:
    portrait = Portrait.load(name)
    still, moved = (render_pose(portrait, pose)[0] for pose in (FacePose(), MOVED))
    assert np.array_equal(still[:40, :40], moved[:40, :40])
    assert np.array_equal(still[-40:, :], moved[-40:, :])
    assert np.abs(still.astype(int) - moved.astype(int))[150:350, 150:350].mean() > 3


def test_the_same_pose_gives_the_same_picture() -> None:
    portrait = Portrait.load("hopper")
    assert np.array_equal(render_pose(portrait, MOVED)[0], render_pose(portrait, MOVED)[0])


@pytest.mark.parametrize("size", [(512, 512), (256, 256), (640, 360), (360, 640)])
def test_any_size_shows_the_whole_face_with_its_landmarks(size: tuple[int, int]) -> None:
    picture, points = render_pose(Portrait.load("hopper"), FacePose(), size=size)
    assert picture.shape == (size[1], size[0], 3)
    assert points.min() > 0
    assert np.all(points.max(axis=0) < size)
    # The lips are redder than the sky behind the right ear: the points and the picture are one.
    x, y = points[list(TOPOLOGY.lips_outer)].mean(axis=0).round().astype(int)
    assert int(picture[y, x, 0]) > int(picture[y, x, 2]) + 30


def test_an_unknown_portrait_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match="hopper"):
        Portrait.load("hoper")
