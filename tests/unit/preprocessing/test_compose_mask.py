"""The mask follows both outlines, stays inside the window's and off the nose, and moves as smoothly as its points."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from preprocessing.compose.mask import PasteMask, mouth_mask, steady
from shards.crop import WINDOWS, CropWindow
from shards.topology import TOPOLOGIES, topology
from tests.support.pasting import WINDOW, face

SIZE = 128
MEDIAPIPE = topology("mediapipe131")


def usual(jaw_down: float = 0.0) -> PasteMask:
    return mouth_mask(WINDOW, SIZE, face(SIZE), face(SIZE, jaw_down=jaw_down), MEDIAPIPE)


def at(field: np.ndarray, x: float, y: float, window: CropWindow = WINDOW) -> float:
    """The map's value at a place on the mean face, eye units."""
    matrix = window.matrix(field.shape[0])
    column, row = matrix[:, :2] @ (x, y) + matrix[:, 2]
    return float(field[round(row), round(column)])


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=lambda w: w.name)
@pytest.mark.parametrize("size_px", [64, 128, 255, 512])
class TestEveryFace:
    def mask(self, name: str, window: CropWindow, size_px: int) -> PasteMask:
        points = face(size_px, name=name, window=window)
        return mouth_mask(window, size_px, points, points, topology(name))

    def test_nothing_reaches_the_border_of_the_windows_mask(self, name: str, window: CropWindow, size_px: int) -> None:
        generated = (window.mask(size_px) > 0.5).astype(np.uint8)
        generated[[0, -1]] = generated[:, [0, -1]] = 0
        mask = self.mask(name, window, size_px)
        border = cv2.erode(generated, np.ones((5, 5))) == 0
        assert not any(part[border].any() for part in (mask.wide, mask.narrow, mask.skin, mask.lips))

    def test_the_lips_are_wholly_generated_and_the_nose_is_not_touched(
        self, name: str, window: CropWindow, size_px: int
    ) -> None:
        mask = self.mask(name, window, size_px)
        assert at(mask.narrow, 0.0, 1.1, window) == at(mask.wide, 0.0, 1.15, window) == 1
        assert at(mask.lips, 0.0, 1.1, window) == at(mask.lips, 0.35, 1.09, window) == 1
        assert at(mask.narrow, 0.0, 0.96, window) > 0.9
        assert at(mask.wide, 0.0, 0.72, window) == at(mask.wide, 0.15, 0.68, window) == 0

    def test_skin_is_on_the_cheeks_and_nowhere_else(self, name: str, window: CropWindow, size_px: int) -> None:
        skin = self.mask(name, window, size_px).skin
        assert min(at(skin, 0.65, 1.0, window), at(skin, -0.65, 1.0, window)) > 0.9
        for x, y in ((0.0, 1.1), (0.0, 0.7), (0.0, 1.9), (0.85, 1.5), (0.3, 1.15)):
            assert at(skin, x, y, window) == 0


def test_the_soft_edges_are_equally_wide_at_every_size() -> None:
    small, large = (mouth_mask(WINDOW, s, face(s), face(s), MEDIAPIPE, reach_px=s / 40) for s in (128, 512))
    for a, b in ((small.wide, large.wide), (small.narrow, large.narrow), (small.lips, large.lips)):
        halved = cv2.resize(b, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.abs(halved - a).max() < 0.2
        assert np.abs(halved - a).mean() < 0.01


def test_detail_comes_in_faster_than_light() -> None:
    mask = usual()
    assert (mask.narrow >= mask.wide).all()
    assert ((mask.wide > 0) == (mask.narrow > 0)).all()
    assert (mask.narrow == 1).sum() > 1.3 * (mask.wide == 1).sum()


@pytest.mark.parametrize("swapped", [False, True])
def test_a_jaw_that_either_picture_shows_lower_is_inside(swapped: bool) -> None:
    points = [face(SIZE), face(SIZE, jaw_down=0.25)]
    mask = mouth_mask(WINDOW, SIZE, *(points[::-1] if swapped else points), MEDIAPIPE)
    assert at(mask.wide, 0.0, 2.0) > 0.3
    assert at(usual().wide, 0.0, 2.0) == 0


def test_the_mask_ends_at_the_side_of_the_face_not_behind_it() -> None:
    narrow = usual().narrow
    assert at(narrow, 0.0, 1.79) > 0.9
    assert at(narrow, 0.86, 1.35) == at(narrow, -0.86, 1.35) == 0


def test_where_points_are_not_known_the_windows_whole_mask_is_replaced() -> None:
    unknown = mouth_mask(WINDOW, SIZE, None, None, MEDIAPIPE)
    lost = mouth_mask(WINDOW, SIZE, face(SIZE), np.full((131, 2), np.nan, np.float32), MEDIAPIPE)
    assert (unknown.wide == lost.wide).all()
    assert at(unknown.wide, 0.0, 2.0) > 0.9
    assert (unknown.wide >= usual().wide).all()
    assert at(unknown.skin, 0.65, 1.0) == 1


def test_single_lost_points_and_points_outside_the_crop_do_no_harm() -> None:
    points = face(SIZE)
    points[[MEDIAPIPE.chin, MEDIAPIPE.jaw[0], MEDIAPIPE.lips[3]]] = np.nan
    points[MEDIAPIPE.jaw[-1]] = (4000.0, -900.0)
    mask = mouth_mask(WINDOW, SIZE, points, face(SIZE), MEDIAPIPE)
    assert np.isfinite(mask.wide).all()
    assert at(mask.narrow, 0.0, 1.1) == 1


def test_a_hair_of_movement_is_a_hair_of_change() -> None:
    before, after = usual(), mouth_mask(WINDOW, SIZE, face(SIZE) + 0.05, face(SIZE) + 0.05, MEDIAPIPE)
    changes = np.abs(after.wide - before.wide)
    assert 0 < changes.max() < 0.02
    assert np.abs(after.narrow - before.narrow).max() < 0.03


def test_an_outline_that_jumps_moves_the_mask_little_by_little() -> None:
    points = np.stack([face(SIZE, jaw_down=0.3 if t == 10 else 0.0) for t in range(21)])
    points[3] = np.nan

    def jumps(path: np.ndarray) -> float:
        masks = [mouth_mask(WINDOW, SIZE, p, p, MEDIAPIPE).wide for p in path[5:]]
        return max(float(np.abs(b - a).max()) for a, b in itertools.pairwise(masks))

    smooth = steady(points)
    assert jumps(smooth) < 0.2 * jumps(points)
    assert np.isnan(smooth[3]).all()
    assert np.isfinite(np.delete(smooth, 3, axis=0)).all()
    # A face that does not move stays where it is, beside a gap and at the clip's ends as well.
    assert np.abs(smooth[[0, 2, 20]] - face(SIZE)).max() < 1e-3
