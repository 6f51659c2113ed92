"""A clip as people look at it: points where they are, the mask's outline, two curves on one clock."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from flows.explain.drawing import (
    SHEET_FRAMES,
    SHEET_PX,
    clip_picture,
    contact_strip,
    curves,
    drawn,
    frame_end_s,
    picks,
)
from shards.schema import U8, ClipSample
from tests.support.clips import make_clip


def enlarged(clip: ClipSample, index: int) -> U8:
    return np.asarray(cv2.resize(clip.frames[index], (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_a_strip_shows_few_frames_spread_over_the_clip() -> None:
    assert contact_strip(make_clip(1, frames=40)).shape == (SHEET_PX, SHEET_FRAMES * SHEET_PX, 3)
    assert contact_strip(make_clip(1, frames=1)).shape == (SHEET_PX, SHEET_PX, 3)
    assert picks(make_clip(1, frames=40))[::7] == [0, 39]


def test_points_are_drawn_where_they_are_and_unseen_ones_are_not() -> None:
    clip = make_clip(1, frames=2)
    clip.landmarks.points[1] = np.nan
    x, y = np.round((clip.landmarks.points[0, clip.landmarks.topology.lips[0]] + 0.5) * SHEET_PX / 16).astype(int)
    assert (drawn(clip, 0)[y, x] == (250, 80, 120)).all()
    assert not (drawn(clip, 1) == (250, 80, 120)).all(axis=2).any()


def test_the_outline_runs_along_the_edge_of_what_is_generated_and_nowhere_else() -> None:
    clip = make_clip(1, frames=1)
    clip.landmarks.points[:] = np.nan
    changed = (drawn(clip, 0) != enlarged(clip, 0)).any(axis=2)
    mask = clip.transform.window.mask(SHEET_PX)
    near_edge = cv2.dilate(mask, np.ones((5, 5))) - cv2.erode(mask, np.ones((5, 5))) > 0
    assert changed.sum() > SHEET_PX
    assert not (changed & ~near_edge).any()


def test_the_curve_of_the_mouth_is_in_the_picture_and_follows_the_mouth() -> None:
    still, moving = make_clip(1, frames=40), make_clip(1, frames=40)
    upper, lower = moving.landmarks.topology.inner_lip_mid
    still.landmarks.points[:, upper] = still.landmarks.points[:, lower] - (0, 2)
    moving.landmarks.points[:, upper] = moving.landmarks.points[:, lower] - (0, 2)
    moving.landmarks.points[20:, upper] -= (0, 4)
    flat, stepped = (red_rows(curves(clip, 400, 120)[0]) for clip in (still, moving))
    assert flat <= 4
    assert stepped > 20


def red_rows(rgb: U8) -> int:
    """Rows of the picture in which the mouth's colour is seen."""
    red = (rgb[:, :, 0] > 190) & (rgb[:, :, 1] < 110)
    inside = red[:, 60:340]
    return int(inside.any(axis=1).sum())


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_a_picture_is_made_of_clips_of_any_length(frames: int) -> None:
    picture = cv2.imdecode(np.frombuffer(clip_picture(make_clip(3, frames=frames)), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] >= 4 * SHEET_PX


def test_the_same_clip_gives_the_same_picture() -> None:
    assert clip_picture(make_clip(3)) == clip_picture(make_clip(3))


def test_a_clip_without_scores_and_with_a_lost_face_is_drawn() -> None:
    clip = dataclasses.replace(make_clip(3), scores={})
    clip.landmarks.points[2:4] = np.nan
    assert clip_picture(clip).startswith(b"\x89PNG")


def test_a_clip_ends_when_its_last_frame_does() -> None:
    assert frame_end_s(make_clip(1, frames=25)) == pytest.approx(1.0)
