"""The landmark door: pictures in, the faces of each picture out. One file per backend; a registry line adds one."""

from __future__ import annotations

import importlib
import logging
from typing import Protocol, cast

from preprocessing.faces.base import FaceObservation
from preprocessing.landmarks.choice import AUTO, choose_backend
from shards.errors import RequestError
from shards.schema import U8

log = logging.getLogger(__name__)


class LandmarkBackend(Protocol):
    """Finds faces and their points. Heavy imports happen in `setup`, weights are loaded once."""

    name: str
    version: str
    topology: str
    batch: int
    """Frames it likes to be given at once."""

    def setup(self) -> None: ...

    def infer(self, frames: U8) -> list[list[FaceObservation]]:
        """(T, H, W, 3) consecutive frames of one shot -> for each, the faces seen (largest first, may be none)."""
        ...

    def reset(self) -> None:
        """Forget the faces followed so far: a cut, or another video."""
        ...

    def close(self) -> None: ...


BACKENDS: dict[str, str] = {
    "mediapipe": "preprocessing.landmarks.mediapipe_mesh:MediapipeMesh",
    "face-alignment": "preprocessing.landmarks.fan:FaceAlignmentNet",
}
"""name -> module:class."""


def landmark_backend(name: str, *, max_faces: int, detector: str | None = None) -> LandmarkBackend:
    """A backend, not yet set up; refuses an unknown name. `detector` is one that this backend offers, None its own."""
    if name == AUTO:
        choice = choose_backend(detector)
        log.info("landmark backend `%s`: %s", choice.backend, choice.why)
        name = choice.backend
    if name not in BACKENDS:
        raise RequestError("unknown landmark backend", field="faces.backend", value=name, choices=[*BACKENDS, AUTO])
    module, attribute = BACKENDS[name].split(":")
    make = getattr(importlib.import_module(module), attribute)
    return cast(LandmarkBackend, make(max_faces=max_faces, detector=detector))
