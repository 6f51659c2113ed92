"""A foreign file's packets, through PyAV, which says more of them than ffprobe: their bytes.

Owns opening (the same guard as `tools.input_args`) and the one way to begin reading elsewhere than at the beginning.
What packets mean is `gops.py`; frames are `native.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet

from preprocessing.errors import Unusable
from preprocessing.media.nal import Framing, is_entry
from preprocessing.media.tools import CONTAINERS

WITH_UNITS = ("h264", "hevc")
"""Codecs whose packets are made of NAL units."""
_STEP_S, _TRIES = 1.0, 5
"""A container without an index is entered about there: how much earlier it is tried again, doubling each time."""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The file, only if it is a container and only from disk."""
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
    try:
        container = av.open(str(path.absolute()), options=options)
    except (av.error.FFmpegError, ValueError) as error:
        raise Unusable.because("unreadable", f"{path.name} cannot be opened: {error}") from error
    with container:
        yield container


def packets(container: InputContainer, stream: int) -> Iterator[Packet[Any]]:
    """The stream's packets in decoding order; raises `Unusable` where the container is broken."""
    try:
        yield from (p for p in container.demux(container.streams[stream]) if p.size)
    except av.error.FFmpegError as error:
        raise Unusable.because("unreadable", f"the packets cannot be read to their end: {error}") from error


def packets_from(container: InputContainer, stream: int, pts: int) -> Iterator[Packet[Any]] | None:
    """Packets from one on with which a decoder may begin so that the frame shown at `pts` is exact; None if none is
    found."""
    video = container.streams[stream]
    codec = video.codec_context.name
    framing = Framing.of(codec, video.codec_context.extradata) if codec in WITH_UNITS else None
    step = max(1, int(_STEP_S / video.time_base)) if video.time_base else 1
    target = pts
    for attempt in range(_TRIES):
        container.seek(target, stream=video, backward=True)
        following = packets(container, stream)
        for packet in following:
            if packet.pts is None:
                return None
            if packet.is_keyframe and (framing is None or is_entry(codec, list(framing.units(bytes(packet))))):
                if packet.pts <= pts:
                    return _chained(packet, following)
                break  # the entry comes too late: begin earlier
        target = pts - step * 2**attempt
    return None


def _chained(first: Packet[Any], following: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    yield first
    yield from following
