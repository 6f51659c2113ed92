"""The static HDR description of a picture: what it was mastered on, and how bright it gets.

Owns reading it, off the container and off the first frame, and the words x265 takes it in. The transfer curve itself is
a colour tag and travels with the others; writing the description into a finished container is `labels.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from preprocessing.media.base import MediaInfo
from preprocessing.media.probe import picture
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffprobe, input_args

HDR_CURVES = ("smpte2084", "arib-std-b67")
CHROMATICITY_UNITS, LUMINANCE_UNITS = 50_000, 10_000
"""The standards' counts: chromaticity in 1/50000, luminance in 1/10000 candela per square metre."""
_POINTS = ("green", "blue", "red", "white_point")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticHdr:
    """SMPTE ST 2086 and CTA-861.3; either may be missing."""

    mastering: tuple[int, ...] | None = None
    """x and y of green, blue, red and white in CHROMATICITY_UNITS, then the brightest and the darkest light in
    LUMINANCE_UNITS: ten whole numbers."""
    light: tuple[int, int] | None = None
    """The brightest sample and the brightest frame average, candela per square metre."""

    def __bool__(self) -> bool:
        return self.mastering is not None or self.light is not None


def static_hdr(info: MediaInfo, *, deadline_s: float = 60) -> StaticHdr:
    """What the container or the first frame says; empty for a picture that is not HDR."""
    if picture(info).color_transfer not in HDR_CURVES:
        return StaticHdr()
    return described_hdr(info.path, picture(info).index, deadline_s=deadline_s)


def described_hdr(path: Path, stream: int, *, deadline_s: float = 60) -> StaticHdr:
    """What a file says of one of its pictures; its first frame has the last word."""
    command = [ffprobe(), "-v", "error", "-of", "json", "-select_streams", str(stream), "-read_intervals", "%+#1"]
    shown = ["-show_entries", "stream_side_data_list:frame=side_data_list", "-show_frames"]
    said = json.loads(run_media([*command, *shown, *input_args(path)], deadline_s=deadline_s).stdout)
    return _from_side_data(side for place in _places(said) for side in place.get("side_data_list", []))


def container_hdr(raw: Mapping[str, Any]) -> StaticHdr:
    """What a container itself says of a stream that ffprobe described."""
    return _from_side_data(raw.get("side_data_list", []))


def x265_hdr_parameters(info: MediaInfo, *, deadline_s: float = 60) -> list[str]:
    """`key=value` words for `-x265-params`; empty for a picture that is not HDR."""
    found, words = static_hdr(info, deadline_s=deadline_s), []
    if found.mastering is not None:
        gx, gy, bx, by, rx, ry, wx, wy, brightest, darkest = found.mastering
        words.append(f"master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({brightest},{darkest})")
    if found.light is not None:
        words.append(f"max-cll={found.light[0]},{found.light[1]}")
    return [*words, "hdr10=1", "repeat-headers=1"] if words else []


def _places(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The stream, then the first frame."""
    return [*said.get("streams", [])[:1], *said.get("frames", [])[:1]]


def _from_side_data(sides: Iterable[Mapping[str, Any]]) -> StaticHdr:
    found = {side.get("side_data_type"): side for side in sides}
    display, light = found.get("Mastering display metadata"), found.get("Content light level metadata")
    return StaticHdr(
        # Half a description (colours without light, or the other way round) cannot be handed on in any of the forms.
        mastering=_mastering(display) if display and {"red_x", "max_luminance"} <= display.keys() else None,
        light=(int(light.get("max_content", 0)), int(light.get("max_average", 0))) if light else None,
    )


def _mastering(display: Mapping[str, Any]) -> tuple[int, ...]:
    colours = [_scaled(display[f"{point}_{axis}"], CHROMATICITY_UNITS) for point in _POINTS for axis in "xy"]
    return (*colours, *(_scaled(display[name], LUMINANCE_UNITS) for name in ("max_luminance", "min_luminance")))


def _scaled(ratio: str, unit: int) -> int:
    return round(Fraction(ratio) * unit)
