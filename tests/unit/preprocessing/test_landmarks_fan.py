"""face-alignment without its weights: our batched geometry and network call against the library's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from preprocessing.landmarks import fan
from preprocessing.landmarks.fan import FaceAlignmentNet, Networks, crop_matrix, heatmaps_of, read_heatmaps
from shards.schema import F32, F64, U8

REFERENCE_SCALE = 195.0


def library_crop_of(box: F64) -> tuple[F64, float]:
    """Centre and scale as `FaceAlignment.get_landmarks_from_image` makes them."""
    centre = np.array([box[2] - (box[2] - box[0]) / 2, box[3] - (box[3] - box[1]) / 2])
    centre[1] -= (box[3] - box[1]) * 0.12
    return centre, float(box[2] - box[0] + box[3] - box[1]) / REFERENCE_SCALE


def peaks(seed: int, faces: int = 3) -> F32:
    """Smooth maps with a peak each, some at the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:64]
    centres = rng.uniform(0, 64, (faces, 68, 2, 1, 1))
    maps = np.exp(-((x - centres[:, :, 0]) ** 2 + (y - centres[:, :, 1]) ** 2) / 8)
    return (rng.uniform(0.2, 1, (faces, 68, 1, 1)) * maps).astype(np.float32)


def test_peaks_are_read_as_the_library_reads_them_but_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from face_alignment import utils

    # The same functions before numba compiles them, which takes ten seconds.
    for name in ("transform_np", "_get_preds_fromhm"):
        monkeypatch.setattr(utils, name, getattr(utils, name).py_func)
    boxes = np.array([[100.0, 80, 220, 230], [10, 20, 60, 90], [300, 200, 700, 640]])
    maps = peaks(0)
    points, height = read_heatmaps(maps, np.stack([crop_matrix(b, REFERENCE_SCALE) for b in boxes]))
    for i, box in enumerate(boxes):
        centre, scale = library_crop_of(box)
        cells, source, scores = utils.get_preds_fromhm(maps[i : i + 1].copy(), centre, scale)
        side = 200 * scale
        exact = cells[0] * side / 64 + centre - side / 2 - 0.5
        np.testing.assert_allclose(points[i], exact, atol=1e-2)
        # The library cuts source points down to whole pixels counted from edges.
        assert np.abs(points[i] + 0.5 - source[0]).max() < 1.01
        assert height[i] == pytest.approx(scores.mean(), abs=1e-5)


def test_crops_show_what_the_library_s_crops_show() -> None:
    from face_alignment.utils import crop

    y, x = np.mgrid[0:480, 0:640]
    picture = np.stack([127 + 100 * np.sin(x / 15 + c) * np.cos(y / (17 + c)) for c in range(3)], axis=2).astype(
        np.uint8
    )
    for box in np.array([[250.0, 150, 400, 330], [200, 100, 460, 400]]):
        ours = fan._crop(picture, crop_matrix(box, REFERENCE_SCALE))
        theirs = crop(picture, *library_crop_of(box))
        off = {
            d: np.abs(np.roll(ours, (d, d), axis=(0, 1)).astype(float) - theirs)[9:-9, 9:-9].mean() for d in (-2, 0, 2)
        }
        # The library cuts its crop at whole source pixels, so up to one of them lies between the two.
        assert off[0] < 6
        assert off[0] < 0.6 * min(off[-2], off[2])


def test_a_mirrored_picture_gives_mirrored_maps() -> None:
    import torch
    from face_alignment.models import FAN
    from face_alignment.utils import flip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        heatmaps = heatmaps_of(FAN(1), "cpu")
    crop = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    maps, mirrored = heatmaps(crop), heatmaps(crop[:, :, ::-1])
    assert maps.shape == (1, 68, 64, 64)
    np.testing.assert_allclose(flip(torch.from_numpy(mirrored), is_label=True).numpy(), maps, atol=1e-4)


def fixed(boxes_of: Callable[[U8], list[list[float]]], sizes: list[int] | None = None) -> Networks:
    """Networks that find what `boxes_of` says of a picture; `sizes` notes how many pictures each call had."""

    def detect(frames: U8) -> list[F64]:
        if sizes is not None:
            sizes.append(len(frames))
        return [np.array([[*b, 0.9] for b in boxes_of(f)], dtype=np.float64).reshape(-1, 5) for f in frames]

    def heatmaps(crops: U8) -> F32:
        if sizes is not None:
            sizes.append(len(crops))
        maps = np.zeros((len(crops), 68, 64, 64), dtype=np.float32)
        maps[:, :, 32, 32] = 0.5
        return maps

    return Networks(detect=detect, heatmaps=heatmaps)


def numbered(count: int, width: int = 64, height: int = 48) -> U8:
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    frames[...] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return frames


def ready(networks: Networks, max_faces: int = 1) -> FaceAlignmentNet:
    backend = FaceAlignmentNet(max_faces, load=lambda: networks)
    backend.setup()
    return backend


def test_boxes_are_drawn_straight_between_the_searched_frames() -> None:
    sizes: list[int] = []
    found = ready(fixed(lambda f: [[10 + float(f[0, 0, 0]), 10, 40 + float(f[0, 0, 0]), 40]], sizes)).infer(numbered(7))
    # Frames 0, 4 and the last one are searched; the seven crops go through the network together.
    assert sizes == [3, 7]
    x = [float(faces[0].points[0, 0]) for faces in found]
    np.testing.assert_allclose(np.diff(x), 1.0, atol=1e-4)
    assert found[0][0].confidence == pytest.approx(0.5)


def test_a_face_that_appears_is_not_drawn_back_to_where_nobody_was() -> None:
    found = ready(fixed(lambda f: [[10, 10, 40, 40]] if f[0, 0, 0] >= 4 else [])).infer(numbered(9))
    assert [len(faces) for faces in found] == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_boxes_of_two_people_are_not_mixed() -> None:
    found = ready(fixed(lambda f: [[2, 2, 22, 22], [40, 20, 60, 44]][:: 1 if f[0, 0, 0] else -1]), 2).infer(numbered(5))
    for faces in found:
        assert sorted(round(float(f.points[0, 0])) for f in faces) == [12, 50]


def test_only_the_largest_faces_are_followed() -> None:
    found = ready(fixed(lambda f: [[2, 2, 12, 12], [20, 10, 50, 44]])).infer(numbered(1))
    assert len(found[0]) == 1
    assert found[0][0].points[0, 0] > 20


def test_a_large_picture_is_searched_small_and_answered_large() -> None:
    seen: list[tuple[int, ...]] = []

    def boxes(frame: U8) -> list[list[float]]:
        seen.append(frame.shape)
        return [[100.0, 100, 200, 200]]

    (faces,) = ready(fixed(boxes)).infer(numbered(1, width=1280, height=720))
    assert seen == [(360, 640, 3)]
    assert faces[0].points[0] == pytest.approx([300, 300], abs=30)


def test_crops_of_many_frames_go_through_the_network_together_but_never_too_many() -> None:
    sizes: list[int] = []
    made = fixed(lambda f: [[10.0, 10, 40, 40]], sizes)
    made = Networks(detect=made.detect, heatmaps=made.heatmaps, crops_at_once=5)
    ready(made).infer(numbered(12))
    assert sizes == [4, 5, 5, 2]


def test_a_detector_s_own_scale_sizes_the_crop() -> None:
    box = np.array([100.0, 100, 200, 200])
    assert crop_matrix(box, 165)[0, 0] == pytest.approx(crop_matrix(box, 195)[0, 0] * 165 / 195)


def test_a_batch_gives_what_the_library_s_loop_gives() -> None:
    import torch
    from face_alignment.models import FAN
    from face_alignment.utils import flip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = FAN(1).eval()
    crops = np.random.default_rng(1).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    with torch.no_grad():
        alone = []
        for crop in crops:
            x = torch.from_numpy(crop.transpose(2, 0, 1)[None].astype(np.float32) / 255)
            alone.append((net(x)[-1] + flip(net(flip(x))[-1], is_label=True)) / 2)
    np.testing.assert_allclose(heatmaps_of(net, "cpu")(crops), torch.cat(alone).numpy(), atol=1e-4)
