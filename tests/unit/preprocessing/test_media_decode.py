"""Frames come as displayed, in the right colours, all of them or not at all."""

from __future__ import annotations

import os
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import Unusable
from preprocessing.media.decode import DecordSource, FfmpegSource, open_frames
from preprocessing.media.probe import probe, probe_with_times
from shards.errors import RequestError
from tests.support import lavfi

# Red, as a person means it; which numbers a file stores for it depends on its matrix and range.
SOFT = "gradients=speed=0.05:seed=3:nb_colors=4:"
RED = (200, 30, 40)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lavfi.video(tmp_path_factory.mktemp("decode") / "plain.mp4", size="96x64", picture=SOFT)


def flat(path: Path, *, size: str, matrix: str, full: bool = False, tagged: bool = True) -> Path:
    """A video of one colour, converted with the matrix and tagged with it, or not."""
    to = f"scale=out_color_matrix={matrix}:out_range={'pc' if full else 'tv'}:flags=accurate_rnd"
    name = {"bt601": "smpte170m", "bt709": "bt709"}[matrix]
    tags = ("-colorspace", name, "-color_range", "pc" if full else "tv") if tagged else ()
    colour = f"color=0x{RED[0]:02x}{RED[1]:02x}{RED[2]:02x}:size={size}:rate=5:duration=0.4,format=rgb24"
    coding = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "1", "-pix_fmt", "yuv420p", *tags)
    return lavfi.make(path, "-f", "lavfi", "-i", colour, "-vf", to, *coding)


@pytest.mark.parametrize(
    ("reader", "size", "matrix", "full", "tagged"),
    [
        ("ffmpeg", "320x240", "bt709", False, True),
        ("ffmpeg", "320x240", "bt709", True, True),
        ("ffmpeg", "320x240", "bt601", False, False),
        ("ffmpeg", "1280x720", "bt709", False, False),
        ("ffmpeg", "1280x720", "bt601", False, True),
        ("decord", "1280x720", "bt709", False, False),
    ],
)
def test_red_is_red_by_every_matrix_and_range(
    tmp_path: Path, reader: str, size: str, matrix: str, full: bool, tagged: bool
) -> None:
    path = flat(tmp_path / "red.mp4", size=size, matrix=matrix, full=full, tagged=tagged)
    source = open_frames(path, probe(path), reader=reader)
    frame = next(iter(source.frames()))
    assert np.abs(frame.rgb.mean(axis=(0, 1)) - RED).max() < 3


@pytest.mark.parametrize(("reader", "clockwise"), [("ffmpeg", 90), ("ffmpeg", 180), ("ffmpeg", 270), ("decord", 90)])
def test_a_turned_picture_is_turned(plain: Path, tmp_path: Path, clockwise: int, reader: str) -> None:
    turned = lavfi.turned(tmp_path / "turned.mp4", plain, clockwise)
    upright = next(FfmpegSource(plain, probe(plain)).frames()).rgb
    shown = next(open_frames(turned, probe(turned), reader=reader).frames()).rgb
    asked = np.rot90(upright, -clockwise // 90)
    assert shown.shape == asked.shape
    assert np.abs(shown.astype(int) - asked).mean() < 4


def test_a_range_of_frames_is_the_same_as_in_the_whole(plain: Path) -> None:
    source = FfmpegSource(plain, probe(plain))
    whole = list(source.frames())
    part = list(source.frames(7, 12))
    assert [f.index for f in part] == [7, 8, 9, 10, 11]
    assert all((a.rgb == b.rgb).all() for a, b in zip(part, whole[7:12], strict=True))
    assert list(source.frames(5, 5)) == []


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, 26)])
def test_frames_that_do_not_exist_are_refused(plain: Path, start: int, stop: int) -> None:
    with pytest.raises(RequestError, match="frames"):
        FfmpegSource(plain, probe(plain)).frames(start, stop)


def test_frames_may_be_drawn_on(plain: Path) -> None:
    frame = next(FfmpegSource(plain, probe(plain)).frames())
    frame.rgb[:] = 0


@pytest.mark.parametrize("fps", ["50", "24000/1001"])
def test_the_training_view_has_its_rate_and_size_whatever_the_source_has(tmp_path: Path, fps: str) -> None:
    path = lavfi.video(tmp_path / "in.mp4", size="320x180", fps=fps)
    view = FfmpegSource.normalised(path, probe(path), fps=25, max_side_px=160)
    frames = list(view.frames())
    assert len(frames) == len(view.times)
    assert abs(len(frames) - 25) <= 1
    assert frames[0].rgb.shape == (90, 160, 3)
    assert {view.times.at(i + 1).seconds - view.times.at(i).seconds for i in range(len(frames) - 1)} == {
        Fraction(1, 25)
    }
    assert view.info.video is not None
    assert (view.info.video.width, view.info.video.num_frames, view.info.video.is_vfr) == (160, len(frames), False)


def test_a_part_of_the_training_view_is_the_same_as_in_the_whole(tmp_path: Path) -> None:
    path = lavfi.uneven(tmp_path / "vfr.mp4")
    view = FfmpegSource.normalised(path, probe(path), fps=25, max_side_px=64)
    whole, part = list(view.frames()), list(view.frames(9, 20))
    assert [f.index for f in part] == list(range(9, 20))
    assert all((a.rgb == b.rgb).all() for a, b in zip(part, whole[9:20], strict=True))


def test_a_small_picture_is_not_enlarged(plain: Path) -> None:
    view = FfmpegSource.normalised(plain, probe(plain), fps=25, max_side_px=1280)
    assert next(iter(view.frames())).rgb.shape == (64, 96, 3)


@pytest.mark.parametrize("reader", ["ffmpeg", "decord"])
def test_a_file_that_shrinks_after_it_was_probed_is_truncated(tmp_path: Path, reader: str) -> None:
    path = lavfi.video(tmp_path / "film.mp4", size="128x96", seconds=2, more=("-movflags", "+faststart"))
    info, times = probe_with_times(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Unusable) as caught:
        list(open_frames(path, info, reader=reader, times=times, stall_s=20).frames())
    assert caught.value.rejection.code in ("truncated", "frame_count", "unreadable")


def test_decord_refuses_a_container_it_is_known_to_misread(tmp_path: Path) -> None:
    path = lavfi.video(tmp_path / "film.mpg", more=("-c:v", "mpeg1video", "-bf", "2"))
    with pytest.raises(Unusable, match="decord_container"):
        DecordSource(path, probe(path))


def test_an_unknown_reader_is_refused_with_the_choices(plain: Path) -> None:
    with pytest.raises(RequestError, match=r"did you mean 'decord'.*ffmpeg, decord"):
        open_frames(plain, probe(plain), reader="decrod")


@pytest.mark.parametrize("reader", ["ffmpeg", "decord"])
def test_a_reader_left_in_the_middle_leaves_no_program_behind(tmp_path: Path, reader: str) -> None:
    # Far more pictures than fit in a pipe, or the program would be through before it is looked for.
    path = lavfi.video(tmp_path / "long.mp4", size="640x480", seconds=2.0)
    before = children()
    source = open_frames(path, probe(path), reader=reader)
    frames = source.frames()
    next(frames)
    assert children() - before
    source.close()
    assert not children() - before


def children() -> set[str]:
    """Our own children that still run; another test's server may be among them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(stat.parent.name)
    return found


def test_a_child_that_hangs_is_given_up(plain: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setattr("preprocessing.media.decode.sys.executable", str(hanging))
    started = time.monotonic()
    with pytest.raises(Exception, match="was killed"):
        DecordSource(plain, probe(plain), stall_s=0.5)
    assert time.monotonic() - started < 30
