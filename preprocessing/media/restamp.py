"""Puts a source's own frame times on an encoded picture, tick for tick.

Owns PTS and DTS of finished packets. The encoder counted frames at an even rate; here packet by packet its count is
replaced with the source's PTS in the source's time base, so an uneven rate comes back exactly as it was.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from preprocessing.errors import Unusable
from shards.schema import I64, FrameTimes

_LARGEST_TIMESCALE = 2**31 - 1


def restamp(encoded: Path, out: Path, times: FrameTimes) -> None:
    """Copies the picture of `encoded` to `out` (QuickTime layout) with `times`; atomic."""
    order = _display_order(encoded, len(times))
    scale = times.base.denominator
    if scale > _LARGEST_TIMESCALE:
        raise Unusable.because("time_base", f"a clock of {times.base} s cannot be written")
    ticks = times.pts * times.base.numerator
    part = out.with_name(f".{out.name}.part")
    # movie_timescale: a late start is kept as an edit list, which counts in it; by default in whole milliseconds.
    options = {"video_track_timescale": str(scale), "movie_timescale": str(scale)}
    try:
        with (
            av.open(str(encoded.absolute())) as source,
            av.open(str(part.absolute()), "w", format="mov", options=options) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            stream.time_base = Fraction(1, scale)
            decode_ticks, lengths = decode_times(order, ticks), _lengths(ticks)
            packets = (p for p in source.demux(source.streams.video[0]) if p.size)
            for place, packet in enumerate(packets):
                packet.stream, packet.time_base = stream, Fraction(1, scale)
                packet.pts, packet.dts = int(ticks[order[place]]), int(decode_ticks[place])
                packet.duration = int(lengths[order[place]])
                target.mux(packet)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def decode_times(order: I64, ticks: I64) -> I64:
    """A DTS for each packet in decoding order: strictly increasing, and never after the packet's own PTS.

    With `order[k]` the display place of packet k, the k-th DTS is the PTS of display place k - delay, where `delay` is
    the deepest any packet was moved forward; before the first frame the clock is carried on backwards.
    """
    delay = int(np.max(np.arange(len(order)) - order))
    step = int(ticks[1] - ticks[0]) if len(ticks) > 1 else 1
    before = ticks[0] - step * np.arange(delay, 0, -1, dtype=np.int64)
    return np.concatenate([before, ticks])[: len(order)]


def _display_order(encoded: Path, expected: int) -> I64:
    """For each packet, in file order, the place of its frame in display order."""
    with av.open(str(encoded.absolute())) as source:
        pts = [p.pts for p in source.demux(source.streams.video[0]) if p.size]
    if len(pts) != expected or any(p is None for p in pts):
        raise ValueError(f"the encoder gave {len(pts)} packets for {expected} frames")
    order = np.empty(len(pts), dtype=np.int64)
    order[np.argsort(np.array(pts, dtype=np.int64), kind="stable")] = np.arange(len(pts))
    return order


def _lengths(ticks: I64) -> I64:
    """Each frame lasts until the next; the last as long as the middle one of all."""
    if len(ticks) == 1:
        return np.ones(1, dtype=np.int64)
    steps = np.diff(ticks)
    return np.append(steps, np.int64(np.median(steps)))
