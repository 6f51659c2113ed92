"""Names: the same look gets the same name, faces seen at once never do."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.faces.identify import Appearance, Look, LookBuilder, identify
from tests.support.fakes import DrawnFace, draw, face_points

ANNA, BEN = (220, 170, 140), (90, 140, 190)


def look(skin: tuple[int, int, int], *, x: float = 120, eye_px: float = 30, background: int = 60) -> Look:
    face = DrawnFace(x=x, y=90, eye_px=eye_px, skin=skin)
    builder = LookBuilder("mediapipe131")
    builder.add(draw([face], background=background), face_points(face))
    return builder.look()


def seen(start: int, stop: int, look: Look, size: float = 1.0) -> Appearance:
    return Appearance(start=start, stop=stop, size=size, look=look)


def test_a_person_is_found_again_in_a_later_shot_elsewhere_and_larger() -> None:
    names = identify([seen(0, 10, look(ANNA)), seen(10, 20, look(BEN)), seen(20, 30, look(ANNA, x=180, eye_px=44))])
    assert names[0] == names[2] != names[1]


def test_person_0_is_who_is_seen_most() -> None:
    names = identify([seen(0, 10, look(ANNA), size=5), seen(10, 20, look(BEN), size=9)])
    assert names == ["person-1", "person-0"]


def test_faces_seen_at_once_never_share_a_name_though_they_are_twins() -> None:
    names = identify([seen(0, 10, look(ANNA)), seen(5, 15, look(ANNA, x=200))])
    assert len(set(names)) == 2


def test_two_short_tracks_together_may_be_seen_most() -> None:
    names = identify([seen(0, 5, look(ANNA), size=4), seen(5, 10, look(BEN), size=5), seen(10, 15, look(ANNA), size=4)])
    assert names == ["person-0", "person-1", "person-0"]


def test_a_look_does_not_change_with_the_mouth() -> None:
    looks = []
    for opening in (0.0, 0.5):
        face = DrawnFace(x=120, y=90, eye_px=30, opening=opening)
        builder = LookBuilder("mediapipe131")
        builder.add(draw([face], seed=1), face_points(face))
        looks.append(builder.look())
    assert looks[0].likeness(looks[1]) == pytest.approx(1, abs=1e-3)


def test_a_flat_picture_has_a_look_and_is_like_nobody() -> None:
    builder = LookBuilder("mediapipe131")
    builder.add(np.full((200, 200, 3), 128, dtype=np.uint8), face_points(DrawnFace(x=100, y=80)))
    assert builder.look().likeness(look(ANNA)) == 0


def alike(likeness: float) -> tuple[Look, Look]:
    """Two looks that correlate so."""
    edges = np.zeros((2, 512), dtype=np.float32)
    edges[:, :2] = (1, 0), (likeness, np.sqrt(1 - likeness**2))
    return Look(edges=edges[0]), Look(edges=edges[1])


@pytest.mark.parametrize(("likeness", "people"), [(0.6, 2), (0.78, 2), (0.86, 1), (0.95, 1)])
def test_a_likeness_that_strangers_have_too_joins_nobody(likeness: float, people: int) -> None:
    one, other = alike(likeness)
    assert len(set(identify([seen(0, 10, one), seen(10, 20, other)]))) == people


def test_a_person_is_the_mean_of_their_looks_and_not_the_oddest_of_them() -> None:
    usual, odd = alike(0.84)
    # As far from the odd look as that is from the usual one, on the far side.
    stranger = Look(edges=2 * 0.84 * odd.edges - usual.edges)
    names = identify([seen(0, 10, usual, size=9), seen(10, 20, odd, size=5), seen(20, 30, stranger)])
    assert names[0] == names[1] != names[2]


def test_nobody_gets_no_name() -> None:
    assert identify([]) == []
