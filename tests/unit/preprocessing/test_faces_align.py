"""Where the crop lies: fitted to the upper face, steady, and deaf to the mouth."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.config import CropConfig
from preprocessing.errors import Unusable
from preprocessing.faces.align import MOST_LAG, align, raw_crops
from preprocessing.faces.base import AlignedTrack, Shot, Track
from preprocessing.faces.template import anchor_template, anchor_weights
from shards.crop import crop_window
from shards.meanface import mean_face
from shards.schema import F32, F64, Landmarks
from shards.topology import TOPOLOGIES, topology

BOTH = pytest.mark.parametrize("name", sorted(TOPOLOGIES))


def similarity(scale: float, degrees: float, x: float, y: float) -> F64:
    turn = scale * np.exp(1j * np.radians(degrees))
    return np.array([[turn.real, -turn.imag, x], [turn.imag, turn.real, y]])


def track_of(points: F32, name: str = "mediapipe131") -> Track:
    landmarks = Landmarks(
        points=points.astype(np.float32),
        confidence=np.ones(len(points), dtype=np.float32),
        topology_name=name,
        space="source",
    )
    return Track(shot=Shot(index=0, start=0, stop=len(points)), start=0, landmarks=landmarks)


def turned(name: str, *, yaw: float) -> F32:
    """The mean face in three dimensions, 50 px to the eye unit, turned; only its anchor and its lips have depth."""
    shape, flat = topology(name), mean_face(name)
    depth = np.zeros(len(flat))
    depth[list(shape.anchor)] = anchor_template(shape)[:, 2]
    depth[list(shape.lips)] = -0.25
    x = flat[:, 0] * np.cos(yaw) + depth * np.sin(yaw)
    return (np.column_stack([x, flat[:, 1]]) * 50 + (150, 120)).astype(np.float32)


def moving_face(frames: int, name: str = "mediapipe131", *, jitter_px: float = 0.0, seed: int = 0) -> F32:
    """A face that drifts, turns and comes nearer; jitter is a landmark net's noise, the same for all points."""
    rng = np.random.default_rng(seed)
    out = []
    for t in range(frames):
        m = similarity(50 + 0.2 * t, 0.3 * t, 150 + 0.5 * t, 120)
        out.append(mean_face(name) @ m[:, :2].T + m[:, 2] + jitter_px * rng.standard_normal(2))
    return np.array(out, dtype=np.float32)


def aligned(points: F32, name: str = "mediapipe131", **config: float) -> AlignedTrack:
    return align(track_of(points, name), CropConfig(**config), fps=25.0, identity="person-0")


@BOTH
def test_the_anchor_holds_only_points_above_the_nose_tip(name: str) -> None:
    shape = topology(name)
    assert not set(shape.anchor) & set(shape.content)
    assert anchor_template(shape)[:, 1].max() < mean_face(name)[shape.mouth_corners[0], 1] / 2


@BOTH
def test_anchor_weights_are_shares_and_trust_eye_corners_most(name: str) -> None:
    shape = topology(name)
    weights = dict(zip(shape.anchor, anchor_weights(shape), strict=True))
    assert sum(weights.values()) == pytest.approx(1)
    brow = max(weights[p] for p in shape.brows[0])
    corner = max(weights[p] for p in shape.left_eye)
    assert corner > 10 * brow > 0


@BOTH
def test_the_mean_face_is_symmetric_and_measured_in_eye_units(name: str) -> None:
    face, shape = mean_face(name), topology(name)
    left, right = face[list(shape.left_eye)].mean(axis=0), face[list(shape.right_eye)].mean(axis=0)
    np.testing.assert_allclose([left, right], [[-0.5, 0], [0.5, 0]], atol=2e-3)
    for point in face * [-1, 1]:
        assert np.abs(face - point).max(axis=1).min() < 2e-3


@BOTH
def test_the_crop_shows_the_mean_face_where_the_window_says(name: str) -> None:
    found = aligned(moving_face(40, name), name, smooth_s=0.0)
    window = crop_window("lower_face").matrix(128)
    expected = mean_face(name) @ window[:, :2].T + window[:, 2]
    crop = found.transform.to_crop(found.track.landmarks.points)
    np.testing.assert_allclose(crop, np.broadcast_to(expected, crop.shape), atol=1e-3)


@BOTH
def test_speech_does_not_move_the_crop_at_all(name: str) -> None:
    shape, rng = topology(name), np.random.default_rng(1)
    silent = moving_face(30, name, jitter_px=0.3)
    speaking = silent.copy()
    # Everything that speech can move: lips, jaw and the points of the nose below its bridge.
    moved = [p for p in range(shape.num_points) if p not in shape.anchor]
    speaking[:, moved] += rng.normal(0, 15, (30, len(moved), 2)).astype(np.float32)
    np.testing.assert_array_equal(aligned(silent, name).transform.matrices, aligned(speaking, name).transform.matrices)


def test_a_blink_and_raised_brows_hardly_move_the_crop() -> None:
    shape = topology("mediapipe131")
    still = np.repeat(moving_face(1), 25, axis=0)
    blinking = still.copy()
    brows, eyes = [*shape.brows[0], *shape.brows[1]], [*shape.left_eye, *shape.right_eye]
    blinking[10:13, brows, 1] -= 8
    lids = [e for e in eyes if mean_face("mediapipe131")[e, 1] < -0.03]
    blinking[10:13, lids, 1] += 5
    a, b = aligned(still).transform, aligned(blinking).transform
    moved_px = np.abs(a.to_crop(still) - b.to_crop(still)).max()
    assert moved_px < 0.8


def test_smoothing_has_no_delay() -> None:
    rng = np.random.default_rng(3)
    points = moving_face(60, jitter_px=2.0)
    points += np.cumsum(rng.standard_normal((60, 1, 2)), axis=0).astype(np.float32)
    forwards = aligned(points).transform.matrices
    backwards = aligned(points[::-1].copy()).transform.matrices[::-1]
    np.testing.assert_allclose(forwards, backwards, atol=1e-9)


def test_smoothing_leaves_a_steady_pan_as_it_is_up_to_its_ends() -> None:
    face = moving_face(1)[0]
    pan = np.array([face + np.array([2.0 * t, -1.0 * t]) for t in range(50)], dtype=np.float32)
    raw, smooth = (aligned(pan, smooth_s=s).transform for s in (0.0, 0.3))
    np.testing.assert_allclose(smooth.matrices, raw.matrices, atol=1e-3)


def test_smoothing_calms_jitter() -> None:
    points = moving_face(100, jitter_px=1.5)
    raw, smooth = (aligned(points, smooth_s=s).transform.matrices for s in (0.0, 0.2))
    assert np.diff(smooth[:, 0, 2], n=2).std() < 0.1 * np.diff(raw[:, 0, 2], n=2).std()


def test_a_turn_through_half_a_circle_is_smoothed_the_short_way() -> None:
    turning = [mean_face("mediapipe131") @ similarity(50, 170 + t, 0, 0)[:, :2].T + 200 for t in range(20)]
    transform = aligned(np.array(turning, dtype=np.float32)).transform
    np.testing.assert_allclose(
        np.diff(np.unwrap(np.arctan2(*transform.matrices[:, [1, 0], 0].T))), -np.pi / 180, atol=1e-3
    )


def test_unseen_frames_are_filled_between_their_neighbours() -> None:
    points = moving_face(30)
    whole = aligned(points, smooth_s=0.0).transform.matrices
    holed = points.copy()
    holed[10:14] = np.nan
    filled = aligned(holed, smooth_s=0.0).transform.matrices
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled, whole, rtol=2e-2, atol=1.0)


def test_a_track_that_shows_no_face_at_all_is_unusable() -> None:
    with pytest.raises(Unusable, match="no_face"):
        aligned(np.full((5, 131, 2), np.nan, dtype=np.float32))


def test_one_frame_can_be_aligned() -> None:
    assert aligned(moving_face(1)).transform.matrices.shape == (1, 2, 3)


def test_smoothing_does_not_hold_the_crop_off_a_head_that_jerks() -> None:
    still, config = moving_face(1)[0], CropConfig(smooth_s=1.0)
    jump = np.array([200.0, 0.0])
    points = np.array([still + jump * (t >= 20) for t in range(40)], dtype=np.float32)
    found = aligned(points, smooth_s=1.0).transform
    raw = raw_crops(track_of(points).landmarks, config)
    centre = np.array([[[63.5, 63.5]]]).repeat(40, axis=0)
    lag = np.abs(found.to_source(centre)[:, 0] - raw[:, 2:]).max()
    side_px = crop_window(config.window).side * 50
    assert lag == pytest.approx(MOST_LAG[2] * side_px, rel=1e-3)


def test_the_crop_of_a_sample_does_not_tell_the_mouth() -> None:
    """The leak test: a mouth that opens moves neither the crop's box nor the upper face in it, at 256 px."""
    shape, still = topology("mediapipe131"), moving_face(50)
    speaking = still.copy()
    chin_px = 25 * np.abs(np.sin(np.arange(50)))[:, None]
    speaking[:, list(shape.jaw), 1] += chin_px.astype(np.float32)
    speaking[:, list(shape.lips), 1] += (0.7 * chin_px).astype(np.float32)
    box = np.array([[[-0.5, -0.5], [255.5, -0.5], [255.5, 255.5], [-0.5, 255.5]]]).repeat(50, axis=0)
    a, b = (aligned(points, size_px=256).transform for points in (still, speaking))
    assert np.abs(a.to_source(box) - b.to_source(box)).max() * a.scale().max() < 0.5
    upper = list(shape.pose)
    assert np.abs(a.to_crop(still)[:, upper] - b.to_crop(speaking)[:, upper]).max() < 0.5


@BOTH
@pytest.mark.parametrize("degrees", [-45, -30, 0, 30, 45])
def test_a_turned_head_is_not_magnified(name: str, degrees: float) -> None:
    points = turned(name, yaw=np.radians(degrees))
    raw = raw_crops(track_of(points[None], name).landmarks, CropConfig())
    assert np.exp(raw[0, 0]) == pytest.approx(50, rel=0.03)


def test_the_mouth_of_a_turned_head_stays_in_the_middle_of_the_crop() -> None:
    for degrees in (-45, 0, 45):
        points = turned("mediapipe131", yaw=np.radians(degrees))
        crop = aligned(points[None]).transform.to_crop(points[None])[0]
        lips = crop[list(topology("mediapipe131").lips)].mean(axis=0)
        assert lips[0] == pytest.approx(63.5, abs=4)
