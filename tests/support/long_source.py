"""`python -m tests.support.long_source FRAMES`: extraction from a long drawn film; prints its clips and its peak MiB.

The film's 720p pictures are made as they are asked for, so that all the memory there is is the extraction's own.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from preprocessing.clip import ClipTools, analyse, cut_clips
from preprocessing.config import AudioConfig, PreprocessConfig
from preprocessing.faces.keep import CropStore
from preprocessing.media.base import DecodedFrame
from shards.schema import ClipSample, FrameTimes, Speech
from tests.support.fakes import DotBackend, DrawnFace, draw, media_info


class LongFilm:
    """A `FrameSource` of any length: one face that sways, over and over."""

    def __init__(self, num_frames: int) -> None:
        places = [DrawnFace(x=600 + 3 * t, y=300, eye_px=90, opening=0.02 * t) for t in range(10)]
        self._cycle = [draw([place], width=1280, height=720) for place in [*places, *places[::-1]]]
        self.times = FrameTimes(pts=np.arange(num_frames, dtype=np.int64) * 40, base=Fraction(1, 1000))
        self.info = media_info(self._cycle[0], num_frames)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        for index in range(start, len(self.times) if stop is None else stop):
            # A copy, as a decoder's pictures are: one that is held on to must show in the peak.
            yield DecodedFrame(index=index, rgb=self._cycle[index % len(self._cycle)].copy())

    def close(self) -> None:
        pass


def main() -> None:
    film, config = LongFilm(int(sys.argv[1])), PreprocessConfig(audio=AudioConfig(features=("mel",)))
    sound = Speech(samples=np.zeros(len(film.times) * 640, dtype=np.int16), rate_hz=16_000, origin_s=Fraction(0))
    names = {"source_sha256": "0" * 64, "source_name": "film", "code_version": "test"}
    with CropStore() as crops:
        analysis = analyse(film, DotBackend(), config, crops=crops)
        parts = cut_clips(analysis, film, sound, ClipTools(config), config, crops=crops, **names)
        clips = sum(isinstance(part, ClipSample) for part in parts)
    sys.stdout.write(f"{clips} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}\n")


if __name__ == "__main__":
    main()
