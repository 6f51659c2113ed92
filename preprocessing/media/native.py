"""Frames as the file stores them: its own bit depth, chroma and orientation, for dubbing.

Owns the planes and their pixel formats. `decode.py` reads the same frames as people see them, `encode.py` writes these.
Rotation stays a flag: pictures here are *not* turned. A title's beginning is read through a pipe from ffmpeg. A part in
the middle is decoded from the group of pictures that holds it, where that gives the same bits: every frame is known by
its time, and from the first that is not the one due, the pipe takes over, which counts from the beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from preprocessing.errors import Unusable
from preprocessing.media.base import MediaInfo, VideoStream
from preprocessing.media.decode import ended_early, ended_whole
from preprocessing.media.demux import opened, packets_from
from preprocessing.media.probe import frame_times, picture
from preprocessing.media.runner import MediaPipe
from preprocessing.media.tools import raw_pictures_command
from shards.errors import RequestError
from shards.schema import FrameTimes

logger = logging.getLogger(__name__)

_EXACT = ("h264", "hevc", "vp9", "av1", "ffv1", "prores", "dnxhd")
"""Codecs whose decoded bits are laid down, or are seen to be the same in ffmpeg and in the libraries PyAV brings."""
Plane = NDArray[Any]
"""(H, W) uint8, or uint16 where a sample has more than 8 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """A planar YUV layout."""

    name: str
    bit_depth: int
    chroma: tuple[int, int]
    """(columns, rows) of pixels that share one chroma sample."""

    def shapes(self, width: int, height: int) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the Y, Cb and Cr planes; an odd edge still has its chroma sample."""
        small = (-(-height // self.chroma[1]), -(-width // self.chroma[0]))
        return ((height, width), small, small)

    @property
    def sample(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.bit_depth == 8 else np.uint16


_CHROMA = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}
FORMATS: dict[str, PixelFormat] = {
    name: PixelFormat(name=name, bit_depth=depth, chroma=chroma)
    for digits, chroma in _CHROMA.items()
    for name, depth in ((f"yuv{digits}p", 8), (f"yuvj{digits}p", 8), (f"yuv{digits}p10le", 10))
}
# Layouts that no encoder of ours takes, and the nearest that loses least. Where bits or colours are lost it is said.
_NEAREST = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p",
    "p010le": "yuv420p10le", "p010be": "yuv420p10le", "p210le": "yuv422p10le",
    "yuv420p10be": "yuv420p10le", "yuv422p10be": "yuv422p10le", "yuv444p10be": "yuv444p10le",
    "yuv420p9le": "yuv420p10le", "yuv422p9le": "yuv422p10le", "yuv444p9le": "yuv444p10le",
}  # fmt: skip
_LOSSY_NEAREST = {
    "yuv420p12le": "yuv420p10le", "yuv422p12le": "yuv422p10le", "yuv444p12le": "yuv444p10le",
    "p016le": "yuv420p10le", "yuv420p16le": "yuv420p10le", "yuv422p16le": "yuv422p10le", "yuv444p16le": "yuv444p10le",
    "yuva420p": "yuv420p", "yuva422p": "yuv422p", "yuva444p": "yuv444p", "yuva444p10le": "yuv444p10le",
    "yuva444p12le": "yuv444p10le", "yuv411p": "yuv422p", "yuv410p": "yuv420p", "yuv440p": "yuv444p", "gray": "yuv420p",
    "gray10le": "yuv420p10le",
}  # fmt: skip
_RGB_NEAREST = {
    "rgb24": "yuv444p", "bgr24": "yuv444p", "bgr0": "yuv444p", "rgb0": "yuv444p", "rgba": "yuv444p", "bgra": "yuv444p",
    "pal8": "yuv444p", "gbrp": "yuv444p", "gbrp10le": "yuv444p10le", "gbrp12le": "yuv444p10le",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NativeFrame:
    """One stored picture."""

    index: int
    """0-based position in display order."""
    planes: tuple[Plane, Plane, Plane]
    """Y, Cb, Cr as stored; shapes by the pixel format."""
    pix_fmt: str

    @property
    def format(self) -> PixelFormat:
        return FORMATS[self.pix_fmt]


def native_format(video: VideoStream) -> tuple[PixelFormat, str | None]:
    """The layout frames are read in, and a sentence where that loses something of the source's own."""
    if video.pix_fmt in FORMATS:
        return FORMATS[video.pix_fmt], None
    if video.pix_fmt in _NEAREST:
        return FORMATS[_NEAREST[video.pix_fmt]], None
    near = _LOSSY_NEAREST.get(video.pix_fmt) or _RGB_NEAREST.get(video.pix_fmt)
    if near is None:
        raise Unusable.because("pixel_format", f"pictures in {video.pix_fmt} cannot be dubbed; convert to yuv422p10le")
    return FORMATS[near], f"{video.pix_fmt} pictures are carried as {near}, the nearest layout that can be written"


def native_video(video: VideoStream) -> VideoStream:
    """The description of the frames as `NativeSource` gives them: what colours and encoders must go by."""
    layout, _ = native_format(video)
    described = replace(video, pix_fmt=layout.name, bit_depth=layout.bit_depth)
    if video.pix_fmt in _RGB_NEAREST:
        return replace(described, color_space="bt709", color_range="tv")
    return described


def stored_size(video: VideoStream) -> tuple[int, int]:
    """(width, height) in px of the stored picture, before the player turns it."""
    return (video.width, video.height) if video.rotation % 180 == 0 else (video.height, video.width)


class NativeSource:
    """Reads a title's pictures in order, bit for bit, in constant memory."""

    def __init__(
        self,
        path: Path,
        info: MediaInfo,
        *,
        times: FrameTimes | None = None,
        deadline_s: float = 24 * 3600.0,
        stall_s: float = 60.0,
    ) -> None:
        self.path, self.info = path, info
        self.times = times if times is not None else frame_times(path, info)
        self.format, self.note = native_format(picture(info))
        self._deadline_s, self._stall_s = deadline_s, stall_s
        self._running: set[MediaPipe] = set()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[NativeFrame]:
        """Frames [start, stop) in display order; raises `Unusable` when the file ends before its frames do."""
        stop = len(self.times) if stop is None else stop
        if not 0 <= start <= stop <= len(self.times):
            raise RequestError(f"frames [{start}, {stop}) of {len(self.times)}", where=self.path.name, field="frames")
        return self._read(start, stop)

    def close(self) -> None:
        """Ends every program still running for this source."""
        for pipe in tuple(self._running):
            pipe.end()

    def _read(self, start: int, stop: int) -> Iterator[NativeFrame]:
        reached = start
        if start > 0 and picture(self.info).codec in _EXACT:
            for frame in self._sought(start, stop):
                yield frame
                reached += 1
        yield from self._piped(reached, stop)

    def _sought(self, start: int, stop: int) -> Iterator[NativeFrame]:
        """Frames from `start` on as far as each is proved to be the one due; a decoder's complaint ends it, too."""
        index = picture(self.info).index
        with opened(self.path) as container:
            context = container.streams[index].codec_context
            # One thread: another that logs, while the interpreter ends it, waits for ever for the interpreter.
            context.thread_type, context.thread_count = "NONE", 1
            following = packets_from(container, index, int(self.times.pts[start]))
            decoded = _decoded(context, following) if following is not None else iter(())
            due = start
            while due < stop and (frame := next(decoded, None)) is not None:
                if frame.pts is not None and frame.pts < self.times.pts[start]:
                    continue
                if frame.pts != self.times.pts[due] or frame.is_corrupt or frame.format.name != self.format.name:
                    return
                yield NativeFrame(index=due, planes=_planes(frame, self.format), pix_fmt=self.format.name)
                due += 1

    def _piped(self, start: int, stop: int) -> Iterator[NativeFrame]:
        if start == stop:
            return
        shapes = self.format.shapes(*stored_size(picture(self.info)))
        with MediaPipe(self._command(start, stop), deadline_s=self._deadline_s, stall_s=self._stall_s) as pipe:
            self._running.add(pipe)
            try:
                for index in range(start, stop):
                    planes = tuple(np.empty(shape, self.format.sample) for shape in shapes)
                    if any(pipe.read_into(p.data.cast("B")) != p.nbytes for p in planes):
                        raise ended_early(pipe, index, len(self.times))
                    yield NativeFrame(index=index, planes=(planes[0], planes[1], planes[2]), pix_fmt=self.format.name)
                ended_whole(pipe, len(self.times))
            finally:
                self._running.discard(pipe)

    def _command(self, start: int, stop: int) -> list[str]:
        video = picture(self.info)
        filters = [] if (start, stop) == (0, len(self.times)) else [f"trim=start_frame={start}:end_frame={stop}"]
        if video.pix_fmt in _RGB_NEAREST:
            filters.append("scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int")
        return raw_pictures_command(self.path, video.index, filters=",".join(filters), pix_fmt=self.format.name)


def _decoded(context: Any, following: Iterator[Packet[Any]]) -> Iterator[VideoFrame]:
    """Frames in display order; ends where the decoder gives up."""
    try:
        for packet in following:
            yield from context.decode(packet)
        yield from context.decode(None)
    except (av.error.FFmpegError, Unusable) as error:
        logger.info("decoding from the middle ended: %s", error)


def _planes(frame: VideoFrame, layout: PixelFormat) -> tuple[Plane, Plane, Plane]:
    """Copies: a decoder uses the memory of its frames again."""
    found = []
    for plane, (rows, columns) in zip(frame.planes, layout.shapes(frame.width, frame.height), strict=True):
        lines = np.frombuffer(memoryview(plane), layout.sample).reshape(plane.height, -1)
        found.append(lines[:rows, :columns].copy())
    return found[0], found[1], found[2]
