"""A reference picture of a person -> what they look like, to be compared with the faces of a title."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np

from preprocessing.errors import Unusable
from preprocessing.faces.identify import Look, LookBuilder
from preprocessing.landmarks.base import landmark_backend


@functools.lru_cache(maxsize=64)
def look_of_picture(path: Path, backend: str) -> Look | None:
    """Of the largest face, found by the backend that found the title's; None where there is no face.

    A row's pictures are asked for with every language of its title: the last ones are remembered.
    """
    rgb = read_picture(path)
    finder = landmark_backend(backend, max_faces=1)
    finder.setup()
    try:
        (faces,) = finder.infer(rgb[None])
    finally:
        finder.close()
    if not faces:
        return None
    builder = LookBuilder(finder.topology)
    builder.add(rgb, faces[0].points)
    return builder.look()


def read_picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a JPEG, PNG, WebP or TIFF file."""
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if bgr is None:
        raise Unusable.because("unreadable", f"{path.name} is not a picture; JPEG, PNG, WebP or TIFF is needed")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
