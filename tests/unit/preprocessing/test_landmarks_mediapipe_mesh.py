"""Where faces are searched for, and how they are followed; what all backends share is tested in tests/contract."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from preprocessing.faces.base import FaceObservation
from preprocessing.landmarks.face_search import Window, windows_of
from preprocessing.landmarks.mediapipe_mesh import SEARCH_EVERY, MediapipeMesh
from preprocessing.landmarks.mesh_graph import FaceSquare
from preprocessing.landmarks.native_noise import noise_to_log
from shards.schema import F64, U8
from shards.topology import MEDIAPIPE131_MESH_INDICES

log = logging.getLogger(__name__)


MESH = np.random.default_rng(0).uniform(-1, 1, (478, 2))
"""A face of side 2 around 0, upright: its outer eye corners lie level."""
MESH[[33, 263]] = (-0.5, -0.2), (0.5, -0.2)


class FakeNets:
    """Detector and landmark network over heads that are told, as (x, y, side): they see what lies in their window."""

    def __init__(self, *heads: tuple[float, float, float]) -> None:
        self.heads = list(heads)
        self.searched: list[Window] = []
        self.looked: list[FaceSquare] = []

    def faces_in(self, rgb: U8, window: Window) -> list[FaceSquare]:
        self.searched.append(window)
        seen = [
            FaceSquare(x=x + 2, y=y - 2, side=1.4 * side, tilt=0.1)
            for x, y, side in self.heads
            if window.left <= x < window.left + window.width and window.top <= y < window.top + window.height
            # What the real detector's 192 px can tell.
            if side > max(window.width, window.height) / 13
        ]
        return sorted(seen, key=lambda s: -s.side)

    def face_in(self, rgb: U8, square: FaceSquare) -> tuple[F64, float] | None:
        self.looked.append(square)
        for x, y, side in self.heads:
            if abs(square.x - x) < square.side / 3 and abs(square.y - y) < square.side / 3:
                return MESH * side / 2 + (x, y), 0.75
        return None

    def close(self) -> None:
        pass


def with_nets(nets: FakeNets, max_faces: int = 2) -> MediapipeMesh:
    backend = MediapipeMesh(max_faces)
    backend._mesh = backend._search = nets  # type: ignore[assignment]
    return backend


def pictures(count: int, width: int = 1280, height: int = 720) -> U8:
    return np.zeros((count, height, width, 3), dtype=np.uint8)


def centres(faces: list[FaceObservation]) -> list[float]:
    return [round((face.box[0] + face.box[2]) / 2, -1) for face in faces]


def test_every_index_is_in_the_mesh_without_irises() -> None:
    assert max(MEDIAPIPE131_MESH_INDICES) < 468


def test_points_come_in_the_topology_s_order_with_the_network_s_score() -> None:
    ((face,),) = with_nets(FakeNets((600, 300, 200))).infer(pictures(1))
    np.testing.assert_allclose(face.points, MESH[list(MEDIAPIPE131_MESH_INDICES)] * 100 + (600, 300), atol=1e-3)
    assert face.confidence == 0.75


def test_the_larger_face_comes_first() -> None:
    (faces,) = with_nets(FakeNets((300, 300, 150), (900, 300, 250))).infer(pictures(1))
    assert centres(faces) == [900, 300]


def test_a_face_too_small_for_the_whole_picture_is_found_in_a_window_of_it() -> None:
    (faces,) = with_nets(FakeNets((1100, 600, 40))).infer(pictures(1))
    assert len(faces) == 1


def test_a_shot_s_first_frame_is_searched_everywhere_and_the_others_a_window_at_a_time() -> None:
    nets = FakeNets((600, 300, 200))
    backend = with_nets(nets)
    everywhere = len(windows_of(1280, 720))
    backend.infer(pictures(1))
    assert len(nets.searched) == everywhere > 4
    backend.infer(pictures(4))
    assert len(nets.searched) == everywhere
    backend.infer(pictures(SEARCH_EVERY * (everywhere + 1)))
    later = nets.searched[everywhere:]
    assert len(later) == everywhere + 1
    assert set(later) == set(windows_of(1280, 720))


def test_no_window_is_searched_for_faces_that_would_have_no_place() -> None:
    nets = FakeNets((600, 300, 200))
    with_nets(nets, max_faces=1).infer(pictures(1))
    assert nets.searched == windows_of(1280, 720)[:1]


def test_a_face_is_followed_from_where_it_was_and_not_searched_for() -> None:
    nets = FakeNets((600, 300, 200))
    backend = with_nets(nets, max_faces=1)
    backend.infer(pictures(1))
    nets.looked.clear()
    nets.heads = [(620, 310, 200)]
    backend.infer(pictures(1))
    (square,) = nets.looked
    assert (square.x, square.y) == pytest.approx((600, 300), abs=10)
    assert square.tilt == 0


def test_a_face_that_is_lost_is_looked_for_near_its_place_at_once() -> None:
    nets = FakeNets((1100, 600, 45), (300, 300, 200))
    backend = with_nets(nets)
    assert len(backend.infer(pictures(1))[0]) == 2
    nets.heads[0] = (1140, 600, 45)
    assert centres(backend.infer(pictures(1))[0]) == [300, 1140]


def test_a_face_that_comes_in_is_found_within_a_second() -> None:
    nets = FakeNets((600, 300, 200))
    backend = with_nets(nets)
    backend.infer(pictures(1))
    nets.heads.append((1000, 300, 150))
    found = backend.infer(pictures(50))
    assert [len(faces) for faces in found][-1] == 2


def test_with_one_place_a_much_larger_face_takes_it_and_an_equal_one_does_not() -> None:
    for side, expected in ((110, 300), (200, 900)):
        nets = FakeNets((300, 300, 100))
        backend = with_nets(nets, max_faces=1)
        backend.infer(pictures(1))
        nets.heads.append((900, 300, side))
        assert centres(backend.infer(pictures(50))[-1]) == [expected]


def test_two_squares_on_one_face_are_one_face() -> None:
    nets = FakeNets((500, 300, 200), (800, 300, 190))
    backend = with_nets(nets)
    backend.infer(pictures(1))
    nets.heads = [(650, 300, 400)]
    backend._followed = [FaceSquare(x=640, y=300, side=500, tilt=0), FaceSquare(x=660, y=300, side=500, tilt=0)]
    assert len(backend.infer(pictures(1))[0]) == 1


def test_a_reset_forgets_who_was_followed() -> None:
    nets = FakeNets((600, 300, 200))
    backend = with_nets(nets)
    backend.infer(pictures(3))
    nets.heads = []
    backend.reset()
    nets.looked.clear()
    assert backend.infer(pictures(1)) == [[]]
    assert nets.looked == []


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (3840, 2160), (640, 480), (481, 30), (2, 2)])
def test_windows_cover_the_picture_and_a_small_face_lies_whole_in_one(width: int, height: int) -> None:
    windows = windows_of(width, height)
    assert (windows[0].width, windows[0].height) == (width, height)
    for window in windows:
        assert window.left + window.width <= width
        assert window.top + window.height <= height
    # A face that the whole picture cannot show to the detector; as much of it as there is picture.
    across, down = min(max(width, height) / 13, width), min(max(width, height) / 13, height)
    for x in np.linspace(0, width - across, 40):
        for y in np.linspace(0, height - down, 25):
            assert any(
                w.left <= x + 1
                and x + across <= w.left + w.width + 1
                and w.top <= y + 1
                and y + down <= w.top + w.height + 1
                for w in windows[1:] or windows
            )


def test_nothing_heavy_is_imported_before_setup() -> None:
    code = (
        "import sys, preprocessing.landmarks.mediapipe_mesh, preprocessing.landmarks.fan\n"
        "print(sorted({'mediapipe', 'torch', 'face_alignment'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_native_noise_and_warnings_go_to_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), noise_to_log(log):
        os.write(2, b"native words\n")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    os.write(2, b"after\n")
    assert caplog.messages == ["DeprecationWarning: old", "native words"]
    assert capfd.readouterr().err.endswith("after\n")
    assert "native" not in capfd.readouterr().err


def test_an_error_passes_and_what_was_said_before_it_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    def die() -> None:
        with noise_to_log(log):
            os.write(2, b"last words\n")
            raise ZeroDivisionError

    with caplog.at_level(logging.DEBUG), pytest.raises(ZeroDivisionError):
        die()
    assert "last words" in caplog.messages
