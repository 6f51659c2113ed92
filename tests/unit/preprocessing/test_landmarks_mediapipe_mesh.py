"""FaceMesh: its numbers become our pixels; what all backends share is tested in tests/contract."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from preprocessing.landmarks.mediapipe_mesh import MediapipeMesh
from preprocessing.landmarks.native_noise import noise_to_log
from shards.topology import MEDIAPIPE131_MESH_INDICES

log = logging.getLogger(__name__)


class FixedMesh:
    """A FaceMesh that finds what it is told, in picture widths."""

    def __init__(self, *faces: list[tuple[float, float]]) -> None:
        marks = [SimpleNamespace(landmark=[SimpleNamespace(x=x, y=y) for x, y in face]) for face in faces]
        self._result = SimpleNamespace(multi_face_landmarks=marks or None)
        self.calls: list[str] = []

    def process(self, frame: object) -> SimpleNamespace:
        self.calls.append("process")
        return self._result

    def reset(self) -> None:
        self.calls.append("reset")


def with_mesh(mesh: FixedMesh) -> MediapipeMesh:
    backend = MediapipeMesh(2)
    backend._mesh = mesh
    return backend


def test_every_index_is_in_the_mesh_without_irises() -> None:
    assert max(MEDIAPIPE131_MESH_INDICES) < 468


def test_the_middle_of_the_picture_is_between_its_middle_pixels() -> None:
    (faces,) = with_mesh(FixedMesh([(0.5, 0.5)] * 468)).infer(np.zeros((1, 2, 4, 3), dtype=np.uint8))
    assert (faces[0].points == [1.5, 0.5]).all()


def test_points_come_in_the_topology_s_order() -> None:
    (faces,) = with_mesh(FixedMesh([(i / 1000, 0.0) for i in range(468)])).infer(np.zeros((1, 8, 1000, 3), np.uint8))
    np.testing.assert_allclose(faces[0].points[:, 0] + 0.5, MEDIAPIPE131_MESH_INDICES, atol=1e-4)


def test_the_larger_face_comes_first() -> None:
    small, large = ([(0.5, 0.5 + (i % 2) * h) for i in range(468)] for h in (0.1, 0.4))
    (faces,) = with_mesh(FixedMesh(small, large)).infer(np.zeros((1, 100, 100, 3), dtype=np.uint8))
    assert faces[0].box[3] - faces[0].box[1] == pytest.approx(40, abs=1e-3)


def test_a_reset_forgets_before_the_next_frame_and_only_once() -> None:
    mesh = FixedMesh()
    backend = with_mesh(mesh)
    frames = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    backend.infer(frames)
    backend.infer(frames)
    assert mesh.calls == ["reset"] + ["process"] * 4
    backend.reset()
    backend.infer(frames)
    assert mesh.calls[5:] == ["reset", "process", "process"]


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
