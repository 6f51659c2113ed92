"""Crops made while the pictures pass for the first time, so that cutting clips need not decode them again.

A crop is final once the smoothing has seen far enough ahead. Until then the part of the picture it can come from is
kept, and no more; then the crop goes to a file. What does not fit the file is left to a second read: nothing depends on
whether a crop was kept, not even its last bit.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from preprocessing.config import CropConfig
from preprocessing.faces.align import CHUNK, crop_matrices, raw_chunk, reach_frames
from preprocessing.faces.crop import PicturePart, crop_part, kept_part
from shards.schema import F32, F64, U8
from shards.topology import topology

MOST_BYTES = 8 << 30
"""Of the file: three quarters of an hour of one face at 256 px, three hours at 128 px."""


class CropStore:
    """Crops of one size in a file without a name, and which track's they are. Gone when closed."""

    def __init__(self, folder: Path | None = None, *, most_bytes: int = MOST_BYTES) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        self._most_bytes, self._size_bytes = most_bytes, 0
        self._tracks: dict[int, list[int]] = {}

    def put(self, crop: U8) -> int | None:
        """Where it lies; None where the file may not grow further."""
        if self._size_bytes + crop.nbytes > self._most_bytes:
            return None
        place = self._size_bytes
        self._file.write(np.ascontiguousarray(crop).data)
        self._size_bytes += crop.nbytes
        return place

    def name(self, number: int, places: Sequence[int] | None) -> None:
        """`places` are the crops of the analysis's track `number`, row by row; None where they were not all kept."""
        if places is not None:
            self._tracks[number] = list(places)

    def has(self, number: int) -> bool:
        return number in self._tracks

    def rows(self, number: int, start: int, stop: int, size_px: int) -> list[U8]:
        """The crops of rows [start, stop) of that track."""
        crops = []
        for place in self._tracks[number][start:stop]:
            self._file.seek(place)
            data = self._file.read(3 * size_px * size_px)
            crops.append(np.frombuffer(data, dtype=np.uint8).reshape(size_px, size_px, 3))
        self._file.seek(self._size_bytes)
        return crops

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> CropStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CropKeeper:
    """Makes one track's crops while its frames pass; `finish` says where they lie."""

    def __init__(self, store: CropStore, config: CropConfig, topology_name: str, *, sigma_frames: float) -> None:
        self._store, self._config, self._topology = store, config, topology(topology_name)
        self._sigma, self._reach = sigma_frames, reach_frames(sigma_frames)
        self._raw: F64 = np.empty((0, 4))
        self._waiting: list[tuple[F32, U8]] = []
        self._parts: deque[PicturePart] = deque()
        self._places: list[int] | None = []

    def add(self, points: F32, rgb: U8) -> None:
        """The track's next frame."""
        if self._places is not None:
            self._waiting.append((points, rgb))
            if len(self._waiting) == CHUNK:
                self._measure()
                self._settle(len(self._raw) - self._reach)

    def give_up(self) -> None:
        """A frame is not to be had: the track is left to a second read."""
        self._places = None
        self._waiting.clear()
        self._parts.clear()

    def finish(self) -> list[int] | None:
        if self._places is not None:
            self._measure()
            self._settle(len(self._raw))
        return self._places

    def _measure(self) -> None:
        if not self._waiting:
            return
        points = np.stack([p for p, _ in self._waiting])
        rows = raw_chunk(points, self._topology, self._config, self._raw[-1:])
        if not np.isfinite(rows).all():
            self.give_up()
            return
        self._raw = np.concatenate([self._raw, rows])
        self._parts += [kept_part(rgb, row, self._config) for row, (_, rgb) in zip(rows, self._waiting, strict=True)]
        self._waiting.clear()

    def _settle(self, stop: int) -> None:
        """Crops the rows before `stop` that are not done: no later frame moves them."""
        if self._places is None or stop <= len(self._places):
            return
        done = len(self._places)
        first = max(done - self._reach, 0)
        matrices = crop_matrices(self._raw[first:], self._config, sigma_frames=self._sigma)
        for matrix in matrices[done - first : stop - first]:
            place = self._store.put(crop_part(self._parts.popleft(), matrix, self._config.size_px))
            if place is None:
                self.give_up()
                return
            self._places.append(place)
