"""Small videos and sounds made by ffmpeg itself, with everything about them known."""

from __future__ import annotations

from pathlib import Path

from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url


def make(out: Path, *arguments: str) -> Path:
    """Runs ffmpeg with these arguments, writing `out`."""
    run_media(ffmpeg_command(*arguments, "-y", file_url(out)), deadline_s=60)
    return out


def video(
    out: Path,
    *,
    size: str = "64x48",
    seconds: float = 1.0,
    fps: str = "25",
    picture: str = "testsrc2",
    sound: bool = False,
    more: tuple[str, ...] = (),
) -> Path:
    """A test picture, H.264 4:2:0 unless `more` says otherwise, with or without a 440 Hz tone."""
    arguments = ["-f", "lavfi", "-i", f"{_options(picture)}size={size}:rate={fps}:duration={seconds}"]
    if sound:
        arguments += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}", "-c:a", "aac"]
    # bframes on, so that decoding and display order differ; threads one, so that the bytes are the same everywhere.
    coding = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "12", "-threads", "1", "-pix_fmt", "yuv420p")
    return make(out, *arguments, *coding, *more)


def sine(
    out: Path, *, seconds: float = 1.0, rate_hz: int = 48_000, channels: int = 2, more: tuple[str, ...] = ()
) -> Path:
    """A tone; the codec follows the name's ending."""
    tone = f"sine=frequency=440:sample_rate={rate_hz}:duration={seconds}"
    return make(out, "-f", "lavfi", "-i", tone, "-ac", str(channels), *more)


def turned(out: Path, plain: Path, clockwise: int) -> Path:
    """A copy of an H.264 video with a rotation flag, patched into the header: no ffmpeg release writes it alike."""
    make(out, "-i", file_url(plain), "-c", "copy")
    data = bytearray(out.read_bytes())
    # tkhd version 0: the 3x3 matrix starts 40 bytes after the box's type and ends before width and height.
    at = data.index(b"tkhd") + 4 + 40
    one, minus = (0x10000).to_bytes(4, "big"), (0x100000000 - 0x10000).to_bytes(4, "big")
    zero, w = bytes(4), (0x40000000).to_bytes(4, "big")
    a, b, c, d = {0: (one, zero, zero, one), 90: (zero, one, minus, zero), 180: (minus, zero, zero, minus),
                  270: (zero, minus, one, zero)}[clockwise]  # fmt: skip
    data[at : at + 36] = a + b + zero + c + d + zero + zero + zero + w
    out.write_bytes(data)
    return out


def uneven(out: Path, *, size: str = "64x48", picture: str = "testsrc2") -> Path:
    """A variable frame rate: 24 frames, two of each three kept, on their own times."""
    filters = "select='not(eq(mod(n,3),1))',settb=1/90000"
    source = f"{_options(picture)}size={size}:rate=24:duration=1.5"
    keep = ("-fps_mode", "passthrough", "-video_track_timescale", "90000")
    return make(
        out,
        "-f",
        "lavfi",
        "-i",
        source,
        "-vf",
        filters,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        *keep,
    )


def _options(picture: str) -> str:
    """`name` or `name=options:` of a lavfi source, ready for more options."""
    return picture if picture.endswith(":") else f"{picture}="
