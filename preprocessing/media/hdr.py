"""The static HDR description of a picture: what it was mastered on, and how bright it gets.

Owns reading it off the first frame and the words x265 takes it in. The transfer curve itself is a colour tag and
travels with the others.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

from preprocessing.media.base import MediaInfo
from preprocessing.media.probe import picture
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffprobe, input_args

HDR_CURVES = ("smpte2084", "arib-std-b67")
# x265 counts chromaticity in 1/50000 and luminance in 1/10000 candela per square metre.
_COLOUR, _LIGHT = 50_000, 10_000


def x265_hdr_parameters(info: MediaInfo, *, deadline_s: float = 60) -> list[str]:
    """`key=value` words for `-x265-params`; empty for a picture that is not HDR."""
    if picture(info).color_transfer not in HDR_CURVES:
        return []
    found = {side.get("side_data_type"): side for side in _first_frame(info, deadline_s)}
    words = []
    if (display := found.get("Mastering display metadata")) is not None and "red_x" in display:
        words.append(f"master-display={_mastering(display)}")
    if (light := found.get("Content light level metadata")) is not None:
        words.append(f"max-cll={light.get('max_content', 0)},{light.get('max_average', 0)}")
    return [*words, "hdr10=1", "repeat-headers=1"] if words else []


def _first_frame(info: MediaInfo, deadline_s: float) -> list[dict[str, Any]]:
    command = [ffprobe(), "-v", "error", "-of", "json", "-select_streams", str(picture(info).index)]
    shown = ["-read_intervals", "%+#1", "-show_entries", "frame=side_data_list", "-show_frames"]
    said = json.loads(run_media([*command, *shown, *input_args(info.path)], deadline_s=deadline_s).stdout)
    frames: list[dict[str, Any]] = said.get("frames", [])
    return list(frames[0].get("side_data_list", [])) if frames else []


def _mastering(display: dict[str, Any]) -> str:
    def point(name: str) -> str:
        return f"({_scaled(display[f'{name}_x'], _COLOUR)},{_scaled(display[f'{name}_y'], _COLOUR)})"

    light = f"({_scaled(display['max_luminance'], _LIGHT)},{_scaled(display['min_luminance'], _LIGHT)})"
    return f"G{point('green')}B{point('blue')}R{point('red')}WP{point('white_point')}L{light}"


def _scaled(ratio: str, unit: int) -> int:
    return round(Fraction(ratio) * unit)
