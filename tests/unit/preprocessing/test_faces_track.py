"""Linking faces over frames: one face, one track; gaps told honestly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from preprocessing.config import FaceConfig
from preprocessing.faces.base import FaceObservation, Shot
from preprocessing.faces.track import FaceTracker, FollowedFace
from tests.support.fakes import DrawnFace, draw, face_points


def follow(
    frames: Mapping[int, Sequence[DrawnFace]], *, max_gap_frames: int = 5, length: int | None = None
) -> list[FollowedFace]:
    tracker = FaceTracker(FaceConfig(max_gap_frames=max_gap_frames), "mediapipe131")
    for index, faces in frames.items():
        seen = [FaceObservation(points=face_points(f), confidence=0.8) for f in faces]
        tracker.push(index, draw(faces), seen)
    stop = length if length is not None else max(frames, default=-1) + 1
    return tracker.finish(Shot(index=0, start=0, stop=stop))


def spans(faces: Sequence[FollowedFace]) -> list[tuple[int, int]]:
    return [(f.track.start, f.track.stop) for f in faces]


def test_a_moving_face_is_one_track() -> None:
    found = follow({t: [DrawnFace(x=60 + 5 * t, y=90)] for t in range(20)})
    assert spans(found) == [(0, 20)]
    assert (found[0].track.landmarks.confidence == np.float32(0.8)).all()


def test_two_faces_keep_apart_whatever_their_order_in_a_frame() -> None:
    left, right = DrawnFace(x=80, y=90), DrawnFace(x=240, y=90, eye_px=24)
    found = follow({t: [left, right] if t % 2 else [right, left] for t in range(10)})
    assert spans(found) == [(0, 10), (0, 10)]
    centres = sorted(float(f.track.landmarks.points[..., 0].mean()) for f in found)
    assert centres == pytest.approx([80, 240], abs=3)
    assert all(float(f.track.landmarks.points[..., 0].std()) < 25 for f in found)


def test_a_short_gap_is_filled_with_a_straight_line_of_confidence_zero() -> None:
    found = follow({t: [DrawnFace(x=60 + 4 * t, y=90)] for t in (0, 1, 2, 6, 7)})
    assert spans(found) == [(0, 8)]
    marks = found[0].track.landmarks
    assert marks.confidence.tolist() == pytest.approx([0.8] * 3 + [0] * 3 + [0.8] * 2)
    expected = np.stack([face_points(DrawnFace(x=60 + 4 * t, y=90)) for t in range(8)])
    np.testing.assert_allclose(marks.points, expected, atol=1e-3)


def test_a_longer_loss_ends_the_track() -> None:
    face = DrawnFace(x=100, y=90)
    assert spans(follow({t: [face] for t in (0, 1, 5, 6)}, max_gap_frames=2)) == [(0, 2), (5, 7)]
    assert spans(follow({t: [face] for t in (0, 1, 4, 5)}, max_gap_frames=2)) == [(0, 6)]


def test_no_gap_is_allowed_when_none_is_asked_for() -> None:
    assert spans(follow({t: [DrawnFace(x=100, y=90)] for t in (0, 2)}, max_gap_frames=0)) == [(0, 1), (2, 3)]


def test_a_face_that_jumps_to_another_seat_is_another_track() -> None:
    frames = {t: [DrawnFace(x=60 if t < 5 else 250, y=90)] for t in range(10)}
    assert spans(follow(frames)) == [(0, 5), (5, 10)]


def test_a_face_seen_once_is_a_track_of_one_frame() -> None:
    assert spans(follow({3: [DrawnFace(x=100, y=90)]})) == [(3, 4)]


def test_no_faces_give_no_tracks() -> None:
    assert follow({0: [], 1: []}) == []


def test_the_height_is_that_of_the_points() -> None:
    points = face_points(DrawnFace(x=100, y=90, eye_px=30))
    found = follow({0: [DrawnFace(x=100, y=90, eye_px=30)]})
    assert found[0].height_px == pytest.approx(float(points[:, 1].max() - points[:, 1].min()), abs=1e-3)
