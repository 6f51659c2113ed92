"""Native frames are the stored samples, bit for bit."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import Unusable
from preprocessing.media.native import FORMATS, NativeSource, native_format, native_video
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
