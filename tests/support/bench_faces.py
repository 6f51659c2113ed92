"""What finding, following and cropping faces costs, in ratios of one run; called by `make bench`.

Each function takes what it measures and returns one line. Processor time counts this process and the decoders it ran.
"""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import PreprocessConfig
from preprocessing.faces.keep import CropStore
from preprocessing.landmarks.face_search import FaceSearch, windows_of
from preprocessing.landmarks.mesh_graph import MeshGraph
from preprocessing.media.base import FrameSource
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from preprocessing.media.speech import read_speech


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    processor_s: float
    wall_s: float


def one_pass(video: Path) -> str:
    """Extraction of a clip against one decode of it and one landmark inference per frame; and against real time."""
    config, info = PreprocessConfig(on_missing_speech="keep"), probe(video)
    source = FfmpegSource.normalised(video, info, fps=config.media.fps, max_side_px=config.media.max_side_px)
    speech = read_speech(video, rate_hz=16_000, zero_s=source.times.at(0).seconds) if info.audio else None
    with ClipTools(config) as tools, CropStore() as crops:

        def extract() -> int:
            analysis = analyse(source, tools.backend, config, crops=crops)
            names = {"source_sha256": "0" * 64, "source_name": video.name, "code_version": "bench"}
            return sum(1 for _ in cut_clips(analysis, source, speech, tools, config, crops=crops, **names))

        decode, inference, whole = cost(lambda: drain(source)), _inference(source), cost(extract)
    seconds = len(source.times) / config.media.fps
    ratio = whole.processor_s / (decode.processor_s + inference.processor_s)
    return (
        f"{len(source.times)} frames: {ratio:.2f}x of one decode ({decode.processor_s:.1f} s) and one landmark"
        f" inference per frame ({inference.processor_s:.1f} s); {seconds / whole.wall_s:.1f}x real time"
    )


def batched_fan(crops: int = 64) -> str:
    """FAN over crops in batches against face-alignment's own loop, one frame at a time; untrained weights."""
    import torch
    from face_alignment.models import FAN
    from face_alignment.utils import flip

    from preprocessing.landmarks.fan import CROPS_AT_ONCE, heatmaps_of

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pictures = np.random.default_rng(0).integers(0, 256, (crops, 256, 256, 3), dtype=np.uint8)
    theirs = FAN(4).to(device).eval()

    @torch.no_grad()
    def loop() -> None:
        for picture in pictures:
            x = torch.from_numpy(np.stack([picture.transpose(2, 0, 1).astype(np.float32) / 255.0])).to(device)
            (theirs(x)[-1] + flip(theirs(flip(x))[-1], is_label=True)).cpu()

    ours, at_once = heatmaps_of(copy.deepcopy(theirs), device), CROPS_AT_ONCE[device]

    def batches() -> None:
        for first in range(0, crops, at_once):
            ours(pictures[first : first + at_once])

    for warm_up in (lambda: theirs(torch.zeros(1, 3, 256, 256, device=device)), lambda: ours(pictures[:at_once])):
        with torch.no_grad():
            warm_up()
    one, many = cost(loop), cost(batches)
    return (
        f"{crops} crops on {device}: {crops / many.wall_s:.1f} a second in batches of {at_once}, "
        f"{crops / one.wall_s:.1f} in the library's loop: {one.wall_s / many.wall_s:.2f}x"
        f" ({one.processor_s / many.processor_s:.2f}x in processor time)"
    )


def cost(work: Callable[[], object]) -> Cost:
    begun, spent = time.monotonic(), _processor_s()
    work()
    return Cost(processor_s=_processor_s() - spent, wall_s=time.monotonic() - begun)


def drain(source: FrameSource) -> None:
    for _ in source.frames():
        pass


def _inference(source: FrameSource, frames: int = 100) -> Cost:
    """The landmark network once per frame on the largest face of the first, scaled up from a sample of frames."""
    mesh, search = MeshGraph(), FaceSearch()
    pictures = [frame.rgb for frame in source.frames(0, min(frames, len(source.times)))]
    height, width = pictures[0].shape[:2]
    square = search.faces_in(pictures[0], windows_of(width, height)[0])[0]
    mesh.face_in(pictures[0], square)
    spent = cost(lambda: [mesh.face_in(picture, square) for picture in pictures])
    mesh.close()
    search.close()
    scale = len(source.times) / len(pictures)
    return Cost(processor_s=spent.processor_s * scale, wall_s=spent.wall_s * scale)


def _processor_s() -> float:
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)
