"""face-alignment's networks: a detector finds faces of any size, FAN reads 68 points. The backend for a GPU.

Of the library we use the networks, not its frame-by-frame loop: faces are looked for in every few frames, their boxes
drawn through the frames between, and the crops of all frames go through FAN together. The detectors are
`detectors.py`'s, the files of both `weights.py`'s.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from preprocessing.faces.base import FaceObservation
from preprocessing.landmarks.choice import DEFAULT_DETECTOR, LANDMARK_WEIGHTS
from preprocessing.landmarks.detectors import Detect, known_detector, load_detector
from preprocessing.landmarks.native_noise import noise_to_log
from preprocessing.landmarks.weights import staged_weights
from shards.errors import RequestError
from shards.schema import F32, F64, U8

log = logging.getLogger(__name__)

CROP_PX, HEATMAP_PX = 256, 64
DETECT_EVERY = 4
"""Faces are looked for in every so many frames: SFD costs several times what FAN does."""
_DETECT_SIDE_PX = 640
"""Pictures are searched at this size; SFD finds faces from about 16 px there."""
CROPS_AT_ONCE = {"cpu": 4, "cuda": 64}
"""A CPU gains nothing from more than a few, and each costs it 60 MB."""
_MIN_IOU = 0.3
# How the library puts a detector's box into FAN's crop: its own constants, as FAN was trained with them.
_CROP_SCALE, _LIFT = 200.0, 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The two networks behind plain functions."""

    detect: Detect
    heatmaps: Callable[[U8], F32]
    """(N, 256, 256, 3) -> (N, 68, 64, 64)."""
    reference_scale: float = 195.0
    """The detector's: its boxes are larger or smaller about a face."""
    crops_at_once: int = 64


class FaceAlignmentNet:
    """The landmark backend `face-alignment`."""

    name = "face-alignment"
    version = "1.5"
    topology = "ibug68"
    batch = 64

    def __init__(
        self, max_faces: int = 1, *, detector: str | None = None, load: Callable[[], Networks] | None = None
    ) -> None:
        if max_faces < 1:
            raise RequestError("at least one face must be followed", field="max_faces", value=max_faces)
        self._max_faces = max_faces
        known_detector(detector or DEFAULT_DETECTOR)
        self._load = load or functools.partial(load_networks, detector or DEFAULT_DETECTOR)
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
        for first in range(0, len(crops), self._networks.crops_at_once):
            part = crops[first : first + self._networks.crops_at_once]
            matrices = np.stack([crop_matrix(box, self._networks.reference_scale) for _, box in part])
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


def load_networks(detector: str = DEFAULT_DETECTOR) -> Networks:
    """Both networks with their weights, on the GPU where there is one."""
    landmark_file = staged_weights(LANDMARK_WEIGHTS)
    with noise_to_log(log):
        import torch
        from face_alignment.models import FAN

        device = "cuda" if torch.cuda.is_available() else "cpu"
        detect, reference_scale = load_detector(detector, device)
        net = FAN(4)
        net.load_state_dict(torch.load(landmark_file, map_location="cpu", weights_only=True))
    return Networks(
        detect=detect,
        heatmaps=heatmaps_of(net, device),
        reference_scale=reference_scale,
        crops_at_once=CROPS_AT_ONCE[device],
    )


def heatmaps_of(net: Any, device: str) -> Callable[[U8], F32]:
    """FAN over a batch of crops: the mean of each picture and its mirror image, as the library does it."""
    import torch
    from face_alignment.utils import flip

    # Channels last is the layout that fast convolutions want, on CPUs and on GPUs.
    net = net.to(device, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def heatmaps(crops: U8) -> F32:
        x = torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2).float() / 255
        # Mirrored, points are exchanged left for right.
        both = net(torch.cat([x, flip(x)]).contiguous(memory_format=torch.channels_last))[-1]
        mean = (both[: len(crops)] + flip(both[len(crops) :], is_label=True)) / 2
        return np.asarray(mean.float().cpu().numpy(), dtype=np.float32)

    return heatmaps


def crop_matrix(box: F64, reference_scale: float) -> F64:
    """(2, 3) source px -> crop px of FAN's crop around a detector's box (whose numbers count from pixel edges)."""
    left, top, right, bottom = box
    side = (right - left + bottom - top) * _CROP_SCALE / reference_scale
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
