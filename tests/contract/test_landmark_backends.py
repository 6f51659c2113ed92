"""Every registered landmark backend keeps the one Protocol.

`mediapipe` runs as it ships. `face-alignment` has no weights here: it runs with a small untrained net in FAN's place
and a detector that boxes whatever is not background, which exercises all but the learned numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import pytest

from preprocessing.landmarks.base import BACKENDS, LandmarkBackend, landmark_backend
from preprocessing.landmarks.fan import FaceAlignmentNet, Networks, heatmaps_of
from preprocessing.landmarks.mediapipe_mesh import MediapipeMesh
from shards.errors import RequestError
from shards.schema import F64, U8
from shards.topology import topology


def non_black_blobs(pictures: U8) -> list[F64]:
    """Boxes of what is not black, in the place of a detector."""
    found = []
    for picture in pictures:
        mask = (picture.max(axis=2) > 40).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), dtype=np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [(x, y, x + w, y + h, 0.9) for x, y, w, h, area in stats[1:] if area > 500]
        found.append(np.array(boxes, dtype=np.float64).reshape(-1, 5))
    return found


def untrained_networks() -> Networks:
    import torch

    class Small(torch.nn.Module):
        """256 px pictures to one stack of 64 px maps, as FAN."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 68, kernel_size=4, stride=4)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [torch.sigmoid(self.conv(x))]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Networks(detect=non_black_blobs, heatmaps=heatmaps_of(Small(), "cpu"))


MAKERS: dict[str, Callable[[int], LandmarkBackend]] = {
    "mediapipe": MediapipeMesh,
    "face-alignment": lambda max_faces: FaceAlignmentNet(max_faces, load=untrained_networks),
}


@pytest.fixture(scope="module")
def portrait() -> U8:
    """(300, 256, 3): a public-domain portrait that matplotlib ships."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=True) as file:
        data = np.frombuffer(file.read(), dtype=np.uint8)
    picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.resize(picture, (256, 300), interpolation=cv2.INTER_AREA), dtype=np.uint8)


@pytest.fixture(scope="module")
def scene(portrait: U8) -> U8:
    """(6, 320, 520, 3): the portrait moves to the right by 2 px a frame; a smaller one stands beside it."""
    frames = np.zeros((6, 320, 520, 3), dtype=np.uint8)
    small = cv2.resize(portrait, (230, 270), interpolation=cv2.INTER_AREA)
    for t, frame in enumerate(frames):
        frame[10:310, 8 + 2 * t : 264 + 2 * t] = portrait
        frame[30:300, 285:515] = small
    return frames


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backend(name: str) -> Iterator[LandmarkBackend]:
    made = MAKERS[name](2)
    made.setup()
    yield made
    made.close()


def test_every_registered_backend_is_tested_here() -> None:
    assert set(MAKERS) == set(BACKENDS)


def test_an_unknown_backend_is_refused_with_the_choices() -> None:
    with pytest.raises(RequestError, match="did you mean 'mediapipe'"):
        landmark_backend("mediapip", max_faces=1)


def test_auto_gives_one_of_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made = landmark_backend("auto", max_faces=1)
    assert made.name in BACKENDS
    assert any(f"`{made.name}`: " in message for message in caplog.messages)


class TestEveryLandmarkBackend:
    def test_the_registry_names_it_as_it_names_itself(self, name: str) -> None:
        made = landmark_backend(name, max_faces=1)
        assert made.name == name
        assert made.version
        assert topology(made.topology).name == made.topology

    def test_it_wants_at_least_one_face(self, name: str) -> None:
        with pytest.raises(RequestError, match="max_faces"):
            landmark_backend(name, max_faces=0)

    def test_it_refuses_a_detector_it_does_not_have(self, name: str) -> None:
        with pytest.raises(RequestError, match="detector"):
            landmark_backend(name, max_faces=1, detector="eyes")

    def test_it_says_how_many_frames_it_likes_at_once(self, name: str) -> None:
        assert landmark_backend(name, max_faces=1).batch >= 1

    def test_batches_of_one_shot_give_what_the_whole_shot_gives(self, backend: LandmarkBackend, scene: U8) -> None:
        """Frames come in batches as memory allows; a backend may draw lines between its searches, and no more."""
        backend.reset()
        whole = backend.infer(scene)
        backend.reset()
        parts = [faces for first in (0, 2, 4) for faces in backend.infer(scene[first : first + 2])]
        assert [len(faces) for faces in parts] == [len(faces) for faces in whole]
        for one, other in zip(whole, parts, strict=True):
            for a, b in zip(one, other, strict=True):
                assert np.abs(a.points - b.points).max() < 12

    def test_it_refuses_to_work_before_setup(self, name: str, scene: U8) -> None:
        with pytest.raises(RuntimeError, match="before setup"):
            MAKERS[name](1).infer(scene[:1])

    def test_it_closes_twice_and_before_setup_without_harm(self, name: str) -> None:
        made = MAKERS[name](1)
        made.close()
        made.reset()
        made.setup()
        made.close()
        made.close()

    def test_every_frame_has_its_faces_largest_first(self, backend: LandmarkBackend, scene: U8) -> None:
        backend.reset()
        found = backend.infer(scene)
        assert [len(faces) for faces in found] == [2] * len(scene)
        points = topology(backend.topology).num_points
        for faces in found:
            heights = [face.box[3] - face.box[1] for face in faces]
            assert heights == sorted(heights, reverse=True)
            for face in faces:
                assert face.points.shape == (points, 2)
                assert face.points.dtype == np.float32
                assert np.isfinite(face.points).all()
                assert 0 < face.confidence <= 1

    def test_a_frame_without_a_face_has_none(self, backend: LandmarkBackend) -> None:
        backend.reset()
        assert backend.infer(np.zeros((3, 200, 300, 3), dtype=np.uint8)) == [[], [], []]

    def test_no_frames_have_no_faces(self, backend: LandmarkBackend) -> None:
        assert backend.infer(np.zeros((0, 64, 64, 3), dtype=np.uint8)) == []

    def test_after_a_reset_it_sees_what_it_saw_the_first_time(self, backend: LandmarkBackend, scene: U8) -> None:
        runs = []
        for _ in range(2):
            backend.reset()
            runs.append(np.array([[face.points for face in faces] for faces in backend.infer(scene)]))
        np.testing.assert_array_equal(runs[0], runs[1])

    def test_the_picture_is_left_as_it_was(self, backend: LandmarkBackend, scene: U8) -> None:
        before = scene.copy()
        backend.infer(scene)
        np.testing.assert_array_equal(scene, before)

    def test_it_works_again_after_close_and_setup(self, name: str, scene: U8) -> None:
        made = MAKERS[name](1)
        for _ in range(2):
            made.setup()
            assert [len(faces) for faces in made.infer(scene[:2])] == [1, 1]
            made.close()

    def test_native_code_keeps_quiet(self, name: str, scene: U8, capfd: pytest.CaptureFixture[str]) -> None:
        made = MAKERS[name](1)
        made.setup()
        made.infer(scene[:2])
        made.reset()
        made.infer(scene[:2])
        made.close()
        assert capfd.readouterr() == ("", "")


def test_mediapipe_follows_a_moving_face_to_the_pixel(scene: U8) -> None:
    with_one = MediapipeMesh(1)
    with_one.setup()
    found = with_one.infer(scene)
    with_one.close()
    shape = topology("mediapipe131")
    eyes = np.array([faces[0].points[[*shape.left_eye, *shape.right_eye]].mean(axis=0) for faces in found])
    np.testing.assert_allclose(eyes[:, 0] - eyes[0, 0], 2.0 * np.arange(len(scene)), atol=1.5)
    assert np.abs(eyes[:, 1] - eyes[0, 1]).max() < 1.5


@pytest.mark.footage
def test_mediapipe_finds_the_speaker_of_a_real_clip_in_every_frame() -> None:
    clip = Path(__file__).parents[3] / "shared/grid/clips/s1__bbaf2n.mkv"
    if not clip.is_file():
        pytest.skip("the real clips beside the project are not here")
    video = cv2.VideoCapture(str(clip))
    frames = []
    while (read := video.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    video.release()
    made = MediapipeMesh(1)
    made.setup()
    found = made.infer(np.stack(frames))
    made.close()
    assert [len(faces) for faces in found] == [1] * 75
