"""What ffmpeg does not write into a Matroska file's track table: full language tags, and how HDR was mastered.

Owns the few EBML elements it touches. ffmpeg is asked to leave room (`ROOM` behind a track's name); here those bytes
become other elements of the same table, and what is left over a void: the table keeps its size, so no offset moves.
Anything that is not laid out as expected is refused with `LayoutError`, never guessed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from preprocessing.errors import LayoutError
from preprocessing.media.hdr import CHROMATICITY_UNITS, LUMINANCE_UNITS, StaticHdr
from preprocessing.media.tracks import TrackLabel

ROOM = "~" * 200
"""Appended to the name of a track that is to be labelled; the longest label needs 150 bytes."""

_EBML, _SEGMENT, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675
_CRC, _VOID, _ENTRY, _TYPE, _NAME, _FULL_LANGUAGE = 0xBF, 0xEC, 0xAE, 0x83, 0x536E, 0x22B59D
_VIDEO, _COLOUR, _MASTERING, _MAX_CLL, _MAX_FALL = 0xE0, 0x55B0, 0x55D0, 0x55BC, 0x55BD
# In the order of `StaticHdr.mastering`: x and y of green, blue, red, white; brightest, darkest.
_MASTERING_FIELDS = (0x55D3, 0x55D4, 0x55D5, 0x55D6, 0x55D1, 0x55D2, 0x55D7, 0x55D8, 0x55D9, 0x55DA)
_SHOWN_TYPES = (1, 2, 0x11, 0x21)
"""Picture, sound, subtitles, metadata: the kinds ffprobe counts as streams."""
_MOST_TABLE_BYTES = 64 << 20
_CRC_BYTES = 6

Part = tuple[int, bytes]
"""An element: its id and what is in it."""


def full_languages(path: Path) -> tuple[str | None, ...]:
    """The BCP-47 tag of each track, in ffprobe's order; None where only the three-letter code is there."""
    with path.open("rb") as stream:
        _, table = _track_table(stream)
    entries = [dict(_parts(body)) for id_, body in _parts(table) if id_ == _ENTRY]
    shown = [e for e in entries if int.from_bytes(e.get(_TYPE, b""), "big") in _SHOWN_TYPES]
    return tuple(
        e[_FULL_LANGUAGE].rstrip(b"\0").decode(errors="replace") if _FULL_LANGUAGE in e else None for e in shown
    )


def label(path: Path, labels: Sequence[TrackLabel | None]) -> None:
    """Puts each label on its track, in the room that was left behind the track's name; None leaves a track alone."""
    with path.open("r+b") as stream:
        at, table = _track_table(stream)
        stream.seek(at)
        stream.write(_relabelled(table, labels))


def _relabelled(table: bytes, labels: Sequence[TrackLabel | None]) -> bytes:
    """The whole table, in as many bytes as before."""
    parts, waiting, made = list(_parts(table)), list(labels), b""
    for id_, body in parts:
        if id_ == _ENTRY:
            wanted = waiting.pop(0) if waiting else None
            made += _element(id_, body if wanted is None else _labelled(body, wanted))
        elif id_ not in (_CRC, _VOID):
            made += _element(id_, body)
    if waiting:
        raise LayoutError(f"there are {len(waiting)} tracks fewer than labels")
    has_checksum = any(id_ == _CRC for id_, _ in parts)
    made += _void(len(table) - len(made) - (_CRC_BYTES if has_checksum else 0))
    return _element(_CRC, zlib.crc32(made).to_bytes(4, "little")) + made if has_checksum else made


def _labelled(entry: bytes, wanted: TrackLabel) -> bytes:
    kept = [part for part in _parts(entry) if part[0] not in (_NAME, _FULL_LANGUAGE, _VOID)]
    if wanted.name:
        kept.append((_NAME, wanted.name.encode()))
    if wanted.language:
        kept.append((_FULL_LANGUAGE, wanted.language.encode()))
    if wanted.hdr:
        kept = [(id_, _with_hdr(data, wanted.hdr) if id_ == _VIDEO else data) for id_, data in kept]
    return b"".join(_element(*part) for part in kept)


def _with_hdr(video: bytes, hdr: StaticHdr) -> bytes:
    parts = list(_parts(video))
    colour = next((_parts(data) for id_, data in parts if id_ == _COLOUR), iter(()))
    kept = [part for part in colour if part[0] not in (_MASTERING, _MAX_CLL, _MAX_FALL)]
    if hdr.light is not None:
        kept += [(_MAX_CLL, _number(hdr.light[0])), (_MAX_FALL, _number(hdr.light[1]))]
    if hdr.mastering is not None:
        units = [CHROMATICITY_UNITS] * 8 + [LUMINANCE_UNITS] * 2
        values = [struct.pack(">d", count / unit) for count, unit in zip(hdr.mastering, units, strict=True)]
        fields = zip(_MASTERING_FIELDS, values, strict=True)
        kept.append((_MASTERING, b"".join(_element(*field) for field in fields)))
    others = [_element(*part) for part in parts if part[0] != _COLOUR]
    return b"".join([*others, _element(_COLOUR, b"".join(_element(*part) for part in kept))])


# -- EBML --------------------------------------------------------------------------------------------------------------


def _track_table(stream: BinaryIO) -> tuple[int, bytes]:
    """Where the table's contents begin in the file, and the contents."""
    first = stream.read(12)
    if not first.startswith(_number(_EBML)):
        raise LayoutError("the file does not begin as Matroska does")
    _, size, at = _head(first, 0)
    at += size or 0
    stream.seek(at)
    id_, _, begins = _head(stream.read(12), 0)
    if id_ != _SEGMENT:
        raise LayoutError("no segment follows the file's header")
    at += begins
    while True:
        stream.seek(at)
        id_, size, begins = _head(stream.read(12), 0)
        if id_ == _CLUSTER or size is None:
            raise LayoutError("no track table stands before the first pictures")
        if id_ == _TRACKS:
            return at + begins, _whole(stream, at + begins, size)
        at += begins + size


def _whole(stream: BinaryIO, at: int, size: int) -> bytes:
    if size > _MOST_TABLE_BYTES:
        raise LayoutError(f"the track table claims {size} bytes")
    stream.seek(at)
    data = stream.read(size)
    if len(data) != size:
        raise LayoutError("the file ends inside its track table")
    return data


def _parts(data: bytes) -> Iterator[Part]:
    at = 0
    while at < len(data):
        id_, size, at = _head(data, at)
        if size is None or at + size > len(data):
            raise LayoutError(f"element {id_:X} goes on after its parent")
        yield id_, data[at : at + size]
        at += size


def _head(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Id, size (None: unknown) and where the contents begin."""
    id_, at = _varint(data, at, most=4, keeps_marker=True)
    begins = at
    size, at = _varint(data, at, most=8, keeps_marker=False)
    is_unknown = size == (1 << 7 * (at - begins)) - 1
    return id_, None if is_unknown else size, at


def _varint(data: bytes, at: int, *, most: int, keeps_marker: bool) -> tuple[int, int]:
    length = 9 - data[at].bit_length() if at < len(data) else 9
    if length > most or at + length > len(data):
        raise LayoutError("the file ends, or is damaged, where an element should begin")
    value = int.from_bytes(data[at : at + length], "big")
    return (value if keeps_marker else value & ((1 << 7 * length) - 1)), at + length


def _element(id_: int, body: bytes, *, length: int = 0) -> bytes:
    """With its size in `length` bytes; in as few as it takes without."""
    length = length or next(n for n in range(1, 9) if len(body) < (1 << 7 * n) - 1)
    return _number(id_) + (len(body) | 1 << 7 * length).to_bytes(length, "big") + body


def _void(num_bytes: int) -> bytes:
    """An element of exactly so many bytes that every reader skips."""
    if num_bytes == 0:
        return b""
    if num_bytes < 2:
        raise LayoutError("the track table has no room for its labels; was `ROOM` left behind the names?")
    length = 1 if num_bytes < 100 else 8
    return _element(_VOID, bytes(num_bytes - 1 - length), length=length)


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
