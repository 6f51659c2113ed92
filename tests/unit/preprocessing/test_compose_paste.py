"""What is pasted is inside the mask, and what is outside is the very same."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.compose.mask import mouth_mask
from preprocessing.compose.paste import Mouth, compose
from preprocessing.media.native import FORMATS
from shards.schema import CropTransform
from shards.topology import topology
from tests.support.pasting import WINDOW, cut, face, flat, in_frame, mouth, placed, scene, shown, stored
from tests.support.streams import video_stream


def wide(item: Mouth, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) the mouth's mask over the frame."""
    mask = mouth_mask(item.window, len(item.crop_rgb), item.seen, item.made, item.topology)
    return in_frame(mask.wide, item.matrix, shape)


def grainy(height: int, width: int, sigma: float) -> np.ndarray:
    grain = np.random.default_rng(2).normal(0, sigma, (height, width, 1)).repeat(3, axis=2)
    return 120 + grain.astype(np.float32)


CASES = [
    (pix_fmt, depth, size)
    for pix_fmt, depth in (("yuv420p", 8), ("yuv422p10le", 10), ("yuv444p", 8), ("yuvj420p", 8), ("yuv420p10le", 10))
    for size in ((160, 120), (161, 121))
]


@pytest.mark.parametrize(("pix_fmt", "depth", "size"), CASES)
@pytest.mark.parametrize(("crop_px", "scale"), [(64, 0.8), (131, 1.6), (48, 0.5)])
def test_every_sample_outside_the_mask_is_the_very_same(
    pix_fmt: str, depth: int, size: tuple[int, int], crop_px: int, scale: float
) -> None:
    video = video_stream(width=size[0], height=size[1], pix_fmt=pix_fmt, bit_depth=depth)
    frame = stored(scene(*size), video)
    matrix = placed(crop_px, scale=scale, angle=0.2, centre=(70.3, 61.6))
    loud = np.random.default_rng(1).integers(0, 255, (crop_px, crop_px, 3)).astype(np.uint8)
    out = compose(frame, [mouth(loud, matrix)], video)
    far = in_frame(WINDOW.mask(crop_px), matrix, size[::-1]) == 0
    columns, rows = FORMATS[pix_fmt].chroma
    for before, after, step in zip(frame.planes, out.planes, ((1, 1), (columns, rows), (columns, rows)), strict=True):
        pad = np.pad(far, ((0, -size[1] % step[1]), (0, -size[0] % step[0])), mode="edge")
        blocks = pad.reshape(pad.shape[0] // step[1], step[1], pad.shape[1] // step[0], step[0]).all(axis=(1, 3))
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert (before[blocks] == after[blocks]).all()
        assert (before[~blocks] != after[~blocks]).mean() > 0.2
    assert (out.index, out.pix_fmt) == (3, pix_fmt)


@pytest.mark.parametrize(("pix_fmt", "depth"), [("yuv420p", 8), ("yuv422p10le", 10), ("yuv444p", 8)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("size", [(200, 150), (201, 151)])
@pytest.mark.parametrize(("crop_px", "scale"), [(128, 1.2), (192, 2.0), (48, 0.4)])
def test_pasting_the_sources_own_crop_changes_nothing(
    pix_fmt: str, depth: int, rotation: int, size: tuple[int, int], crop_px: int, scale: float
) -> None:
    upright = size if rotation % 180 == 0 else size[::-1]
    video = video_stream(width=upright[0], height=upright[1], pix_fmt=pix_fmt, bit_depth=depth, rotation=rotation)
    frame = stored(scene(*size), video)
    # As displayed, which is what crops are cut from.
    displayed = np.ascontiguousarray(np.rot90(shown(frame, video), -rotation // 90))
    matrix = placed(crop_px, scale=scale, angle=-0.15, centre=(upright[0] / 2 + 3.3, upright[1] / 2 - 2.1))
    out = compose(frame, [mouth(cut(displayed, matrix, crop_px), matrix)], video)
    for before, after in zip(frame.planes, out.planes, strict=True):
        change = np.abs(after.astype(int) - before.astype(int)) / (1 << (depth - 8))
        assert change.max() <= 1
        # The crop has whole levels of RGB, the frame has not: a stored step, here and there, and never grain.
        assert (change > 0).mean() < 0.05


def test_grain_is_not_added_to_a_picture_that_is_the_sources_own() -> None:
    video = video_stream(width=200, height=150, pix_fmt="yuv444p")
    frame = stored(grainy(150, 200, 4.0), video)
    matrix = placed(96, scale=0.5, centre=(100, 75))
    smooth = cv2.GaussianBlur(shown(frame, video), (0, 0), 0.87)
    out = compose(frame, [mouth(cut(smooth, matrix, 96), matrix)], video)
    change = np.abs(out.planes[0].astype(int) - frame.planes[0].astype(int))
    assert change.max() <= 1


def test_a_clean_mouth_gets_the_grain_of_the_skin_around_it() -> None:
    video = video_stream(width=400, height=300, pix_fmt="yuv420p")
    matrix = placed(96, scale=0.3, centre=(200, 150))
    crop = np.full((96, 96, 3), 120, np.uint8)
    cv2.ellipse(crop, (48, 44), (9, 3), 0, 0, 360, (60, 60, 60), -1)
    item = mouth(crop, matrix)
    first, other = (compose(stored(grainy(300, 400, 4.0), video, index), [item], video).planes[0] for index in (3, 4))
    source = stored(grainy(300, 400, 4.0), video).planes[0]
    mask = mouth_mask(WINDOW, 96, item.seen, item.made, item.topology)
    lips = in_frame(np.minimum(mask.lips, mask.wide), matrix, (300, 400)) > 0.999
    assert lips.sum() > 1000
    # Two frames that differ in nothing but their number differ by two draws of the grain.
    drawn = (first.astype(float) - other)[lips].std() / np.sqrt(2)
    assert 0.7 < drawn / source.std() < 1.05


def test_what_was_generated_is_what_is_seen_in_the_middle() -> None:
    video = video_stream(width=200, height=150)
    matrix = placed(96, scale=1.0, centre=(100, 75))
    crop = cut(scene(200, 150), matrix, 96)
    crop[:] = (180, 90, 90)
    out = shown(compose(stored(scene(200, 150), video), [mouth(crop, matrix)], video), video)
    lips = mouth_mask(WINDOW, 96, face(96), face(96), topology("mediapipe131")).lips
    full = in_frame(lips, matrix, (150, 200)) > 0.999
    assert full.sum() > 300
    # Where light does not come in wholly yet, a little of the source's is left.
    assert np.abs(out[full] - (180, 90, 90)).mean() < 6
    assert np.abs(out[75, 100] - (180, 90, 90)).max() < 3


def test_a_new_mouth_has_nothing_of_the_old_one_in_it() -> None:
    video = video_stream(width=200, height=150, pix_fmt="yuv444p")
    matrix = placed(96, scale=0.6, centre=(100, 75))
    rgb = flat(200, 150, 140.0)
    middle = (np.array([0.0, 1.1]) @ WINDOW.matrix(96)[:, :2].T + WINDOW.matrix(96)[:, 2] - matrix[:, 2]) / 0.6
    x, y = (round(v) for v in middle.tolist())
    # On one side the mouths differ; on the other the old one shows teeth finer than the crop can hold, which on the
    # whole are as bright as the new one.
    rgb[y - 5 : y + 6, x - 20 : x] = 60
    rgb[y - 4 : y + 5, x + 8 : x + 20 : 2] = 200
    rgb[y - 4 : y + 5, x + 9 : x + 20 : 2] = 80
    closed = np.full((96, 96, 3), 140, np.uint8)
    out = shown(compose(stored(rgb, video), [mouth(closed, matrix)], video), video)
    assert np.abs(out[y - 6 : y + 7, x - 18 : x + 18] - 140).max() < 20


def test_skin_that_both_pictures_show_keeps_its_own_detail() -> None:
    video = video_stream(width=400, height=300, pix_fmt="yuv444p")
    rgb = grainy(300, 400, 8.0)
    frame = stored(rgb, video)
    matrix = placed(128, scale=0.5, centre=(200, 150))
    crop = cut(cv2.GaussianBlur(rgb, (0, 0), 2.0), matrix, 128)
    blank = mouth_mask(WINDOW, 128, face(128), face(128), topology("mediapipe131")).lips > 0
    crop[cv2.erode(blank.astype(np.uint8), np.ones((9, 9))) > 0] = 40
    out = compose(frame, [mouth(crop, matrix)], video)
    skin = mouth_mask(WINDOW, 128, face(128), face(128), topology("mediapipe131")).skin
    here = in_frame(skin, matrix, (300, 400)) > 0.99
    kept = np.corrcoef(out.planes[0][here].astype(float), frame.planes[0][here].astype(float))[0, 1]
    assert kept > 0.85


def test_the_edge_is_soft() -> None:
    video = video_stream(width=400, height=300, pix_fmt="yuv444p")
    matrix = placed(96, scale=0.3, centre=(200, 150))
    # Everything 40 levels brighter: as bad as a seam can be.
    crop = np.full((96, 96, 3), 140, np.uint8)
    out = shown(compose(stored(flat(400, 300, 100.0), video), [mouth(crop, matrix)], video), video)[..., 1]
    assert out.max() > 135
    # 40 levels over the wide feather, a quarter of an eye unit, here 32 px.
    assert np.abs(np.diff(out, axis=0)).max() < 3.5
    assert np.abs(np.diff(out, axis=1)).max() < 3.5


def test_ten_bits_stay_ten_bits() -> None:
    video = video_stream(width=160, height=120, pix_fmt="yuv420p10le", bit_depth=10)
    ramp = np.repeat(np.linspace(100, 110, 160)[None, :, None], 120, axis=0).repeat(3, axis=2)
    matrix = placed(64, scale=0.8, centre=(80, 60))
    out = compose(stored(ramp, video), [mouth(cut(ramp + 20, matrix, 64), matrix)], video)
    assert out.planes[0].dtype == np.uint16
    touched = out.planes[0] != stored(ramp, video).planes[0]
    # An 8-bit path would leave luma in steps of four.
    assert np.bincount(out.planes[0][touched] % 4, minlength=4).min() > 0.15 * touched.sum()


def test_no_opacity_is_no_change_and_half_is_half() -> None:
    video = video_stream(width=160, height=120, pix_fmt="yuv444p")
    frame = stored(flat(160, 120, 100.0), video)
    item = mouth(np.full((64, 64, 3), 140, np.uint8), placed(64, scale=0.8, centre=(80, 60)))
    faded = [mouth(item.crop_rgb, item.matrix, opacity=o) for o in (0.0, 0.5)]
    assert compose(frame, [faded[0]], video) is frame
    assert compose(frame, [], video) is frame
    whole, half = (shown(compose(frame, [m], video), video) - shown(frame, video) for m in (item, faded[1]))
    assert whole.max() > 35
    assert np.abs(half - whole / 2).max() <= 1.5


def test_several_mouths_are_each_put_in_their_place() -> None:
    video = video_stream(width=320, height=120)
    frame = stored(scene(320, 120), video)
    items = [
        mouth(np.full((64, 64, 3), level, np.uint8), placed(64, scale=0.8, centre=(x, 60)))
        for x, level in ((80, 40), (240, 220))
    ]
    both = compose(frame, items, video)
    for item, half in zip(items, (np.s_[:, :160], np.s_[:, 160:]), strict=True):
        alone = compose(frame, [item], video)
        assert (both.planes[0][half] == alone.planes[0][half]).all()
        assert (alone.planes[0][half] != frame.planes[0][half]).any()


@pytest.mark.parametrize("centre", [(0.0, 0.0), (159.0, 60.0), (-500.0, -500.0), (80.0, 130.0)])
def test_a_face_at_or_beyond_the_frames_edge_is_pasted_as_far_as_it_goes(centre: tuple[float, float]) -> None:
    video = video_stream(width=160, height=120)
    frame = stored(scene(160, 120), video)
    item = mouth(np.full((64, 64, 3), 128, np.uint8), placed(64, scale=0.8, angle=0.4, centre=centre))
    out = compose(frame, [item], video)
    far = cv2.dilate(wide(item, (120, 160)), np.ones((9, 9))) == 0
    assert (out.planes[0][far] == frame.planes[0][far]).all()


@pytest.mark.parametrize("lost", ["seen", "made"])
def test_a_face_whose_points_are_not_known_is_pasted_all_the_same(lost: str) -> None:
    video = video_stream(width=160, height=120)
    frame = stored(scene(160, 120), video)
    crop, matrix = np.full((64, 64, 3), 128, np.uint8), placed(64, scale=0.8, centre=(80, 60))
    usual, none, gone = (
        compose(frame, [mouth(crop, matrix, **change)], video)
        for change in ({}, {lost: None}, {lost: np.full((131, 2), np.nan, np.float32)})
    )
    assert (none.planes[0] == gone.planes[0]).all()
    assert (none.planes[0] != frame.planes[0]).sum() > 1.1 * (usual.planes[0] != frame.planes[0]).sum()


def test_a_crop_much_finer_than_the_frame_does_not_alias() -> None:
    video = video_stream(width=160, height=120, pix_fmt="yuv444p")
    frame = stored(flat(160, 120, 128.0), video)
    matrix = placed(512, scale=6.0, centre=(80.0, 60.0))
    y, x = np.mgrid[0:512, 0:512]
    fine = np.where((x // 2 + y // 2) % 2, 120, 200).astype(np.uint8)[..., None].repeat(3, axis=2)
    out = shown(compose(frame, [mouth(fine, matrix)], video), video)
    assert out[60, 80].mean() > 150
    assert out.max() < 168


@pytest.mark.parametrize("scale", [0.4, 1.5])
def test_a_finer_crop_of_the_same_face_lands_in_the_same_place(scale: float) -> None:
    video = video_stream(width=400, height=300, pix_fmt="yuv444p")
    frame = stored(scene(400, 300), video)
    matrix = placed(96, scale=scale, centre=(200.3, 150.4))
    coarse = cut(scene(500, 360)[60:, 100:], matrix, 96)
    fine = cv2.resize(coarse, (384, 384), interpolation=cv2.INTER_CUBIC)
    finer = CropTransform(matrices=matrix[None], size_px=96, window=WINDOW).resized(384).matrices[0]
    first, second = (
        compose(frame, [m], video).planes[0].astype(int) for m in (mouth(coarse, matrix), mouth(fine, finer))
    )
    changed = first != frame.planes[0]
    assert changed.sum() > 700
    assert np.abs(first - second)[changed].mean() < 0.03 * np.abs(first - frame.planes[0])[changed].mean() + 0.3


def test_the_source_frame_is_not_written_on_and_the_same_again_is_the_same() -> None:
    video = video_stream(width=160, height=120)
    frame = stored(grainy(120, 160, 4.0), video)
    before = [p.copy() for p in frame.planes]
    item = mouth(np.zeros((64, 64, 3), np.uint8), placed(64, scale=0.4, centre=(80, 60)))
    first, again = (compose(frame, [item], video) for _ in range(2))
    assert all((a == b).all() for a, b in zip(before, frame.planes, strict=True))
    assert all((a == b).all() for a, b in zip(first.planes, again.planes, strict=True))


@pytest.mark.parametrize(("crop", "opacity"), [((64, 63, 3), 1.0), ((64, 64), 1.0), ((64, 64, 3), 1.5)])
def test_a_crop_that_is_none_is_refused(crop: tuple[int, ...], opacity: float) -> None:
    with pytest.raises(ValueError, match=r"crop|opacity"):
        mouth(np.zeros(crop, np.uint8), placed(64, scale=1, centre=(80, 60)), opacity=opacity)
