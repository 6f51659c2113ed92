"""The light is matched where both pictures show the same skin, and only as far as that proves something."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.compose.light import matched
from shards.schema import U8, Landmarks
from tests.support.pasting import WINDOW, face

SIZE, FRAMES = 64, 12
INSIDE = WINDOW.mask(SIZE) > 0.999
OUTSIDE = WINDOW.mask(SIZE) == 0


def clip() -> U8:
    """A soft face under a light that changes slowly."""
    rng = np.random.default_rng(3)
    still = 120 + cv2.GaussianBlur(rng.normal(0, 250, (SIZE, SIZE, 3)), (0, 0), 4)
    frames = np.stack([still + 8 * np.sin(t / 3) for t in range(FRAMES)])
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def points(jaw_down: float = 0.0, frames: int = FRAMES) -> Landmarks:
    path = np.repeat(face(SIZE, jaw_down=jaw_down)[None], frames, axis=0)
    confidence = np.ones(frames, dtype=np.float32)
    return Landmarks(points=path, confidence=confidence, topology_name="mediapipe131", space="crop")


def shifted(source: U8, change: np.ndarray) -> U8:
    """As a model leaves it: changed inside the window's mask, the very source outside."""
    mask = WINDOW.mask(SIZE)[..., None]
    return np.clip(np.rint(source * (1 - mask) + (source + change) * mask), 0, 255).astype(np.uint8)


def left(made: U8, source: U8) -> np.ndarray:
    """(T, 3) mean difference on the cheeks, grey levels."""
    cheeks = np.s_[:, 25:40, [*range(11, 18), *range(46, 53)]]
    return (made[cheeks].astype(float) - source[cheeks]).mean(axis=(1, 2))


def test_a_tint_is_taken_out() -> None:
    source = clip()
    out = matched(shifted(source, np.array([12.0, -9.0, 4.0])), source, points(), points(0.1), WINDOW)
    assert np.abs(left(out, source)).max() < 1.0
    assert np.abs(out.astype(int) - source)[:, INSIDE].mean() < 1.0


def test_a_slope_of_light_is_taken_out() -> None:
    source = clip()
    slope = np.linspace(-12, 12, SIZE)[None, :, None]
    out = matched(shifted(source, slope), source, points(), points(), WINDOW)
    error = np.abs(out.astype(int) - source)[:, INSIDE].mean()
    assert error < 0.35 * np.abs(np.broadcast_to(slope, (SIZE, SIZE, 1))[INSIDE]).mean()


def test_a_light_that_changes_within_the_clip_is_followed() -> None:
    source = clip()
    flicker = np.repeat([0.0, 10.0], FRAMES // 2)[:, None, None, None]
    out = matched(shifted(source, flicker), source, points(), points(), WINDOW)
    assert np.abs(left(out, source)[[0, 1, -2, -1]]).max() < 1.5
    assert np.abs(left(out, source)).max() < 5


def test_a_clip_that_matches_comes_back_as_it_is() -> None:
    source = clip()
    assert (matched(source, source, points(), points(0.2), WINDOW) == source).all()


def test_grain_alone_moves_nothing() -> None:
    source = clip()
    grain = np.random.default_rng(9).normal(0, 8, source.shape)
    out = matched(shifted(source, grain), source, points(), points(), WINDOW)
    assert np.abs(out.astype(int) - shifted(source, grain)).max() <= 2


def test_what_the_mouths_do_has_no_say() -> None:
    source = clip()
    talking = source.copy()
    for landmarks in (face(SIZE), face(SIZE, jaw_down=0.1)):
        lips = cv2.convexHull(np.rint(landmarks[91:]).astype(np.int32))
        for frame in talking:
            cv2.fillConvexPoly(frame, lips, (250, 250, 250))
    out = matched(talking, source, points(), points(0.1), WINDOW)
    assert np.abs(left(out, source)).max() < 1.0


def test_outside_the_windows_mask_every_byte_stays() -> None:
    source = clip()
    given = shifted(source, np.array([30.0, 0.0, 0.0]))
    out = matched(given, source, points(), points(), WINDOW)
    assert (out[:, OUTSIDE] == given[:, OUTSIDE]).all()
    assert (out[:, INSIDE] != given[:, INSIDE]).any()


def test_frames_that_were_not_rendered_are_left_alone() -> None:
    source, made = clip(), points()
    made.points[4:7] = np.nan
    given = shifted(source, np.array([15.0, 0.0, 0.0]))
    given[4:7] = source[4:7]
    out = matched(given, source, points(), made, WINDOW)
    assert (out[4:7] == source[4:7]).all()
    assert np.abs(left(out, source)).max() < 1.5
    made.points[:] = np.nan
    assert matched(given, source, points(), made, WINDOW) is given


def test_a_hand_on_one_cheek_does_not_set_the_light_of_the_other() -> None:
    source = clip()
    given = source.copy()
    given[:, 22:44, 8:17] = 250
    out = matched(given, source, points(), points(), WINDOW)
    other = np.s_[:, 25:40, 46:53]
    assert np.abs(out[other].astype(int) - source[other]).mean() < 6


@pytest.mark.parametrize("seen", [None, "lost"])
def test_a_source_without_points_is_matched_by_the_mean_face(seen: str | None) -> None:
    source = clip()
    lost = points()
    lost.points[:] = np.nan
    out = matched(shifted(source, np.array(10.0)), source, lost if seen else None, points(), WINDOW)
    assert np.abs(left(out, source)).max() < 1.0


def test_a_face_without_any_skin_to_compare_is_left_alone() -> None:
    source = clip()
    given = shifted(source, np.array(20.0))
    squeezed = points()
    squeezed.points[...] = squeezed.points * 0.02 + SIZE / 2
    assert (matched(given, source, squeezed, squeezed, WINDOW) == given).all()
