"""The NAL units of H.264 and HEVC packets: their framing, their kinds, and the parameter sets that decoders need.

Owns what has to be known of the bits to copy packets beside new ones: where a picture can be entered, which parameter
sets there are and under which numbers, and the `avcC` box that holds those of two encoders at once. Slices are never
looked into; which packets are copied is `chunks.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_SPS, _PPS, _IDR, _SEI = 7, 8, 5, 6
_HEVC_IDR, _HEVC_ENTRIES = (19, 20), range(16, 22)
_RECOVERY_POINT = 6
_HIGH_PROFILES = (100, 110, 122, 244)
"""Profiles whose `avcC` says chroma layout and depth."""
MOST_SETS = 32
"""Sequence parameter sets are numbered 0 to 31."""


class _Bits:
    """Reads Exp-Golomb numbers from a unit, its emulation prevention bytes taken out."""

    def __init__(self, unit: bytes) -> None:
        clean = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value, self._left = int.from_bytes(clean, "big"), 8 * len(clean)

    def bits(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("the unit ends within a number")
        return (self._value >> self._left) & ((1 << count) - 1)

    def number(self) -> int:
        """ue(v) of ITU-T H.264, 9.1."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
        return (1 << zeros) - 1 + self.bits(zeros)


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a stream's packets are cut into units, and the H.264 parameter sets that its header holds."""

    length_bytes: int | None
    """Bytes of the length before each unit; None where units are parted by start codes."""
    sets: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, codec: str, header: bytes | None) -> Framing:
        """From the stream's extradata: `avcC` and `hvcC` boxes begin with a 1, start codes with a 0."""
        if not header or header[0] != 1:
            sets = [u for u in _between_codes(header or b"") if codec == "h264" and kind(u) in (_SPS, _PPS)]
            return cls(length_bytes=None, sets=tuple(sets))
        if codec == "hevc":
            return cls(length_bytes=(header[21] & 3) + 1)
        return cls(length_bytes=(header[4] & 3) + 1, sets=tuple(_avcc_sets(header)))

    def units(self, packet: bytes) -> Iterator[bytes]:
        """The packet's units, without what parts them."""
        if self.length_bytes is None:
            yield from _between_codes(packet)
            return
        at = 0
        while at + self.length_bytes <= len(packet):
            length = int.from_bytes(packet[at : at + self.length_bytes], "big")
            at += self.length_bytes
            yield packet[at : at + length]
            at += length

    def repacked(self, packet: bytes) -> bytes:
        """The packet with four-byte lengths, as one `avcC` can say of all; its own bytes where it has them already."""
        if self.length_bytes == 4:
            return packet
        # Sets that stood between the pictures are in the box; a second copy there would have to change with it.
        kept = [u for u in self.units(packet) if kind(u) not in (_SPS, _PPS)]
        return b"".join(len(u).to_bytes(4, "big") + u for u in kept)


def kind(unit: bytes) -> int:
    """nal_unit_type of an H.264 unit."""
    return unit[0] & 31 if unit else 0


def set_id(unit: bytes) -> tuple[int, int]:
    """(kind, number) of an H.264 parameter set."""
    # An SPS has profile, constraints and level before its number.
    return kind(unit), _Bits(unit[4:36] if kind(unit) == _SPS else unit[1:32]).number()


def parameter_sets(units: Iterable[bytes]) -> list[bytes]:
    """The H.264 sequence and picture parameter sets among these units."""
    return [u for u in units if kind(u) in (_SPS, _PPS)]


def is_closed_entry(codec: str, units: Sequence[bytes]) -> bool:
    """The packet is an IDR picture: nothing decoded from here on refers to anything before."""
    if codec == "hevc":
        return any(u and (u[0] >> 1) & 63 in _HEVC_IDR for u in units)
    return any(kind(u) == _IDR for u in units)


def is_entry(codec: str, units: Sequence[bytes]) -> bool:
    """Decoding may begin with this packet and is exact for all frames shown after it."""
    if codec == "hevc":
        return any(u and (u[0] >> 1) & 63 in _HEVC_ENTRIES for u in units)
    return is_closed_entry(codec, units) or any(kind(u) == _SEI and _recovers_at_once(u) for u in units)


def free_id(sets: Iterable[bytes]) -> int | None:
    """The least number that none of these parameter sets has, or None when all are taken."""
    taken = {number for _, number in map(set_id, sets)}
    return next((number for number in range(MOST_SETS) if number not in taken), None)


def avcc(sets: Sequence[bytes], *, chroma: tuple[int, int], bit_depth: int) -> bytes:
    """The `avcC` box (ISO/IEC 14496-15, 5.3.3) that holds these sets, for packets with four-byte lengths."""
    sps = [u for u in sets if kind(u) == _SPS]
    pps = [u for u in sets if kind(u) == _PPS]
    # A player asks the box whether it can play the whole: so the most demanding of its streams speaks for all.
    profile, compatible, level = max((u[1:4] for u in sps), key=lambda head: (head[0], head[2]))
    level = max(level, *(u[3] for u in sps))
    body = bytes([1, profile, compatible, level, 0xFC | 3, 0xE0 | len(sps)])
    body += b"".join(len(u).to_bytes(2, "big") + u for u in sps)
    body += bytes([len(pps)]) + b"".join(len(u).to_bytes(2, "big") + u for u in pps)
    if profile in _HIGH_PROFILES:
        layout = {(2, 2): 1, (2, 1): 2, (1, 1): 3}[chroma]
        body += bytes([0xFC | layout, 0xF8 | (bit_depth - 8), 0xF8 | (bit_depth - 8), 0])
    return body


def _avcc_sets(box: bytes) -> Iterator[bytes]:
    at = 5
    for mask in (31, 255):
        count = box[at] & mask
        at += 1
        for _ in range(count):
            length = int.from_bytes(box[at : at + 2], "big")
            yield box[at + 2 : at + 2 + length]
            at += 2 + length


def _between_codes(data: bytes) -> Iterator[bytes]:
    """Units of a byte stream (ITU-T H.264, Annex B)."""
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        end = data.find(b"\x00\x00\x01", at + 3)
        # Zeros before a start code, and at the very end, belong to no unit: each ends with a set stop bit.
        unit = data[at + 3 : end if end >= 0 else len(data)].rstrip(b"\x00")
        if unit:
            yield unit
        at = end


def _recovers_at_once(unit: bytes) -> bool:
    """A recovery point that says: from this picture on all is exact (ITU-T H.264, D.1.8)."""
    at = 1
    while at + 2 < len(unit):
        what, at = _sei_number(unit, at)
        size, at = _sei_number(unit, at)
        if what == _RECOVERY_POINT:
            bits = _Bits(unit[at : at + size])
            return bits.number() == 0 and bits.bits(1) == 1
        at += size
    return False


def _sei_number(unit: bytes, at: int) -> tuple[int, int]:
    """A number written as a run of 255s and a last byte; and where it ends."""
    total = 0
    while at < len(unit) and unit[at] == 255:
        total, at = total + 255, at + 1
    return (total + unit[at], at + 1) if at < len(unit) else (total, at)
