"""What lies about in real footage folders and should not: how to make each kind, by ffmpeg or by hand.

Owns the makers; which cases there are and how each must end is the test's own table. A maker gets the place to fill and
the `Kit`. All content is made from one talking face, and differs: equal bytes would be one source.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocessing.media.tools import file_url
from tests.support.lavfi import make

TALKING = Path(__file__).parents[2] / "examples" / "hopper.mp4"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-ar", "48000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What cases are made of."""

    talk: Path
    """30 frames of 256 x 256, a face that speaks: H.264 and AAC in MP4, the table of contents in front."""
    outside: Path
    """A folder out of the footage, with a video in it that nobody may open."""
    url: str
    """Of a server that must not be asked."""

    @property
    def secret(self) -> Path:
        return self.outside / "secret.mp4"

    @classmethod
    def made(cls, folder: Path, url: str) -> Kit:
        outside = folder / "outside"
        outside.mkdir(parents=True)
        cut = ("-ss", "0.4", "-t", "1.2", "-i", file_url(TALKING), "-vf", "scale=256:256")
        talk = make(folder / "talk.mp4", *cut, *H264, "-g", "10", "-crf", "16", *AAC, "-movflags", "+faststart")
        kit = cls(talk=talk, outside=outside, url=url)
        copied()(kit.secret, kit)
        return kit


Maker = Callable[[Path, Kit], object]
Change = Callable[[bytearray], object]

# -- the talking face, and what ffmpeg does to it ----------------------------------------------------------------------


def copied(*options: str) -> Maker:
    """In another wrapping, with a comment of its own."""
    return lambda out, kit: make(
        *(out, "-i", file_url(kit.talk), "-map", "0", "-c", "copy"), *("-metadata", f"comment={str(out)!a}", *options)
    )


def recoded(*options: str) -> Maker:
    return lambda out, kit: make(out, "-i", file_url(kit.talk), *H264, *AAC, *options)


def filtered(picture: str, *options: str) -> Maker:
    return recoded("-filter_complex", f"[0:v]{picture}[v]", "-map", "[v]", "-map", "0:a", *options)


def heard(sound: str, *options: str) -> Maker:
    """With its sound changed."""
    return recoded("-c:v", "copy", "-af", sound, *options)


def delayed(stream: str, seconds: float, *options: str) -> Maker:
    """With the picture (`v`) or the sound (`a`) later than the other."""
    other = "a" if stream == "v" else "v"
    return lambda out, kit: make(
        *(out, "-itsoffset", str(seconds), "-i", file_url(kit.talk), "-i", file_url(kit.talk)),
        *("-map", f"0:{stream}", "-map", f"1:{other}", "-c", "copy", *options),
    )


def begun_late(seconds: float) -> Maker:
    """Cut out without encoding: an edit list hides what comes before the cut."""
    return lambda out, kit: make(out, "-ss", str(seconds), "-i", file_url(kit.talk), "-c", "copy")


def longer(picture: str) -> Maker:
    """Two seconds of the face."""
    graph = ("-filter_complex", f"[0:v]scale=256:256,{picture}[v]", "-map", "[v]", "-map", "0:a")
    return lambda out, kit: make(out, "-ss", "0.4", "-t", "2", "-i", file_url(TALKING), *graph, *H264, *AAC)


def drawn(picture: str, *options: str, sound: str = "sine=frequency=300") -> Maker:
    """No face at all: one of ffmpeg's own pictures over one of its sounds."""
    return lambda out, kit: make(
        *(out, "-f", "lavfi", "-t", "1.2", "-i", picture, "-f", "lavfi", "-t", "1.2", "-i", sound, *H264, *AAC),
        *options,
    )


def one_after_another(first: Maker, second: Maker) -> Maker:
    """The bytes of two files in one, as a recorder leaves them that was started again."""

    def maker(out: Path, kit: Kit) -> None:
        parts = [out.with_name(f".{number}{out.suffix}") for number in (1, 2)]
        for part, of_part in zip(parts, (first, second), strict=True):
            of_part(part, kit)
        out.write_bytes(b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()

    return maker


# -- damage ------------------------------------------------------------------------------------------------------------


def damaged(change: Change, whole: Maker) -> Maker:
    """What `whole` makes, with bytes changed in place."""

    def maker(out: Path, kit: Kit) -> None:
        whole(out, kit)
        data = bytearray(out.read_bytes())
        change(data)
        out.write_bytes(data)

    return maker


def cut_to(share: float) -> Change:
    """Ends after this share of its bytes."""

    def change(data: bytearray) -> None:
        del data[int(len(data) * share) :]

    return change


def scrambled(start: float, stop: float) -> Change:
    """Noise between these shares of its bytes."""

    def change(data: bytearray) -> None:
        first, last = int(len(data) * start), int(len(data) * stop)
        data[first:last] = random.Random(0).randbytes(last - first)

    return change


def behind_noise(data: bytearray) -> None:
    data[:0] = random.Random(1).randbytes(3001)


def without_index(data: bytearray) -> None:
    """An AVI whose index points nowhere."""
    at = data.rindex(b"idx1")
    data[at + 8 :] = b"\xff" * (len(data) - at - 8)


def lying_avi(data: bytearray) -> None:
    """An AVI whose header promises a hundred thousand frames."""
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 100_000)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 100_000)


def endless_table(data: bytearray) -> None:
    """An MP4 whose table of sample sizes claims four thousand million rows."""
    struct.pack_into(">I", data, data.index(b"stsz") + 4 + 8, 0xFFFFFFF0)


def turned_by(*matrix: int) -> Change:
    """An MP4 whose header asks the player to turn the picture by this 2x2 matrix, in 65536ths."""

    def change(data: bytearray) -> None:
        # tkhd version 0: the 3x3 matrix starts 40 bytes after the box's type; the picture is the first track.
        at = data.index(b"tkhd") + 4 + 40
        for place, value in zip((0, 4, 12, 16), matrix, strict=True):
            struct.pack_into(">i", data, at + place, value)

    return change


# -- no footage --------------------------------------------------------------------------------------------------------


def written(content: bytes | str) -> Maker:
    return lambda out, kit: out.write_bytes(content if isinstance(content, bytes) else content.encode())


def script(text: str) -> Maker:
    """A text that names what must not be opened: `{url}` and `{secret}`."""
    return lambda out, kit: out.write_text(text.format(url=kit.url, secret=kit.secret))


def picture(*options: str) -> Maker:
    """A single picture of the face."""
    return lambda out, kit: make(out, "-i", file_url(kit.talk), "-an", "-frames:v", "1", *options)


def song(cover: bool) -> Maker:
    """Sound, with or without an attached picture."""
    pictures = ("-map", "0:v", "-frames:v", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic") if cover else ()
    return lambda out, kit: make(
        *(out, "-i", file_url(kit.talk), "-map", "0:a", *pictures, "-c:a", "copy"),
        *("-metadata", f"comment={out.name}"),
    )


def subtitles(out: Path, kit: Kit) -> None:
    text = out.with_name(".lines.srt")
    text.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    make(out, "-i", file_url(text), "-c", "copy")
    text.unlink()


def link(to: Callable[[Kit], Path]) -> Maker:
    return lambda out, kit: out.symlink_to(to(kit))


def pipe(out: Path, kit: Kit) -> None:
    os.mkfifo(out)


def ear(out: Path, kit: Kit) -> None:
    """A socket's place in the file system."""
    with socket.socket(socket.AF_UNIX) as server:
        # The kernel takes 107 bytes of a path: a test's folder may be deeper.
        here = os.open(out.parent, os.O_PATH)
        try:
            server.bind(f"/proc/self/fd/{here}/{out.name}")
        finally:
            os.close(here)


def locked(out: Path, kit: Kit) -> None:
    copied("-f", "mp4")(out, kit)
    out.chmod(0)


def locked_folder(out: Path, kit: Kit) -> None:
    out.mkdir()
    copied()(out / "inside.mp4", kit)
    out.chmod(0)
