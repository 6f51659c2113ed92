"""Native frames are the stored samples, bit for bit."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.container import InputContainer
from av.packet import Packet

from preprocessing.errors import Unusable
from preprocessing.media import native
from preprocessing.media.native import FORMATS, NativeFrame, NativeSource, native_format, native_video
from preprocessing.media.probe import probe, probe_with_times
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, file_url
from tests.support import lavfi
from tests.support.streams import video_stream


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "yuv422p10le"])
def test_planes_are_the_decoders_own_samples(tmp_path: Path, pix_fmt: str) -> None:
    path = lavfi.video(tmp_path / "a.mp4", size="66x50", seconds=0.2, more=("-pix_fmt", pix_fmt))
    frames = list(NativeSource(path, probe(path)).frames())
    decoded = run_media(ffmpeg_command("-i", file_url(path), "-f", "rawvideo", "pipe:1"), deadline_s=20).stdout
    assert b"".join(p.tobytes() for f in frames for p in f.planes) == decoded
    assert {f.pix_fmt for f in frames} == {pix_fmt}
    assert [f.index for f in frames] == list(range(5))


def test_rotation_stays_a_flag(tmp_path: Path) -> None:
    plain = lavfi.video(tmp_path / "plain.mp4", seconds=0.2)
    turned = lavfi.turned(tmp_path / "turned.mp4", plain, 90)
    a, b = (next(NativeSource(p, probe(p)).frames()) for p in (plain, turned))
    assert all((x == y).all() for x, y in zip(a.planes, b.planes, strict=True))


def test_a_range_is_the_same_as_in_the_whole(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "a.mp4", picture="gradients=speed=0.5:seed=3:nb_colors=4:")
    source = NativeSource(path, probe(path))
    sums = [zlib.crc32(f.planes[0].tobytes()) for f in source.frames()]
    assert len(set(sums)) == 25
    assert [(f.index, zlib.crc32(f.planes[0].tobytes())) for f in source.frames(8, 11)] == list(enumerate(sums))[8:11]


OPEN = ("-preset", "medium", "-x264-params", "open-gop=1:bframes=3:keyint=9:scenecut=0")
HEVC = ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=error:keyint=8")
PARTS = {
    "B-frames": ("a.mp4", {"more": ("-preset", "medium", "-x264-params", "bframes=4:b-pyramid=normal:keyint=10")}),
    "open groups": ("a.mp4", {"more": OPEN}),
    "HEVC": ("a.mp4", {"more": HEVC}),
    "ProRes": ("a.mov", {"more": ("-c:v", "prores_ks", "-profile:v", "3", "-pix_fmt", "yuv422p10le")}),
    "matroska": ("a.mkv", {}),
    "late": ("a.mp4", {"more": ("-output_ts_offset", "0.48")}),
}


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which ranges were read through the pipe."""
    asked: list[tuple[int, int]] = []
    pipe = NativeSource._piped

    def noted(source: NativeSource, start: int, stop: int) -> Iterator[NativeFrame]:
        asked.append((start, stop))
        return pipe(source, start, stop)

    monkeypatch.setattr(NativeSource, "_piped", noted)
    return asked


def sums(source: NativeSource, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    """(index, checksum of the planes) of these frames."""
    return [(f.index, zlib.crc32(b"".join(p.tobytes() for p in f.planes))) for f in source.frames(start, stop)]


def source_of(kind: str, folder: Path) -> NativeSource:
    if kind == "uneven":
        path = lavfi.uneven(folder / "a.mp4")
    elif kind == "transport stream":
        path = lavfi.make(folder / "a.ts", "-i", file_url(lavfi.video(folder / "a.mp4", seconds=2)), "-c", "copy")
    else:
        name, options = PARTS[kind]
        path = lavfi.video(folder / name, seconds=2, **options)
    return NativeSource(path, probe(path))


@pytest.mark.parametrize("kind", [*PARTS, "uneven", "transport stream"])
def test_a_part_in_the_middle_is_decoded_from_its_own_group_to_the_same_bits(
    tmp_path: Path, kind: str, piped: list[tuple[int, int]]
) -> None:
    source = source_of(kind, tmp_path)
    whole = sums(source)
    for start in (1, 7, 8, 9, 13, len(whole) - 1):
        del piped[:]
        assert sums(source, start, min(start + 9, len(whole))) == whole[start : start + 9]
        assert all(first == stop for first, stop in piped)


def test_where_the_file_is_entered_too_late_the_pipe_takes_over(
    tmp_path: Path, piped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("B-frames", tmp_path)
    whole = sums(source)
    found = native.packets_from

    def late(container: InputContainer, stream: int, pts: int) -> Iterator[Packet[Any]] | None:
        return found(container, stream, pts + 15 * 512)

    monkeypatch.setattr(native, "packets_from", late)
    del piped[:]
    assert sums(source, 12, 20) == whole[12:20]
    assert piped == [(12, 20)]


def test_a_damaged_group_is_read_as_the_pipe_reads_it(tmp_path: Path) -> None:
    source = source_of("transport stream", tmp_path)
    data = bytearray(source.path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    source.path.write_bytes(data)
    whole = sums(source)
    assert sums(source, 20, 40) == whole[20:40]


def test_what_is_decoded_otherwise_elsewhere_is_left_to_the_pipe(tmp_path: Path, piped: list[tuple[int, int]]) -> None:
    path = lavfi.video(tmp_path / "a.avi", more=("-c:v", "mpeg4", "-bf", "0"))
    source = NativeSource(path, probe(path))
    assert sums(source, 8, 12) == sums(source)[8:12]
    assert piped[0] == (8, 12)


def test_a_reading_that_is_broken_off_leaves_no_open_file(tmp_path: Path) -> None:
    source = source_of("B-frames", tmp_path)
    for _ in range(3):
        reading = source.frames(20, 40)
        next(reading)
        reading.close()  # type: ignore[attr-defined]
    held = [
        os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
    ]
    assert str(source.path) not in held


def test_odd_sizes_keep_their_last_chroma(tmp_path: Path) -> None:
    path = lavfi.video(
        tmp_path / "odd.mkv", size="65x49", seconds=0.2, picture="gradients=seed=3:", more=("-c:v", "ffv1")
    )
    frame = next(NativeSource(path, probe(path)).frames())
    assert [p.shape for p in frame.planes] == [(49, 65), (25, 33), (25, 33)]


@pytest.mark.parametrize(("found", "near"), [("nv12", "yuv420p"), ("p010le", "yuv420p10le"), ("yuyv422", "yuv422p")])
def test_packed_layouts_are_read_as_their_planar_equals_without_a_word(found: str, near: str) -> None:
    assert native_format(video_stream(pix_fmt=found)) == (FORMATS[near], None)


def test_a_layout_that_loses_bits_says_so() -> None:
    layout, note = native_format(video_stream(pix_fmt="yuv422p12le", bit_depth=12))
    assert layout.name == "yuv422p10le"
    assert note is not None
    assert "yuv422p12le" in note
    assert native_video(video_stream(pix_fmt="yuv422p12le", bit_depth=12)).bit_depth == 10


def test_an_unknown_layout_is_refused_with_what_would_help() -> None:
    with pytest.raises(Unusable, match=r"bayer_bggr8.*yuv422p10le"):
        native_format(video_stream(pix_fmt="bayer_bggr8"))


def test_rgb_pictures_become_yuv_by_the_matrix_their_description_says(tmp_path: Path) -> None:
    colour = ("-f", "lavfi", "-i", "color=0xc81e28:size=64x48:rate=5:duration=0.4,format=gbrp", "-c:v", "ffv1")
    path = lavfi.make(tmp_path / "rgb.mkv", *colour)
    info = probe(path)
    assert info.video is not None
    frame = next(NativeSource(path, info).frames())
    assert native_video(info.video).color_space == "bt709"
    # BT.709, limited: Y = 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B)
    luma = 16 + 219 * (0.2126 * 200 + 0.7152 * 30 + 0.0722 * 40) / 255
    assert abs(float(frame.planes[0].mean()) - luma) < 1


def test_a_file_that_shrinks_after_it_was_probed_is_truncated(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "film.mp4", size="128x96", seconds=2, more=("-movflags", "+faststart"))
    info, times = probe_with_times(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unusable, match="truncated"):
        list(NativeSource(path, info, times=times).frames())


def test_samples_of_more_than_eight_bits_are_whole_numbers_in_their_scale(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "ten.mp4", seconds=0.2, more=("-pix_fmt", "yuv420p10le"))
    frame = next(NativeSource(path, probe(path)).frames())
    assert frame.planes[0].dtype == np.uint16
    assert 256 < frame.planes[0].max() < 1024
