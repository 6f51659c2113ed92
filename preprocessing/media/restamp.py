"""Puts exact frame times on finished packets, tick for tick, whoever encoded them.

Owns PTS and DTS. An encoder counts frames at an even rate; here every packet gets the PTS of the frame it shows, in the
clock of those times, so an uneven rate comes back exactly as it was. Which packets these are is `join.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from preprocessing.errors import Unusable
from shards.schema import I64, FrameTimes

_LARGEST_TIMESCALE = 2**31 - 1


def write_track(
    out: Path,
    template: VideoStream,
    header: bytes | None,
    packets: Iterable[Packet[Any]],
    order: I64,
    times: FrameTimes,
) -> None:
    """Writes one picture track (QuickTime layout): packet k shows frame `order[k]`; atomic.

    `header` is the stream's extradata; None leaves the template's.
    """
    scale = times.base.denominator
    if scale > _LARGEST_TIMESCALE:
        raise Unusable.because("time_base", f"a clock of {times.base} s cannot be written")
    ticks = times.pts * times.base.numerator
    decode_ticks, lengths = decode_times(order, ticks), _lengths(ticks)
    part = out.with_name(f".{out.name}.part")
    # movie_timescale: a late start is kept as an edit list, which counts in it; by default in whole milliseconds.
    options = {"video_track_timescale": str(scale), "movie_timescale": str(scale)}
    try:
        with av.open(str(part.absolute()), "w", format="mov", options=options) as target:
            stream = target.add_stream_from_template(template)
            stream.time_base = Fraction(1, scale)
            if header is not None:
                stream.codec_context.extradata = header
            if template.codec_context.name == "hevc":
                # The other name for the same, `hev1`, is not played by QuickTime.
                stream.codec_context.codec_tag = "hvc1"
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

    A picture that begins late is given a delay even where nothing was moved: ffmpeg's edit list of a track without one
    ends as much too early as the picture begins late, and the last frame is cut by that.
    """
    delay = max(int(np.max(np.arange(len(order)) - order)), int(ticks[0] > 0))
    step = int(ticks[1] - ticks[0]) if len(ticks) > 1 else 1
    before = ticks[0] - step * np.arange(delay, 0, -1, dtype=np.int64)
    return np.concatenate([before, ticks])[: len(order)]


def display_order(pts: Iterable[int | None]) -> I64:
    """For each packet, in file order, the place of its frame in display order."""
    known = list(pts)
    if any(p is None for p in known):
        raise ValueError("an encoder gave a packet without a time")
    order = np.empty(len(known), dtype=np.int64)
    order[np.argsort(np.array(known, dtype=np.int64), kind="stable")] = np.arange(len(known))
    return order


def _lengths(ticks: I64) -> I64:
    """Each frame lasts until the next; the last as long as the middle one of all."""
    if len(ticks) == 1:
        return np.ones(1, dtype=np.int64)
    steps = np.diff(ticks)
    return np.append(steps, np.int64(np.median(steps)))
