"""The account of what no clip can come from."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from preprocessing.config import FaceConfig
from preprocessing.faces.base import FaceObservation, Shot
from preprocessing.faces.stretches import span_of, unused_stretches
from preprocessing.faces.track import FaceTracker, FollowedFace
from shards.schema import FrameTimes
from tests.support.fakes import DrawnFace, draw, face_points

TIMES = FrameTimes(pts=np.arange(30, dtype=np.int64) * 40, base=Fraction(1, 1000))


def followed(shot: Shot, start: int, stop: int) -> FollowedFace:
    face = DrawnFace(x=100, y=90)
    tracker = FaceTracker(FaceConfig(), "mediapipe131")
    for index in range(start, stop):
        tracker.push(index, draw([face]), [FaceObservation(points=face_points(face), confidence=1.0)])
    return tracker.finish(shot)[0]


def test_every_frame_is_in_a_track_or_in_one_row() -> None:
    first, second = Shot(index=0, start=0, stop=10), Shot(index=1, start=10, stop=30)
    kept = [followed(first, 2, 5), followed(first, 4, 7), followed(second, 10, 30)]
    rows = unused_stretches((first, second), kept, [], TIMES, 40)
    spans = [(r.span.start.pts // 40, r.span.end.pts // 40) for r in rows if r.span]
    assert spans == [(0, 2), (7, 10)]
    assert {r.code for r in rows} == {"no_face"}


def test_a_stretch_never_joins_two_shots() -> None:
    shots = (Shot(index=0, start=0, stop=10), Shot(index=1, start=10, stop=30))
    assert len(unused_stretches(shots, [], [], TIMES, 40)) == 2


def test_a_face_that_is_too_small_is_told_from_no_face() -> None:
    shot = Shot(index=0, start=0, stop=30)
    (row,) = unused_stretches((shot,), [], [followed(shot, 3, 9)], TIMES, 80)
    assert row.code == "face_too_small"
    assert row.threshold == 80
    assert row.value is not None
    assert 30 < row.value < 80


def test_the_last_frame_lasts_as_long_as_the_others() -> None:
    assert span_of(TIMES, 28, 30).end.seconds == Fraction(30, 25)
    assert span_of(TIMES, 0, 10).end.seconds == Fraction(10, 25)
