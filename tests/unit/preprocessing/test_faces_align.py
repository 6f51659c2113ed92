"""The crop: fitted to the upper face, steady, deaf to the mouth, and exact in both directions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.config import CropConfig
from preprocessing.errors import Unusable
from preprocessing.faces.align import align, crop_frame, fit_upper_face
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
def test_the_fit_finds_a_known_similarity_exactly(name: str) -> None:
    m = similarity(37.0, -21.0, 201.5, 88.25)
    points = mean_face(name) @ m[:, :2].T + m[:, 2]
    a, b = fit_upper_face(points[None].astype(np.float64), topology(name))
    back = a[0] * (points[:, 0] + 1j * points[:, 1]) + b[0]
    np.testing.assert_allclose(np.stack([back.real, back.imag], axis=1), mean_face(name), atol=1e-9)


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


@pytest.mark.parametrize("scale", [0.3, 0.9, 2.2])
def test_a_crop_pasted_back_gives_the_picture(scale: float) -> None:
    y, x = np.mgrid[0:240, 0:320].astype(np.float64)
    waves = [110 + 80 * np.sin(x / (9 + c) + c) * np.cos(y / (11 - c)) for c in range(3)]
    picture = np.stack(waves, axis=2).round().astype(np.uint8)
    size = 96 if scale > 0.5 else 64
    m = similarity(scale, 12.0, 0, 0)
    m[:, 2] = (size - 1) / 2 - m[:, :2] @ (160, 120)
    crop = crop_frame(picture, m, size)
    back = cv2.warpAffine(crop, m, (320, 240), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    reach = int(0.25 * size / scale)
    inside = np.s_[max(120 - reach, 0) : 120 + reach, max(160 - reach, 0) : 160 + reach]
    error = np.abs(back[inside].astype(float) - picture[inside])
    # Shrunk to a third the waves themselves fade; a shift of half a pixel would cost 5 and more at any scale.
    assert error.mean() < (2.0 if scale > 0.5 else 8.0)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_a_shrunk_crop_has_no_moire_and_does_not_move(shift: float) -> None:
    picture = np.zeros((300, 300, 3), dtype=np.uint8)
    picture[:, ::2] = 255
    m = np.array([[0.25, 0, shift], [0, 0.25, 0]])
    crop = crop_frame(picture, m, 64)[8:-8, 8:-8]
    assert crop.std() < 4
    assert crop.mean() == pytest.approx(127.5, abs=3)


def test_past_the_edge_of_the_picture_its_border_continues() -> None:
    picture = np.full((20, 20, 3), 90, dtype=np.uint8)
    assert (crop_frame(picture, np.array([[1.0, 0, 500], [0, 1.0, 500]]), 16) == 90).all()
    assert (crop_frame(picture, np.array([[1.0, 0, -500], [0, 1.0, -5]]), 16) == 90).all()


def test_a_crop_of_scale_one_on_whole_pixels_copies_them() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crop = crop_frame(picture, np.array([[1.0, 0, -10], [0, 1.0, -7]]), 24)
    np.testing.assert_array_equal(crop, picture[7:31, 10:34])
