"""The first pass over a source's pictures: shots, faces and tracks while frames stream by.

It keeps points and a few pictures, never a whole shot. Order matters: a cut is known before the faces of its frame
are, so no face is ever followed over it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from preprocessing.config import FaceConfig
from preprocessing.faces.base import Shot
from preprocessing.faces.keep import CropKeeper
from preprocessing.faces.shots import CutDetector
from preprocessing.faces.track import FaceTracker, FollowedFace
from preprocessing.landmarks.base import LandmarkBackend
from preprocessing.media.base import DecodedFrame

_MOST_BYTES = 128 << 20
"""Of pictures waiting for the landmark backend: what it likes to be given at once may be too much at 4K."""


class Survey:
    """Push every frame in order, `end_shot` after the last; then `shots` and `faces` are complete."""

    def __init__(
        self, backend: LandmarkBackend, config: FaceConfig, *, new_keeper: Callable[[], CropKeeper] | None = None
    ) -> None:
        self._backend, self._config, self._new_keeper = backend, config, new_keeper
        self._cuts = CutDetector(config.cut_threshold)
        self._waiting: list[DecodedFrame] = []
        self._start = 0
        self.num_frames = 0
        self.width = self.height = 0
        self.shots: list[Shot] = []
        self.faces: list[FollowedFace] = []
        self._begin_shot()

    def push(self, frame: DecodedFrame) -> None:
        if self._cuts.is_cut(frame.rgb):
            self.end_shot()
        self._waiting.append(frame)
        self.height, self.width = frame.rgb.shape[:2]
        self.num_frames = frame.index + 1
        if len(self._waiting) >= min(self._backend.batch, _MOST_BYTES // frame.rgb.nbytes):
            self._infer()

    def end_shot(self) -> None:
        self._infer()
        if self.num_frames > self._start:
            self.shots.append(Shot(index=len(self.shots), start=self._start, stop=self.num_frames))
            self.faces += self._tracker.finish(self.shots[-1])
        self._begin_shot()

    def _begin_shot(self) -> None:
        self._start = self.num_frames
        self._tracker = FaceTracker(self._config, self._backend.topology, new_keeper=self._new_keeper)
        self._backend.reset()

    def _infer(self) -> None:
        if self._waiting:
            rgbs = [frame.rgb for frame in self._waiting]
            # One picture is a view of itself: at 720p the copy would cost a tenth of looking at it.
            found = self._backend.infer(np.stack(rgbs) if len(rgbs) > 1 else rgbs[0][None])
            for frame, faces in zip(self._waiting, found, strict=True):
                self._tracker.push(frame.index, frame.rgb, faces)
        self._waiting.clear()
