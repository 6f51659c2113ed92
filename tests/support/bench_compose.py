"""What putting one mouth back costs: CPU time a frame, at 1080p, with a face 400 px high."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from preprocessing.compose.light import matched
from preprocessing.compose.paste import compose
from preprocessing.compose.seam import seam_contrast
from preprocessing.media.native import NativeFrame
from shards.schema import Landmarks
from tests.support.pasting import WINDOW, face, mouth
from tests.support.streams import video_stream

ROUNDS = 40
UNIT_PX = 160
"""Eye unit of such a face, from which its mean face is 400 px from crown to chin."""


def compose_cost() -> str:
    """One thread, so that nothing hides behind a second core."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        costs = [f"{size} px crop {_paste_ms(size):.1f} ms" for size in (128, 256, 512)]
        return f"{', '.join(costs)}; light {_light_ms(128):.1f} ms; seam {_paste_ms(128, seam=True):.1f} ms"
    finally:
        cv2.setNumThreads(threads)


def _paste_ms(size: int, seam: bool = False) -> float:
    scale = size / WINDOW.side / UNIT_PX
    middle = np.full(2, size / 2 - 0.5)
    matrix = np.column_stack([np.eye(2) * scale, middle - scale * np.array([960.0, 540.0])])
    video, rng = video_stream(width=1920, height=1080), np.random.default_rng(0)
    planes = [_skin(rng, (1080 // n, 1920 // n), 8.0) for n in (1, 2, 2)]
    frame = NativeFrame(index=3, planes=(planes[0], planes[1], planes[2]), pix_fmt="yuv420p")
    crop = np.dstack([_skin(rng, (size, size), size / 20) for _ in range(3)])
    item = mouth(crop, matrix, made=face(size, jaw_down=0.1))
    made = compose(frame, [item], video)
    if seam:
        return _least_ms(lambda: seam_contrast(frame, made, item, video))
    return _least_ms(lambda: compose(frame, [item], video))


def _light_ms(size: int, frames: int = 25) -> float:
    rng = np.random.default_rng(1)
    source = np.stack([np.dstack([_skin(rng, (size, size), 6.0) for _ in range(3)]) for _ in range(frames)])
    given = np.clip(source + 10.0, 0, 255).astype(np.uint8)
    points = Landmarks(
        points=np.repeat(face(size)[None], frames, axis=0),
        confidence=np.ones(frames, np.float32),
        topology_name="mediapipe131",
        space="crop",
    )
    return _least_ms(lambda: matched(given, source, points, points, WINDOW), rounds=3) / frames


def _skin(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    soft = cv2.GaussianBlur(rng.normal(0, 40 * sigma, shape).astype(np.float32), (0, 0), sigma)
    return np.clip(120 + soft + rng.normal(0, 2, shape), 16, 235).astype(np.uint8)


def _least_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    work()
    found = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found) * 1000
