from __future__ import annotations

import numpy as np
import pytest

from model.choice import choose, spread_by_opening
from model.landmarks import opening
from shards.errors import RequestError
from shards.schema import ClipSample, Landmarks
from tests.support.clips import make_clip


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


def test_where_the_target_is_known_faces_turned_as_it_is_are_preferred_mouth_for_mouth() -> None:
    """Forty faces: any opening exists looking left and looking right."""
    clip = make_clip(3, frames=40, size=32)
    points = np.repeat(clip.landmarks.points[:1], 40, axis=0)
    topology, right = clip.landmarks.topology, np.arange(40) % 2 == 1
    points[:, topology.inner_lip_mid[1]] = points[:, topology.inner_lip_mid[0]]
    points[:, topology.inner_lip_mid[1], 1] += np.arange(40) // 2
    points[right[:, None] & np.isin(np.arange(131), topology.pose), 0] += 3.0
    faces = Landmarks(points=points, confidence=np.ones(40, np.float32), topology_name=topology.name, space="crop")
    for looks in (right, ~right):
        target = Landmarks(
            points=points[looks], confidence=np.ones(20, np.float32), topology_name=topology.name, space="crop"
        )
        found = choose(clip.frames, faces, num_pictures=2, num_faces=5, target=target)
        assert (found.landmarks[:, topology.pose[0], 0] == points[looks][0, topology.pose[0], 0]).all()
        assert (np.diff(opening(found.landmarks, topology)) > 1).all()


def test_a_target_that_is_never_seen_prefers_nobody(clip: ClipSample) -> None:
    unseen = hidden(clip.landmarks, slice(None))
    assert choose(clip.frames, clip.landmarks, num_pictures=2, num_faces=3, target=unseen).frames.shape[0] == 2


def test_a_clip_without_a_face_has_no_references(clip: ClipSample) -> None:
    with pytest.raises(RequestError, match="no frame shows the face"):
        choose(clip.frames, hidden(clip.landmarks, slice(None)), num_pictures=1, num_faces=1)
