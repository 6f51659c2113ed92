"""Faces found again in crops: as they are in the whole picture, moving as they move, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from model.metrics import lip_distance, opening_correlation, openings
from preprocessing.landmarks.crops import CropFaces
from shards.errors import RequestError
from shards.schema import ClipSample
from tests.support.clips import make_clip
from tests.support.talking import talking_clip


@pytest.fixture(scope="module")
def faces() -> Iterator[CropFaces]:
    made = CropFaces()
    made.setup()
    yield made
    made.close()


@pytest.fixture(scope="module")
def clip() -> ClipSample:
    return talking_clip(128)


def test_they_are_found_where_they_are_in_the_whole_picture(faces: CropFaces, clip: ClipSample) -> None:
    found = faces.found_in(clip.frames, clip)
    assert found.seen().all()
    assert lip_distance(found, clip.landmarks) < 0.03
    assert opening_correlation(found, clip.landmarks) > 0.9


def test_the_mouth_is_that_of_the_frames_and_the_pose_that_of_the_clip(faces: CropFaces, clip: ClipSample) -> None:
    widest = int(np.argmax(openings(clip.landmarks)))
    frozen = np.repeat(clip.frames[widest : widest + 1], len(clip.frames), axis=0)
    found = faces.found_in(frozen, clip)
    assert np.ptp(openings(found)) < 0.02
    pose = list(clip.landmarks.topology.pose)
    np.testing.assert_array_equal(found.points[:, pose], clip.landmarks.points[:, pose])


def test_a_frame_without_the_clips_face_has_none(faces: CropFaces, clip: ClipSample) -> None:
    points, confidence = clip.landmarks.points.copy(), clip.landmarks.confidence.copy()
    points[3], confidence[3] = np.nan, 0
    hidden = dataclasses.replace(clip, landmarks=dataclasses.replace(clip.landmarks, points=points))
    found = faces.found_in(clip.frames, hidden)
    assert list(np.flatnonzero(~found.seen())) == [3]
    assert found.confidence[3] == 0


def test_it_wants_to_be_set_up_and_knows_one_layout(faces: CropFaces, clip: ClipSample) -> None:
    with pytest.raises(RuntimeError, match="before setup"):
        CropFaces().found_in(clip.frames, clip)
    other = make_clip(1, topology="ibug68")
    with pytest.raises(RequestError, match="mediapipe131 only"):
        faces.found_in(other.frames, other)
