from __future__ import annotations

import numpy as np
import pytest

from model.choice import choose, spread_by_opening
from model.landmarks import opening
from shards.errors import RequestError
from shards.schema import ClipSample, Landmarks


def hidden(landmarks: Landmarks, frames: slice) -> Landmarks:
    points = landmarks.points.copy()
    points[frames] = np.nan
    return Landmarks(points=points, confidence=landmarks.confidence, topology_name="mediapipe131", space="crop")


def test_choices_go_from_closed_to_open() -> None:
    openings = np.random.default_rng(0).uniform(0, 1, 50)
    chosen = openings[spread_by_opening(openings, 5)]
    assert (np.diff(chosen) > 0.1).all()


def test_training_and_dubbing_choose_about_the_same_mean_mouth() -> None:
    openings = np.random.default_rng(0).gamma(1.0, 1.0, 200)
    drawn = [openings[spread_by_opening(openings, 5, np.random.default_rng(i))].mean() for i in range(50)]
    assert abs(np.mean(drawn) - openings[spread_by_opening(openings, 5)].mean()) < 0.2


def test_more_references_than_frames_repeat_frames() -> None:
    assert spread_by_opening(np.array([0.5]), 3) == [0, 0, 0]


def test_references_are_seen_frames_with_their_own_points(clip: ClipSample) -> None:
    landmarks = hidden(clip.landmarks, slice(0, 10))
    references = choose(clip.frames, landmarks, num_pictures=2, num_faces=4)
    assert references.frames.shape == (2, 32, 32, 3)
    assert np.isfinite(references.landmarks).all()
    known = {frame.tobytes() for frame in clip.frames[10:]}
    assert all(frame.tobytes() in known for frame in references.frames)
    assert (np.diff(opening(references.landmarks, landmarks.topology)) >= 0).all()


def test_a_clip_without_a_face_has_no_references(clip: ClipSample) -> None:
    with pytest.raises(RequestError, match="no frame shows the face"):
        choose(clip.frames, hidden(clip.landmarks, slice(None)), num_pictures=1, num_faces=1)
