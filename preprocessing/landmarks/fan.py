"""face-alignment's networks: SFD finds faces of any size, FAN reads 68 points. The backend for machines with a GPU.

Of the library we use the two networks, not its frame-by-frame loop: faces are looked for in every few frames, their
boxes drawn through the frames between, and the crops of all frames go through FAN together. Weights are never fetched:
they must lie where torch keeps them, and are checked against the hash in their names.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from preprocessing.errors import ToolMissing
from preprocessing.faces.base import FaceObservation
from preprocessing.landmarks.native_noise import noise_to_log
from shards.errors import RequestError
from shards.fingerprint import file_sha256
from shards.schema import F32, F64, U8

log = logging.getLogger(__name__)

DETECTOR_WEIGHTS, LANDMARK_WEIGHTS = "s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar"
CROP_PX, HEATMAP_PX = 256, 64
DETECT_EVERY = 4
"""Faces are looked for in every so many frames: SFD costs several times what FAN does."""
_DETECT_SIDE_PX = 640
"""Pictures are searched at this size; SFD finds faces from about 16 px there."""
_CROPS_AT_ONCE = 32
_MIN_IOU = 0.3
# How the library puts a detector's box into FAN's crop: its own constants, as FAN was trained with them.
_BOX_PER_CROP, _LIFT = 195.0 / 200.0, 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The two networks behind plain functions."""

    detect: Callable[[U8], list[F64]]
    """(T, H, W, 3) -> per frame (N, 5): left, top, right, bottom, score, best first."""
    heatmaps: Callable[[U8], F32]
    """(N, 256, 256, 3) -> (N, 68, 64, 64)."""


class FaceAlignmentNet:
    """The landmark backend `face-alignment`."""

    name = "face-alignment"
    version = "1.5"
    topology = "ibug68"

    def __init__(self, max_faces: int = 1, *, load: Callable[[], Networks] | None = None) -> None:
        if max_faces < 1:
            raise RequestError("at least one face must be followed", field="max_faces", value=max_faces)
        self._max_faces = max_faces
        self._load = load or load_networks
        self._networks: Networks | None = None

    def setup(self) -> None:
        self._networks = self._load()

    def infer(self, frames: U8) -> list[list[FaceObservation]]:
        if self._networks is None:
            raise RuntimeError("FaceAlignmentNet.infer before setup()")
        if not len(frames):
            return []
        boxes = self._boxes(frames, self._networks)
        crops = [(index, box) for index, found in enumerate(boxes) for box in found]
        faces: list[list[FaceObservation]] = [[] for _ in frames]
        for first in range(0, len(crops), _CROPS_AT_ONCE):
            part = crops[first : first + _CROPS_AT_ONCE]
            matrices = np.stack([crop_matrix(box) for _, box in part])
            pictures = np.stack([_crop(frames[index], m) for (index, _), m in zip(part, matrices, strict=True)])
            points, peaks = read_heatmaps(self._networks.heatmaps(pictures), matrices)
            for (index, _), face, peak in zip(part, points, peaks, strict=True):
                faces[index].append(FaceObservation(points=face, confidence=float(np.clip(peak, 1e-3, 1.0))))
        return faces

    def reset(self) -> None:
        """Nothing is remembered between calls."""

    def close(self) -> None:
        self._networks = None

    def _boxes(self, frames: U8, networks: Networks) -> list[list[F64]]:
        """Per frame the largest faces' boxes: detected in some frames, drawn straight through those between."""
        keys = sorted({*range(0, len(frames), DETECT_EVERY), len(frames) - 1})
        scale = min(1.0, _DETECT_SIDE_PX / max(frames.shape[1:3]))
        size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
        small = [cv2.resize(frames[k], size, interpolation=cv2.INTER_AREA) if scale < 1 else frames[k] for k in keys]
        found = [_largest(boxes[:, :4] / scale, self._max_faces) for boxes in networks.detect(np.stack(small))]
        out: list[list[F64]] = [[] for _ in frames]
        for key, boxes in zip(keys, found, strict=True):
            out[key] = boxes
        for (a, at_a), (b, at_b) in itertools.pairwise(zip(keys, found, strict=True)):
            for box, other in _pairs(at_a, at_b):
                for index in range(a + 1, b):
                    out[index].append(box + (other - box) * (index - a) / (b - a))
        return out


def load_networks() -> Networks:
    """Both networks with their weights, on the GPU where there is one."""
    detector_file, landmark_file = staged_weights(DETECTOR_WEIGHTS), staged_weights(LANDMARK_WEIGHTS)
    with noise_to_log(log):
        import torch
        from face_alignment.detection.sfd import FaceDetector
        from face_alignment.models import FAN

        device = "cuda" if torch.cuda.is_available() else "cpu"
        detector = FaceDetector(device=device, path_to_detector=str(detector_file))
        net = FAN(4)
        net.load_state_dict(torch.load(landmark_file, map_location="cpu", weights_only=True))
    return networks(detector, net, device)


def networks(detector: Any, net: Any, device: str) -> Networks:
    """The library's detector and FAN behind our functions."""
    import torch
    from face_alignment.utils import flip

    net = net.to(device).eval()

    def detect(frames: U8) -> list[F64]:
        batch = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float()
        with _cudnn_benchmark_kept():
            return [np.asarray(boxes, dtype=np.float64).reshape(-1, 5) for boxes in detector.detect_from_batch(batch)]

    @torch.no_grad()
    def heatmaps(crops: U8) -> F32:
        x = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2))).to(device).float() / 255
        # As the library: the mean of the picture and its mirror image, points exchanged left for right.
        both = (net(x)[-1] + flip(net(flip(x))[-1], is_label=True)) / 2
        return np.asarray(both.float().cpu().numpy(), dtype=np.float32)

    return Networks(detect=detect, heatmaps=heatmaps)


def staged_weights(file_name: str) -> Path:
    """The weight file in torch's cache, whole; refuses a missing or damaged one and says where it belongs."""
    import torch

    path = Path(torch.hub.get_dir(), "checkpoints", file_name)
    where = f"put `{file_name}` (from the face-alignment project) into {path.parent}, or choose backend `mediapipe`"
    if not path.is_file():
        raise ToolMissing(f"face-alignment's weights are not here: {where}", field="faces.backend", value=file_name)
    expected = file_name.partition("-")[2].partition(".")[0]
    if not file_sha256(path).startswith(expected):
        raise ToolMissing(
            f"the weights are damaged, their sha256 does not begin with {expected}: {where}",
            field="faces.backend",
            value=file_name,
        )
    return path


def crop_matrix(box: F64) -> F64:
    """(2, 3) source px -> crop px of FAN's crop around a detector's box (whose numbers count from pixel edges)."""
    left, top, right, bottom = box
    side = (right - left + bottom - top) / _BOX_PER_CROP
    k = CROP_PX / side
    corner = np.array([(left + right) / 2, (top + bottom) / 2 - _LIFT * (bottom - top)]) - side / 2
    shift = k * (0.5 - corner) - 0.5
    return np.array([[k, 0.0, shift[0]], [0.0, k, shift[1]]])


def read_heatmaps(maps: F32, matrices: F64) -> tuple[F32, F32]:
    """(N, 68, 2) source px and (N,) mean peak height: each map's highest cell, a quarter cell towards its neighbour."""
    n, p, size, _ = maps.shape
    flat = maps.reshape(n, p, -1)
    cell = flat.argmax(axis=2)
    y, x = np.divmod(cell, size)
    inner = (x > 0) & (x < size - 1) & (y > 0) & (y < size - 1)
    # A cell on the border has no neighbour on one side: it stays where it is, in both directions, as in the library.
    inside = np.where(inner, cell, size + 1)

    def towards(step: int) -> F64:
        after = np.take_along_axis(flat, (inside + step)[..., None], axis=2)[..., 0]
        before = np.take_along_axis(flat, (inside - step)[..., None], axis=2)[..., 0]
        return np.where(inner, 0.25 * np.sign(after - before), 0.0)

    cells = np.stack([x + towards(1), y + towards(size)], axis=2)
    crop = (cells + 0.5) * (CROP_PX / size) - 0.5
    scale = matrices[:, None, [0, 1], [0, 1]]
    points = (crop - matrices[:, None, :, 2]) / scale
    return points.astype(np.float32), flat.max(axis=2).mean(axis=1)


def _crop(frame: U8, matrix: F64) -> U8:
    # Black past the edge and plain linear: what FAN saw in training.
    return np.asarray(cv2.warpAffine(frame, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _largest(boxes: F64, count: int) -> list[F64]:
    return sorted(boxes, key=lambda b: float(b[1] - b[3]))[:count]


def _pairs(at_a: list[F64], at_b: list[F64]) -> Iterator[tuple[F64, F64]]:
    """Boxes of two frames that are one face, each used once."""
    left = list(at_b)
    for box in at_a:
        ious = [_iou(box, other) for other in left]
        if ious and max(ious) >= _MIN_IOU:
            yield box, left.pop(int(np.argmax(ious)))


def _iou(a: F64, b: F64) -> float:
    shared = float(np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0


@contextmanager
def _cudnn_benchmark_kept() -> Iterator[None]:
    """SFD switches cuDNN's benchmark mode on at every call, for the whole process; put it back."""
    import torch

    before = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
