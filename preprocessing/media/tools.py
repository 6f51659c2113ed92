"""Where the media programs are, and how every one of our command lines begins.

Owns: finding ffmpeg and ffprobe, and the arguments that make opening a foreign file safe. Running them is `runner.py`.
"""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import ffmpeg as ffmpeg_python

from preprocessing.errors import MediaToolError, ToolMissing
from preprocessing.media.runner import run_media

# ffmpeg can read play lists that name other files and addresses (hls, concat, dash, sdp ...) and will guess such a
# format from the first bytes, whatever the file is called. Only real containers are let in; the same list refuses
# text files, which would otherwise be drawn as ANSI art, and single pictures.
CONTAINERS = (
    "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "mxf", "flv", "asf", "ogg", "wav", "w64", "aiff",
    "flac", "mp3", "aac", "ac3", "eac3", "caf", "au", "h264", "hevc", "m4v", "dv", "gxf", "ivf", "nut", "y4m",
    "yuv4mpegpipe", "rm", "amr", "opus",
)  # fmt: skip
_GUARD = {"protocol_whitelist": "file,pipe", "format_whitelist": ",".join(CONTAINERS)}


def ffmpeg() -> str:
    """Absolute path of ffmpeg."""
    return _program("ffmpeg", "DUBWRIGHT_FFMPEG")


def ffprobe() -> str:
    """Absolute path of ffprobe."""
    return _program("ffprobe", "DUBWRIGHT_FFPROBE")


def ffmpeg_command(*arguments: str) -> list[str]:
    """ffmpeg, silent but for errors, never reading the terminal."""
    return [ffmpeg(), "-nostdin", "-hide_banner", "-v", "error", *arguments]


def raw_pictures_command(path: Path, stream: int, *, filters: str, pix_fmt: str) -> list[str]:
    """ffmpeg writing every stored picture of a stream to its stdout, none turned, dropped or doubled.

    Compiled by ffmpeg-python, which is used for that alone: the program is run by `runner.py`.
    """
    options = {"map": f"0:{stream}", "fps_mode": "passthrough", "format": "rawvideo", "pix_fmt": pix_fmt}
    if filters:
        options["vf"] = filters
    opened = ffmpeg_python.input(file_url(path), noautorotate=None, **_GUARD)
    return list(opened.output("pipe:1", **options).compile(cmd=ffmpeg_command()))


def input_args(path: Path) -> list[str]:
    """The arguments that open a foreign file: only a container, only from disk or a pipe.

    The absolute `file:` form makes names with a leading dash, a colon or a percent sign ordinary names.
    """
    return [*(word for name, value in _GUARD.items() for word in (f"-{name}", value)), "-i", file_url(path)]


def file_url(path: Path) -> str:
    """The path as ffmpeg takes it literally, for reading or writing."""
    return f"file:{path.absolute()}"


@functools.cache
def encoders() -> frozenset[str]:
    """Names of the encoders this ffmpeg has."""
    return _listed("-encoders")


def has_soxr() -> bool:
    """Whether this ffmpeg was built with the better resampler."""
    return "--enable-libsoxr" in _build_configuration()


@functools.cache
def ffmpeg_version() -> str:
    """First line of `ffmpeg -version`, for provenance."""
    lines = run_media([ffmpeg(), "-version"], deadline_s=30).stdout.decode(errors="replace").splitlines()
    return lines[0] if lines else "unknown"


def _program(name: str, variable: str) -> str:
    """From the environment variable or the PATH; asked at each call, because tests and operators change both."""
    asked = os.environ.get(variable)
    found = shutil.which(asked or name)
    if found is None:
        raise ToolMissing(
            f"{name} is not here: install ffmpeg 5.1 or newer with your system's packages "
            f"(Debian, Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg), or point {variable} at it",
            field=variable,
            value=asked,
        )
    return str(Path(found).absolute())


@functools.cache
def _build_configuration() -> str:
    return run_media([ffmpeg(), "-hide_banner", "-version"], deadline_s=30).stdout.decode(errors="replace")


def _listed(option: str) -> frozenset[str]:
    """Names in one of ffmpeg's tables: rows after the dashed line, `flags name description`."""
    command = [ffmpeg(), "-hide_banner", option]
    text = run_media(command, deadline_s=30).stdout.decode(errors="replace")
    _, dashes, table = text.partition("------")
    if not dashes:
        raise MediaToolError("ffmpeg listed no encoders", command=command, status=0, stderr=text)
    return frozenset(row.split()[1] for row in table.splitlines() if len(row.split()) > 1)
