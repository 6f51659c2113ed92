"""The child in which decord runs: a length-prefixed JSON header, then raw RGB frames, on standard output.

Run by `decode.py` by path, with nothing of ours imported: PATH START STOP BATCH. Owns nothing else; deadlines, checks
and killing are the parent's.
"""

from __future__ import annotations

import json
import os
import sys
from typing import BinaryIO


def main(path: str, start: int, stop: int, batch: int, out: BinaryIO) -> None:
    """Writes the header, then frames [start, stop) in batches of sorted indices."""
    import decord

    # fault_tol: a picture that cannot be decoded is an error, not a silent copy of its neighbour.
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1, fault_tol=0)
    count = len(reader)
    height, width = reader[0].shape[:2]
    starts = reader.get_frame_timestamp(list(range(count)))[:, 0]
    said = {"count": count, "width": width, "height": height, "starts_s": [float(s) for s in starts]}
    header = json.dumps(said).encode()
    out.write(len(header).to_bytes(8, "little") + header)
    for first in range(start, stop, batch):
        frames = reader.get_batch(list(range(first, min(first + batch, stop))))
        out.write(frames.asnumpy().tobytes())
    out.flush()


if __name__ == "__main__":
    # Libraries may print on descriptor 1: frames get a private copy of it, and prints go to the error stream.
    frames_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    first, last, at_once = (int(number) for number in sys.argv[2:])
    main(sys.argv[1], first, last, at_once, frames_out)
