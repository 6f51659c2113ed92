"""What ffmpeg does not write into an MP4 or QuickTime file's table of contents: languages, HDR, and "off".

Owns the few boxes it touches: `elng` (a track's whole language tag), its three letters in `mdhd` (in QuickTime files
ffmpeg knows only some, by names of its own), `mdcv` and `clli` (how HDR was mastered), and the bit that switches a
track on. The table is made anew and written where it was; that moves no sample, because it is the last thing in a file
that ffmpeg finished. Anywhere else it is refused with `LayoutError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from preprocessing.errors import LayoutError
from preprocessing.media.hdr import StaticHdr
from preprocessing.media.tracks import TrackLabel

_MOST_TABLE_BYTES = 1 << 30
_VISUAL_ENTRY_BYTES = 78
"""What stands in a picture's sample entry before its boxes."""

Part = tuple[bytes, bytes]
"""A box: its type and what is in it."""


def full_languages(path: Path) -> Mapping[int, str]:
    """Track id -> the extended tag, of the tracks that have one."""
    with path.open("rb") as stream:
        start, size, _ = _find_table(stream)
        table = _whole(stream, start, size)
    found = {}
    for track in (body for kind, body in _parts(table) if kind == b"trak"):
        tag = dict(_parts(dict(_parts(track)).get(b"mdia", b""))).get(b"elng")
        if tag is not None:
            found[_track_id(track)] = tag[4:].split(b"\0")[0].decode(errors="replace")
    return found


def label(path: Path, labels: Sequence[TrackLabel | None]) -> None:
    """Puts each label on its track, in the file's order; None leaves a track alone."""
    with path.open("r+b") as stream:
        start, size, is_last = _find_table(stream)
        if not is_last:
            raise LayoutError(f"the table of contents of {path.name} does not stand at its end; pictures would move")
        waiting, made = list(labels), b""
        for kind, body in _parts(_whole(stream, start, size)):
            wanted = waiting.pop(0) if kind == b"trak" and waiting else None
            made += _box(kind, body if wanted is None else _labelled(body, wanted))
        if waiting:
            raise LayoutError(f"{path.name} has {len(waiting)} tracks fewer than labels")
        stream.seek(start - 8)
        stream.write(_box(b"moov", made))
        stream.truncate()


def _labelled(track: bytes, wanted: TrackLabel) -> bytes:
    if not wanted.is_enabled:
        track = _edited(track, (b"tkhd",), _switched_off)
    if wanted.code:
        packed = _packed(wanted.code)
        track = _edited(track, (b"mdia", b"mdhd"), lambda header: _with_code(header, packed))
    if wanted.language:
        tag = _box(b"elng", bytes(4) + wanted.language.encode() + b"\0")
        track = _edited(track, (b"mdia",), lambda media: _after(media, b"mdhd", tag))
    if wanted.hdr:
        path = (b"mdia", b"minf", b"stbl", b"stsd")
        track = _edited(track, path, lambda table: _with_hdr(table, wanted.hdr))
    return track


def _packed(code: str) -> bytes:
    """Three letters of five bits each; QuickTime, too, reads them so from 0x400 on."""
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return (first << 10 | second << 5 | third).to_bytes(2, "big")


def _with_code(header: bytes, packed: bytes) -> bytes:
    at = 32 if header[:1] == b"\1" else 20
    return header[:at] + packed + header[at + 2 :]


def _switched_off(header: bytes) -> bytes:
    """The first bit of the flags says that a player plays the track by itself."""
    return header[:3] + bytes([header[3] & 0xFE]) + header[4:]


def _after(media: bytes, place: bytes, new: bytes) -> bytes:
    parts = [part for part in _parts(media) if part[0] != b"elng"]
    return b"".join(_box(*part) + (new if part[0] == place else b"") for part in parts)


def _with_hdr(table: bytes, hdr: StaticHdr) -> bytes:
    """The sample table with the description on each of its entries."""
    replaced = {b"mdcv": hdr.mastering, b"clli": hdr.light}
    new = b""
    if hdr.mastering is not None:
        new += _box(b"mdcv", struct.pack(">8H2I", *hdr.mastering))
    if hdr.light is not None:
        new += _box(b"clli", struct.pack(">2H", *(min(value, 0xFFFF) for value in hdr.light)))
    entries = []
    for kind, entry in _parts(table[8:]):
        head, boxes = entry[:_VISUAL_ENTRY_BYTES], _parts(entry[_VISUAL_ENTRY_BYTES:])
        kept = [_box(*part) for part in boxes if not replaced.get(part[0])]
        entries.append(_box(kind, b"".join([head, *kept, new])))
    return table[:8] + b"".join(entries)


def _edited(body: bytes, path: Sequence[bytes], edit: Callable[[bytes], bytes]) -> bytes:
    """The contents of a box with one box far down inside it edited."""
    parts = list(_parts(body))
    if [kind for kind, _ in parts].count(path[0]) != 1:
        raise LayoutError(f"there should be one `{path[0].decode()}` in a track's description")
    changed = edit if len(path) == 1 else lambda inner: _edited(inner, path[1:], edit)
    return b"".join(_box(kind, changed(data) if kind == path[0] else data) for kind, data in parts)


def _track_id(track: bytes) -> int:
    header = dict(_parts(track)).get(b"tkhd", b"")
    at = 20 if header[:1] == b"\1" else 12
    if len(header) < at + 4:
        raise LayoutError("a track has no header")
    return int.from_bytes(header[at : at + 4], "big")


# -- boxes -------------------------------------------------------------------------------------------------------------


def _find_table(stream: BinaryIO) -> tuple[int, int, bool]:
    """Where the contents of `moov` begin, how long they are, and whether nothing follows them."""
    end, at = stream.seek(0, 2), 0
    while at + 8 <= end:
        stream.seek(at)
        head = stream.read(16)
        size, kind, begins = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:
            size, begins = int.from_bytes(head[8:16], "big"), 16
        size = size or end - at
        if size < begins or at + size > end:
            raise LayoutError(f"box `{kind.decode('latin-1')}` goes on after the end of the file")
        if kind == b"moov":
            if begins != 8 or size > _MOST_TABLE_BYTES:
                raise LayoutError(f"the table of contents claims {size} bytes")
            return at + 8, size - 8, at + size == end
        at += size
    raise LayoutError("the file has no table of contents (`moov`)")


def _whole(stream: BinaryIO, at: int, size: int) -> bytes:
    stream.seek(at)
    return stream.read(size)


def _parts(data: bytes) -> Iterator[Part]:
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > len(data):
            raise LayoutError(f"box `{kind.decode('latin-1')}` is not as long as it says")
        yield kind, data[at + 8 : at + size]
        at += size
    if any(data[at:]):  # QuickTime ends some lists with four zero bytes
        raise LayoutError("a box is followed by bytes that are none")


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body
