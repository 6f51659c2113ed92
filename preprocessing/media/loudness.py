"""How loud a sound track is as it is delivered: its own rate and channels, measured by ffmpeg in constant memory.

`preprocessing/audio/loudness.py` measures the model's copy, which is mono and lacks what is above 8 kHz; a report is
about the track itself.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from preprocessing.errors import MediaToolError
from preprocessing.media.probe import read_header, sounds
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, input_args

log = logging.getLogger(__name__)

_INTEGRATED = re.compile(r"\bI:\s+(-?\d+(?:\.\d+)?) LUFS")
_GATE_LUFS = -70.0
"""What is nowhere louder than this has no loudness; ffmpeg then says this very number."""


def track_lufs(
    path: Path, *, stream: int | None = None, deadline_s: float = 600.0, stall_s: float = 60.0
) -> float | None:
    """Integrated loudness (ITU-R BS.1770-4) of `stream`, the default track without it.

    None where there is no such track, it is silent, or it cannot be decoded: a measure keeps no title from being done.
    """
    tracks = [t for t in sounds(read_header(path, deadline_s=deadline_s)) if stream is None or t.index == stream]
    if not tracks:
        return None
    index = max(tracks, key=lambda track: track.is_default).index
    # The summary is told at `info`, as the last of all; what was measured on the way is `verbose`.
    command = ffmpeg_command(
        *("-v", "info", "-nostats", "-progress", "pipe:1", *input_args(path), "-map", f"0:{index}"),
        *("-af", "ebur128=framelog=verbose", "-f", "null", "-"),
    )
    try:
        said = run_media(command, deadline_s=deadline_s, stall_s=stall_s).stderr
    except MediaToolError as error:
        if error.status is None or error.status < 0:
            raise
        log.warning("the loudness of %s is not known: %s", path.name, error.stderr.strip()[-300:])
        return None
    found = _INTEGRATED.findall(said)
    return float(found[-1]) if found and float(found[-1]) > _GATE_LUFS else None
