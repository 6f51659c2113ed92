"""Backend `auto`: which landmark backend suits this machine, and why.

The answer differs between machines, and with it the points that clips carry. Whoever plans work for several machines
asks here once and plans with the answer; `auto` itself is for a single process.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from preprocessing.errors import ToolMissing
from preprocessing.landmarks.detectors import known_detector, staged_arguments
from preprocessing.landmarks.weights import staged_weights

AUTO = "auto"
DEFAULT_DETECTOR = "sfd"
LANDMARK_WEIGHTS = "2DFAN4-11f355bf06.pth.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendChoice:
    backend: str
    why: str
    """For people: a clause that goes on from the backend's name."""


def choose_backend(detector: str | None = None) -> BackendChoice:
    """`face-alignment` where it has a GPU and its weights, else `mediapipe`; refuses where neither can run."""
    lacking, has_gpu = _face_alignment_lacks(detector or DEFAULT_DETECTOR), _has_gpu()
    has_mediapipe = importlib.util.find_spec("mediapipe") is not None
    if lacking is None and has_gpu:
        return BackendChoice(backend="face-alignment", why="there is a GPU, and its weights are here")
    if detector is None and has_mediapipe:
        why = lacking if has_gpu and lacking else "there is no GPU, and on a CPU it is many times faster"
        return BackendChoice(backend="mediapipe", why=why)
    if lacking is None:
        why = f"detector `{detector}` is its own" if detector else "mediapipe is not installed"
        return BackendChoice(backend="face-alignment", why=why)
    raise ToolMissing(
        f"no landmark backend can run: {lacking}"
        + ("" if has_mediapipe else "; install `mediapipe`, which needs neither weights nor a GPU"),
        field="faces.backend",
        value=AUTO,
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _face_alignment_lacks(detector: str) -> str | None:
    """What keeps face-alignment from running here; None when nothing does."""
    if importlib.util.find_spec("face_alignment") is None:
        return "the package face-alignment is not installed"
    kind = known_detector(detector)
    if kind.needs is not None and importlib.util.find_spec(kind.needs) is None:
        return f"detector `{detector}` needs the package {kind.needs}"
    try:
        staged_weights(LANDMARK_WEIGHTS)
        staged_arguments(kind)
    except ToolMissing as missing:
        return str(missing)
    return None
