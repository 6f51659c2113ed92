"""Reads pictures as displayed, 8-bit RGB, in order and in constant memory.

Owns the two readers behind `FrameSource`: a pipe from ffmpeg (any file, the right colours, the default) and decord in a
child of its own (quicker on small pictures). Frames at source bit depth are `native.py`, an even frame rate is
`resample.py`. Both readers prove that they gave as many frames as the packets promised.
"""

from __future__ import annotations

import json
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from preprocessing.errors import MediaToolError, Unusable
from preprocessing.media.base import DecodedFrame, FrameSource, MediaInfo, VideoStream
from preprocessing.media.colour import Coding
from preprocessing.media.probe import frame_times, picture
from preprocessing.media.resample import EvenSource, fitted_size
from preprocessing.media.runner import MediaPipe
from preprocessing.media.tools import raw_pictures_command
from shards.errors import RequestError
from shards.schema import F32, U8, FrameTimes

logger = logging.getLogger(__name__)

Reader = Literal["ffmpeg", "decord"]
_TURN = {0: "", 90: "transpose=clock,", 180: "hflip,vflip,", 270: "transpose=cclock,"}
# Containers with an index. Of an MPEG program stream decord silently loses the first group of pictures and repeats the
# last one, so that the count still agrees.
_DECORD_CONTAINERS = ("mov", "matroska", "avi")
_NO_DEADLINE_S = 24 * 3600.0
"""A title may be long; what guards a pipe is `stall_s`, the wait for one piece."""


def open_frames(
    path: Path,
    info: MediaInfo,
    *,
    reader: str = "ffmpeg",
    times: FrameTimes | None = None,
    deadline_s: float = _NO_DEADLINE_S,
    stall_s: float = 60.0,
) -> FrameSource:
    """The reader of that name over the file; refuses an unknown name."""
    if reader == "ffmpeg":
        return FfmpegSource(path, info, times=times, deadline_s=deadline_s, stall_s=stall_s)
    if reader == "decord":
        return DecordSource(path, info, times=times, deadline_s=deadline_s, stall_s=stall_s)
    raise RequestError("unknown reader", field="reader", value=reader, choices=get_args(Reader))


class PipedSource(ABC):
    """What both readers share: a program writes RGB frames of one size, we count them."""

    def __init__(
        self, path: Path, info: MediaInfo, *, times: FrameTimes | None, deadline_s: float, stall_s: float
    ) -> None:
        self.path, self.info = path, info
        self.times = times if times is not None else frame_times(path, info)
        self._deadline_s, self._stall_s = deadline_s, stall_s
        self._running: set[MediaPipe] = set()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[DecodedFrame]:
        """Frames [start, stop); each call is a new pass, and its program ends with the iteration."""
        stop = len(self.times) if stop is None else stop
        if not 0 <= start <= stop <= len(self.times):
            raise RequestError(f"frames [{start}, {stop}) of {len(self.times)}", where=self.path.name, field="frames")
        return self._read(start, stop)

    def close(self) -> None:
        """Ends every program still running for this source."""
        for pipe in tuple(self._running):
            pipe.end()

    def _read(self, start: int, stop: int) -> Iterator[DecodedFrame]:
        if start == stop:
            return
        video = picture(self.info)
        command = self._command(start, stop)
        with MediaPipe(command, deadline_s=self._deadline_s, stall_s=self._stall_s) as pipe:
            self._running.add(pipe)
            try:
                self._header(pipe)
                for index in range(start, stop):
                    rgb = np.empty((video.height, video.width, 3), np.uint8)
                    if pipe.read_into(rgb.data.cast("B")) != rgb.nbytes:
                        raise ended_early(pipe, index, len(self.times))
                    yield DecodedFrame(index=index, rgb=self._finished(rgb))
                ended_whole(pipe, len(self.times))
            finally:
                self._running.discard(pipe)

    @abstractmethod
    def _command(self, start: int, stop: int) -> Sequence[str]:
        """The program that writes frames [start, stop) to its stdout."""

    def _header(self, pipe: MediaPipe) -> None:  # noqa: B027 - most programs have none, so there is nothing to override
        """What comes before the first frame; nothing, for most programs."""

    def _finished(self, rgb: U8) -> U8:
        return rgb


class FfmpegSource(PipedSource):
    """Pictures through a pipe from ffmpeg: any container, rotation and colour matrix as the file asks."""

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        *,
        times: FrameTimes | None = None,
        size: tuple[int, int] | None = None,
        deadline_s: float = _NO_DEADLINE_S,
        stall_s: float = 60.0,
    ) -> None:
        """`size` is (width, height) in px as displayed; without it pictures come as they are."""
        self._stored = picture(info)
        if size is not None:
            info = replace(info, video=replace(self._stored, width=size[0], height=size[1]))
        super().__init__(path, info, times=times, deadline_s=deadline_s, stall_s=stall_s)

    @classmethod
    def normalised(
        cls,
        path: Path,
        info: MediaInfo,
        *,
        fps: int,
        max_side_px: int,
        times: FrameTimes | None = None,
        deadline_s: float = _NO_DEADLINE_S,
        stall_s: float = 60.0,
    ) -> FrameSource:
        """The training view: an even frame rate, and no side longer than `max_side_px`."""
        size = fitted_size(picture(info), max_side_px)
        inner = cls(path, info, times=times, size=size, deadline_s=deadline_s, stall_s=stall_s)
        return EvenSource(inner, Fraction(fps))

    def _command(self, start: int, stop: int) -> Sequence[str]:
        """Counts frames from the beginning: seeking by time is not exact in every container."""
        trim = f"trim=start_frame={start}:end_frame={stop}," if (start, stop) != (0, len(self.times)) else ""
        filters = trim + to_rgb_filters(self._stored, picture(self.info))
        return raw_pictures_command(self.path, self._stored.index, filters=filters, pix_fmt="rgb24")


class DecordSource(PipedSource):
    """Pictures through decord, in a child that can be killed: it hangs on some files and keeps the interpreter lock.

    Refuses (`frame_count`) a file whose length decord tells otherwise than the packets do; the caller may fall back.
    """

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        *,
        times: FrameTimes | None = None,
        batch: int = 8,
        deadline_s: float = _NO_DEADLINE_S,
        stall_s: float = 60.0,
    ) -> None:
        if not set(info.container.split(",")) & set(_DECORD_CONTAINERS):
            raise Unusable.because("decord_container", f"decord misreads {info.container}; use the ffmpeg reader")
        super().__init__(path, info, times=times, deadline_s=deadline_s, stall_s=stall_s)
        self._batch = batch
        self._correction = _matrix_correction(picture(info))
        with MediaPipe(self._command(0, 0), deadline_s=stall_s) as pipe:
            self._header(pipe)

    def _command(self, start: int, stop: int) -> Sequence[str]:
        child = Path(__file__).with_name("decord_child.py")
        # -P: the child's folder must not become an import path, its neighbours have common names.
        return (sys.executable, "-P", str(child), str(self.path.absolute()), str(start), str(stop), str(self._batch))

    def _header(self, pipe: MediaPipe) -> None:
        """Count, size and times as decord sees them must be ours: it opens cut files and misstates their length."""
        length = int.from_bytes(pipe.read(8), "little")
        if length == 0:
            raise self._refused(pipe)
        said = json.loads(pipe.read(length))
        video = picture(self.info)
        if said["count"] != len(self.times):
            raise Unusable.because("frame_count", f"decord counts {said['count']} frames, packets {len(self.times)}")
        if (said["width"], said["height"]) != (video.width, video.height):
            raise Unusable.because("frame_size", f"decord gives {said['width']}x{said['height']} pictures")
        ours = self.times.from_zero().seconds()
        worst = float(np.abs(ours - np.array(said["starts_s"])).max())
        # decord keeps times as float32 seconds from the first frame: half a millisecond an hour into a file.
        if worst > 1e-3 + 1e-6 * float(ours[-1]):
            raise Unusable.because("frame_times", f"decord's times are up to {worst:.3f} s from the packets'")

    def _refused(self, pipe: MediaPipe) -> Exception:
        try:
            pipe.finish()
        except MediaToolError as error:
            if error.status is not None and error.status > 0:
                return Unusable.because("unreadable", f"decord: {error.stderr.strip()[-300:]}")
            return error
        return Unusable.because("unreadable", "decord ended without a word")

    def _finished(self, rgb: U8) -> U8:
        if self._correction is None:
            return rgb
        fixed: U8 = np.clip(np.rint(rgb.astype(np.float32) @ self._correction.T), 0, 255).astype(np.uint8)
        return fixed


def to_rgb_filters(stored: VideoStream, shown: VideoStream) -> str:
    """The ffmpeg filters from stored pictures to RGB ones: turn, then size and colours in one step."""
    coding = Coding.of(stored)
    return (
        f"{_TURN[stored.rotation]}scale={shown.width}:{shown.height}"
        f":in_color_matrix={coding.ffmpeg_matrix}:in_range={'pc' if coding.is_full else 'tv'}:out_range=pc"
        ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
        # By way of planes: to packed RGB directly, ffmpeg's scaler takes a path that is far slower, to the same bytes.
        ",format=gbrp,format=rgb24"
    )


def ended_whole(pipe: MediaPipe, promised: int) -> None:
    """After the last frame there is nothing more, and the program is content."""
    if pipe.read(1):
        raise Unusable.because("frame_count", f"more pictures decode than the {promised} packets promise")
    pipe.finish()


def ended_early(pipe: MediaPipe, index: int, promised: int) -> Exception:
    """Why there was no frame `index`: the footage's fault, unless the program itself crashed."""
    try:
        said = pipe.finish()
    except MediaToolError as error:
        if error.status is None or error.status < 0:
            return error
        said = error.stderr
    if index == 0:
        return Unusable.because("unreadable", f"no picture of it can be decoded. {said.strip()[-300:]}")
    return Unusable.because("truncated", f"pictures end after {index} of {promised} frames. {said.strip()[-300:]}")


def _matrix_correction(video: VideoStream) -> F32 | None:
    """decord reads untagged pictures as BT.601; this turns its RGB into what we take them for, or None when equal."""
    if video.color_space not in (None, "unknown", "unspecified"):
        return None
    ours, theirs = Coding.of(video), replace(Coding.of(video), matrix="bt601")
    if ours.matrix == theirs.matrix:
        return None
    correction: F32 = (ours.to_rgb_matrix() @ np.linalg.inv(theirs.to_rgb_matrix())).astype(np.float32)
    return correction
