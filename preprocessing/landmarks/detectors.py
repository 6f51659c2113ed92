"""face-alignment's detectors behind one function: pictures in, boxes out. One row per detector.

Of what the library offers only `folder` is left out: it reads boxes from files beside single images.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocessing.errors import ToolMissing
from preprocessing.landmarks.weights import staged_weights
from shards.errors import RequestError
from shards.schema import F64, U8

Detect = Callable[[U8], list[F64]]
"""(T, H, W, 3) -> per frame (N, 5): left, top, right, bottom, score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """How one of the library's detectors is made."""

    module: str
    """Below face_alignment.detection."""
    weights: tuple[tuple[str, str], ...] = ()
    """(argument, file) of each weight file."""
    options: tuple[tuple[str, object], ...] = ()
    needs: str | None = None
    """A package beside the library's own."""
    takes_batches: bool = False
    on_gpu: bool = True


DETECTORS: dict[str, Detector] = {
    "sfd": Detector(module="sfd", weights=(("path_to_detector", "s3fd-619a316812.pth"),), takes_batches=True),
    "blazeface": Detector(
        module="blazeface",
        weights=(("path_to_detector", "blazeface.pth"), ("path_to_anchor", "anchors.npy")),
        takes_batches=True,
    ),
    "blazeface-back": Detector(
        module="blazeface",
        weights=(("path_to_detector", "blazefaceback.pth"), ("path_to_anchor", "anchorsback.npy")),
        options=(("back_model", True),),
        takes_batches=True,
    ),
    "retinaface": Detector(
        module="retinaface", weights=(("path_to_detector", "retinaface_mobilenet0.25.pth"),), needs="torchvision"
    ),
    "scrfd": Detector(module="scrfd", weights=(("path_to_detector", "scrfd_2.5g_bnkps.onnx"),), needs="onnxruntime"),
    "yunet": Detector(
        module="yunet", weights=(("path_to_detector", "face_detection_yunet_2023mar.onnx"),), on_gpu=False
    ),
    # Its HOG detector, which is part of dlib; the library takes dlib's network only on a GPU.
    "dlib": Detector(module="dlib", needs="dlib", on_gpu=False),
}


def known_detector(name: str) -> Detector:
    """The detector of that name; refuses an unknown one."""
    if name not in DETECTORS:
        raise RequestError("unknown face detector", field="faces.detector", value=name, choices=DETECTORS)
    return DETECTORS[name]


def staged_arguments(detector: Detector) -> dict[str, str]:
    """Its weight files, checked, by the argument that takes them."""
    return {argument: str(staged_weights(file)) for argument, file in detector.weights}


def load_detector(name: str, device: str) -> tuple[Detect, float]:
    """(detector, its `reference_scale`: what FAN's crop around its boxes is measured with)."""
    kind = known_detector(name)
    arguments = staged_arguments(kind)
    if kind.needs is not None and importlib.util.find_spec(kind.needs) is None:
        raise ToolMissing(
            f"detector `{name}` needs the package {kind.needs}: install it, or choose `sfd`",
            field="faces.detector",
            value=name,
        )
    made = importlib.import_module(f"face_alignment.detection.{kind.module}").FaceDetector(
        device=device if kind.on_gpu else "cpu", **arguments, **dict(kind.options)
    )
    return (_batched(made) if kind.takes_batches else _one_by_one(made)), float(made.reference_scale)


def _batched(detector: Any) -> Detect:
    import torch

    def detect(frames: U8) -> list[F64]:
        batch = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float()
        with _cudnn_benchmark_kept():
            return [_boxes(found) for found in detector.detect_from_batch(batch)]

    return detect


def _one_by_one(detector: Any) -> Detect:
    def detect(frames: U8) -> list[F64]:
        with _cudnn_benchmark_kept():
            return [_boxes(detector.detect_from_image(np.ascontiguousarray(frame))) for frame in frames]

    return detect


def _boxes(found: Any) -> F64:
    """(N, 5): some detectors give no score, and some an empty list for nobody."""
    rows = [np.asarray(row, dtype=np.float64).reshape(-1)[:5] for row in found if len(row)]
    return np.array([np.append(row, np.ones(5 - len(row))) for row in rows]).reshape(-1, 5)


@contextmanager
def _cudnn_benchmark_kept() -> Iterator[None]:
    """SFD switches cuDNN's benchmark mode on at every call, for the whole process; put it back."""
    import torch

    before = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
