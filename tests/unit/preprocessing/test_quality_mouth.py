"""The mouth's scores: how open, how much of it is seen, whether it speaks."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from preprocessing.quality.mouth import inside_picture, lip_edges, mouth_opening, nearer_half, speaking_share
from shards.schema import F64, U8, Landmarks
from shards.topology import TOPOLOGIES
from tests.support.lips import SIZE, articulated, babble, landmarks, silence, transform


def at(frames: int) -> F64:
    return np.arange(frames) / 25


def turned(degrees: float, name: str) -> Landmarks:
    """A mouth on a cylinder, turned; the rest of the face is as it was."""
    marks = landmarks(np.full(10, 0.1), name)
    shape = marks.topology
    left, right = shape.mouth_corners
    half = (marks.points[0, right, 0] - marks.points[0, left, 0]) / 2
    middle = marks.points[0, shape.inner_lip_mid[0], 0]
    angle = np.radians(degrees)
    for corner, side in ((left, -1), (right, 1)):
        marks.points[:, corner, 0] = middle + 1.2 * half * (np.sin(angle + side * 0.9) - np.sin(angle))
    return marks


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_the_opening_is_measured_in_eye_units(name: str) -> None:
    np.testing.assert_allclose(mouth_opening(landmarks(np.array([0.0, 0.1, 0.35]), name)), [0, 0.1, 0.35], atol=2e-3)


def test_frames_without_a_face_are_bridged() -> None:
    marks = landmarks(np.array([0.1, 0.0, 0.3]))
    marks.points[1] = np.nan
    np.testing.assert_allclose(mouth_opening(marks), [0.1, 0.2, 0.3], atol=2e-3)
    marks.points[:] = np.nan
    assert (mouth_opening(marks) == 0).all()


def portrait(marks: Landmarks, size: int, *, lips: bool) -> U8:
    """(T, size, size, 3) of grainy skin, with or without lips where the landmarks have them."""
    grain = np.random.default_rng(3).normal(0, 4, (size, size))
    skin = 150 + cv2.GaussianBlur(grain, (0, 0), size / 64) * size / 64
    frames = []
    for points in marks.points:
        frame = skin.copy()
        for ring, grey in ((marks.topology.lips_outer, 105.0), (marks.topology.lips_inner, 40.0)) if lips else ():
            cv2.fillPoly(frame, [np.round(points[list(ring)]).astype(np.int32)], grey)
        frames.append(np.repeat(frame[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8))
    return np.stack(frames)


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
@pytest.mark.parametrize("times", [1, 3])
def test_lips_stand_out_from_the_skin_at_any_size_and_what_covers_them_does_not(name: str, times: int) -> None:
    marks = landmarks(np.full(3, 0.1), name)
    larger = dataclasses.replace(marks, points=marks.points * times)
    shown, hidden = (
        lip_edges(portrait(larger, times * SIZE, lips=lips), larger.points, larger.topology) for lips in (True, False)
    )
    assert shown > 2
    assert hidden < 1.3


def test_frames_without_lips_leave_their_edges_unknown() -> None:
    marks = landmarks(np.full(2, 0.1))
    frames = portrait(marks, SIZE, lips=True)
    marks.points[0] = np.nan
    assert lip_edges(frames, marks.points, marks.topology) > 2
    marks.points[:] = np.nan
    assert np.isnan(lip_edges(frames, marks.points, marks.topology))


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_the_far_half_of_a_turned_mouth_vanishes(name: str) -> None:
    seen = [nearer_half(turned(degrees, name)) for degrees in (0, 20, 40, 80)]
    assert seen[0] > 0.9
    assert seen[0] > seen[1] > seen[2] > 0.05
    assert seen[3] == 0
    assert nearer_half(turned(-40, name)) == pytest.approx(seen[2], abs=0.1)


def test_a_mouth_cut_off_by_the_picture_s_edge_is_told_by_its_share() -> None:
    marks, matrix = landmarks(np.full(10, 0.1)), transform(10)
    points = matrix.to_source(marks.points[:, list(marks.topology.content)])[0]
    assert inside_picture(marks, matrix, 2000, 2000) == 1
    assert inside_picture(marks, matrix, 2000, round(points[:, 1].min()) - 1) == 0
    half = inside_picture(marks, matrix, round(float(np.median(points[:, 0]))), 2000)
    assert 0.3 < half < 0.7


def test_a_mouth_that_moves_with_the_voice_speaks_and_a_still_one_does_not() -> None:
    speech = babble(articulated(100))
    assert (speaking_share(articulated(100), at(100), speech) or 0) > 0.9
    trembling = 0.1 + np.random.default_rng(0).normal(0, 0.004, 100)
    assert speaking_share(trembling, at(100), speech) == 0


def test_only_what_is_said_counts() -> None:
    opening = articulated(100)
    mouth = np.where(np.arange(100) < 50, opening, 0.1)
    said = np.where(np.arange(100) < 45, opening, 0.0)
    assert (speaking_share(mouth, at(100), babble(said)) or 0) > 0.9


def test_without_voice_nobody_can_be_told_to_speak() -> None:
    assert speaking_share(articulated(50), at(50), silence(2)) is None
