"""A reference picture and the title it is to be found in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocessing.errors import Unusable
from preprocessing.faces.identify import SAME_PERSON
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.speakers.portrait import look_of_picture
from tests.support.synthetic import talking_title

BACKEND = "mediapipe"


def still(path: Path, portrait: str, index: int) -> Path:
    """A frame of that person speaking."""
    video = talking_title(path.parent, seconds=1.0, size=(256, 256), portrait=portrait, name=path.stem).video
    source = FfmpegSource(video, probe(video))
    (frame,) = source.frames(index, index + 1)
    source.close()
    cv2.imwrite(str(path), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    return path


def test_two_pictures_of_a_person_look_alike(tmp_path: Path) -> None:
    one, other = (look_of_picture(still(tmp_path / f"{n}.png", "hopper", n), BACKEND) for n in (2, 20))
    assert one is not None
    assert other is not None
    assert one.likeness(other) >= SAME_PERSON


def test_a_picture_without_a_face_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    assert look_of_picture(path, BACKEND) is None


def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    for name, data in (("text.png", b"not a picture"), ("empty.png", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(Unusable, match=name):
            look_of_picture(path, BACKEND)
