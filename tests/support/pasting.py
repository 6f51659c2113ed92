"""Stored pictures, crops cut from them and mouths to paste back: what tests of `compose` start from."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from preprocessing.compose.paste import Mouth
from preprocessing.media.base import VideoStream
from preprocessing.media.colour import Coding, rgb_to_yuv, rounded, yuv_to_rgb
from preprocessing.media.native import FORMATS, NativeFrame
from shards.crop import WINDOWS, CropWindow
from shards.meanface import mean_face
from shards.schema import F32, F64, U8
from shards.topology import topology

WINDOW = WINDOWS["lower_face"]


def scene(width: int, height: int) -> F32:
    """A soft picture with a light slope, like a face out of focus."""
    rng = np.random.default_rng(7)
    noise = cv2.GaussianBlur(rng.normal(0, 400, (height, width, 3)), (0, 0), 6)
    slope = np.linspace(-25, 25, width)[None, :, None]
    return np.clip(120 + noise + slope, 5, 250).astype(np.float32)


def flat(width: int, height: int, level: float = 120.0) -> F32:
    return np.full((height, width, 3), level, dtype=np.float32)


def stored(rgb: np.ndarray, video: VideoStream, index: int = 3) -> NativeFrame:
    layout, coding = FORMATS[video.pix_fmt], Coding.of(video)
    planes = tuple(rounded(p, coding) for p in rgb_to_yuv(rgb.astype(np.float32), coding, layout.chroma))
    return NativeFrame(index=index, planes=(planes[0], planes[1], planes[2]), pix_fmt=video.pix_fmt)


def shown(frame: NativeFrame, video: VideoStream) -> F32:
    return yuv_to_rgb(frame.planes, Coding.of(video))


def placed(size_px: int, *, scale: float, angle: float = 0.0, centre: tuple[float, float]) -> F64:
    """A similarity that puts source pixel `centre` in the middle of the crop; `scale` crop px per source px."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    middle = np.full(2, size_px / 2 - 0.5)
    return np.concatenate([linear, (middle - linear @ np.array(centre))[:, None]], axis=1)


def cut(rgb: np.ndarray, matrix: F64, size_px: int) -> U8:
    crop = cv2.warpAffine(rgb, matrix, (size_px, size_px), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(crop), 0, 255).astype(np.uint8)


def face(size_px: int, *, name: str = "mediapipe131", window: CropWindow = WINDOW, jaw_down: float = 0.0) -> F32:
    """(P, 2) the mean face in crop px; chin and lower lip `jaw_down` eye units lower."""
    points, shape = mean_face(name), topology(name)
    lower = [p for p in shape.content if points[p, 1] > points[list(shape.mouth_corners), 1].mean()]
    points[lower, 1] += jaw_down
    matrix = window.matrix(size_px)
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def mouth(crop_rgb: U8, matrix: F64, **changes: Any) -> Mouth:
    """A mean face that was seen and drawn alike, unless told otherwise."""
    points = face(len(crop_rgb))
    given = {"window": WINDOW, "seen": points, "made": points, "topology": topology("mediapipe131"), "opacity": 1.0}
    return Mouth(crop_rgb=crop_rgb, matrix=matrix, **(given | changes))


def in_frame(field: np.ndarray, matrix: F64, shape: tuple[int, int]) -> F32:
    """(H, W) a crop's map over the frame, by a way of its own: each pixel looked up, none warped."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    u = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    v = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return cv2.remap(field, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderValue=0)
