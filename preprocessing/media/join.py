"""Puts the pieces of a picture together: what was encoded, and packets of the source as they are, on exact times.

Owns the order of packets, the one header that has to serve both encoders, and the proof that every frame is there once.
What is encoded and what is copied was decided by `chunks.py`; sound and all else comes in `mux.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from preprocessing.errors import MediaToolError, Unusable
from preprocessing.media.base import MediaInfo
from preprocessing.media.chunks import Chunk
from preprocessing.media.demux import opened, packets
from preprocessing.media.encode import Encoding
from preprocessing.media.gops import places
from preprocessing.media.nal import Framing, avcc
from preprocessing.media.native import FORMATS
from preprocessing.media.probe import picture
from preprocessing.media.restamp import display_order, write_track
from shards.schema import I64, FrameTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A chunk and where its pictures are."""

    chunk: Chunk
    path: Path | None
    """The encoded piece; None: the source's own packets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterReport:
    """The whole picture, without sound."""

    path: Path
    codec: str
    encoder: str | None
    """None when nothing was encoded."""
    num_frames: int
    num_copied: int
    """Frames whose packets are the source's."""
    notes: tuple[str, ...]


def join(
    parts: Sequence[Part],
    source: Path,
    out: Path,
    times: FrameTimes,
    *,
    info: MediaInfo,
    source_times: FrameTimes,
    sets: Sequence[bytes],
    encoding: Encoding,
) -> MasterReport:
    """Writes the picture track `out` (QuickTime layout): frame i of all pieces is shown at `times[i]`; atomic.

    `sets` are the parameter sets of the source (`Structure.sets`), `encoding` is the pieces' own.
    """
    _need_all(parts, len(times))
    encoded = [part.path for part in parts if part.path is not None]
    is_copying = len(encoded) < len(parts)
    with ExitStack() as files:
        original = _Source(files.enter_context(opened(source)), source, info, source_times) if is_copying else None
        pieces = [_Piece(part, original) for part in parts]
        if encoded:
            template = files.enter_context(opened(encoded[0])).streams.video[0]
        elif original is not None:
            template = original.stream
        header = None
        if original is not None and encoded and original.stream.codec_context.name == "h264":
            header = original.share_header(template, encoding, sets)
        order = np.concatenate([piece.order for piece in pieces])
        following = (p for piece in pieces for p in piece.packets(template))
        write_track(out, template, header, following, order, times)
    return MasterReport(
        path=out,
        codec=encoding.codec if encoded else picture(info).codec,
        encoder=encoding.encoder if encoded else None,
        num_frames=len(times),
        num_copied=sum(len(part.chunk) for part in parts if part.path is None),
        notes=encoding.notes if encoded else (),
    )


class _Source:
    """The source's packets, asked for in rising order and read in one pass."""

    def __init__(self, container: InputContainer, path: Path, info: MediaInfo, times: FrameTimes) -> None:
        stream = container.streams[picture(info).index]
        if not isinstance(stream, VideoStream):
            raise Unusable.because("source_changed", f"stream {stream.index} of {path.name} is no picture any more")
        self.stream = stream
        self._places = places(path, info, times)
        self._packets = enumerate(packets(container, stream.index))
        self._framing: Framing | None = None

    def share_header(self, template: VideoStream, encoding: Encoding, sets: Sequence[bytes]) -> bytes:
        """Our parameter sets beside the source's, each under its own number: every packet finds the one it names.

        The packets given from here on are in the framing of that header.
        """
        self._framing = Framing.of("h264", self.stream.codec_context.extradata)
        layout = FORMATS[encoding.pix_fmt]
        ours = Framing.of("h264", template.codec_context.extradata).sets
        return avcc([*sets, *ours], chroma=layout.chroma, bit_depth=layout.bit_depth)

    def which(self, chunk: Chunk) -> tuple[int, int]:
        """The packets [first, stop) in decoding order that show the chunk's frames; exactly those, or none."""
        inside = np.flatnonzero((self._places >= chunk.start) & (self._places < chunk.stop))
        if len(inside) != len(chunk) or inside[-1] - inside[0] + 1 != len(chunk):
            detail = f"the packets of frames [{chunk.start}, {chunk.stop}) do not stand together any more"
            raise Unusable.because("source_changed", detail)
        return int(inside[0]), int(inside[-1]) + 1

    def order(self, which: tuple[int, int]) -> I64:
        return self._places[slice(*which)]

    def take(self, which: tuple[int, int]) -> Iterator[Packet[Any]]:
        first, stop = which
        for number, packet in self._packets:
            if number >= first:
                yield packet if self._framing is None else _repacked(packet, self._framing)
            if number == stop - 1:
                return
        raise Unusable.because("truncated", f"the source's packets end before packet {stop}")


class _Piece:
    """The packets of a part, and for each the output frame it shows."""

    def __init__(self, part: Part, source: _Source | None) -> None:
        self._path, self._source = part.path, source
        if part.path is not None:
            self.order = _encoded_order(part.path, len(part.chunk)) + part.chunk.start
        elif source is not None:
            self._which = source.which(part.chunk)
            self.order = source.order(self._which)

    def packets(self, template: VideoStream) -> Iterator[Packet[Any]]:
        """In decoding order. An encoded piece must have the header of the first."""
        if self._path is None and self._source is not None:
            yield from self._source.take(self._which)
        elif self._path is not None:
            with opened(self._path) as container:
                if container.streams.video[0].codec_context.extradata != template.codec_context.extradata:
                    raise _wrong_piece(
                        self._path,
                        "pieces of one picture came from encoders of different versions; have them made again by one: "
                        "`dubwright store retry STORE`",
                    )
                yield from packets(container, 0)


def _need_all(parts: Sequence[Part], num_frames: int) -> None:
    reached = 0
    for part in parts:
        if part.chunk.start != reached or part.chunk.is_copied != (part.path is None):
            raise ValueError(f"the piece {part.chunk} does not follow frame {reached}")
        reached = part.chunk.stop
    if reached != num_frames:
        raise ValueError(f"the pieces have {reached} frames, {num_frames} are due")


def _encoded_order(path: Path, num_frames: int) -> I64:
    with opened(path) as container:
        order = display_order(p.pts for p in packets(container, 0))
    if len(order) != num_frames:
        raise _wrong_piece(path, f"an encoded piece has {len(order)} packets for {num_frames} frames")
    return order


def _wrong_piece(path: Path, message: str) -> MediaToolError:
    return MediaToolError(message, command=("join", path.name), status=0, stderr="")


def _repacked(packet: Packet[Any], framing: Framing) -> Packet[Any]:
    """The packet in the framing of the shared header; its own bytes where they are in it."""
    if framing.length_bytes == 4:
        return packet
    copied: Packet[Any] = Packet(framing.repacked(bytes(packet)))
    copied.is_keyframe = packet.is_keyframe
    return copied
