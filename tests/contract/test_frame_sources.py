"""Every reader of frames gives the same frames, at the same times, in nearly the same colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from preprocessing.media.base import DecodedFrame, FrameSource
from preprocessing.media.decode import Reader, open_frames
from preprocessing.media.probe import probe_with_times
from shards.schema import FrameTimes
from tests.support import lavfi

# A picture without hard edges or loud colours: how chroma is spread, and which way a half is rounded, is each reader's
# own taste.
SOFT = "gradients=speed=0.05:seed=3:c0=0x907060:c1=0x506070:c2=0xb0a090:c3=0x708060:"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A reader over a video, and what one pass over it gave."""

    source: FrameSource
    frames: list[DecodedFrame]
    times: FrameTimes
    by_ffmpeg: list[DecodedFrame]


@pytest.fixture(scope="module", params=["even", "uneven", "late"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    make: dict[str, Callable[[], Path]] = {
        "even": lambda: lavfi.video(folder / "even.mkv", size="130x98", fps="30000/1001", picture=SOFT),
        "uneven": lambda: lavfi.uneven(folder / "uneven.mp4", size="128x96", picture=SOFT),
        "late": lambda: lavfi.video(
            folder / "late.mp4", size="128x96", picture=SOFT, more=("-output_ts_offset", "0.4"), sound=True
        ),
    }
    return make[request.param]()


@pytest.fixture(scope="module", params=get_args(Reader))
def opened(request: pytest.FixtureRequest, path: Path) -> Iterator[Opened]:
    info, times = probe_with_times(path)
    assert times is not None
    source = open_frames(path, info, reader=request.param)
    by_ffmpeg = list(open_frames(path, info, reader="ffmpeg").frames())
    yield Opened(source=source, frames=list(source.frames()), times=times, by_ffmpeg=by_ffmpeg)
    source.close()


class TestEveryReader:
    def test_it_gives_every_frame_once_in_order(self, opened: Opened) -> None:
        assert [f.index for f in opened.frames] == list(range(len(opened.times)))

    def test_its_times_are_the_files(self, opened: Opened) -> None:
        assert opened.source.times.pts.tolist() == opened.times.pts.tolist()
        assert opened.source.times.base == opened.times.base

    def test_its_frames_are_the_size_it_says(self, opened: Opened) -> None:
        video = opened.source.info.video
        assert video is not None
        assert {f.rgb.shape for f in opened.frames} == {(video.height, video.width, 3)}

    def test_a_range_starts_and_stops_where_it_says(self, opened: Opened) -> None:
        part = list(opened.source.frames(11, 17))
        assert [f.index for f in part] == list(range(11, 17))
        assert all((f.rgb == opened.frames[f.index].rgb).all() for f in part)

    def test_its_pixels_are_the_ffmpeg_readers_within_two_levels(self, opened: Opened) -> None:
        pairs = zip(opened.frames, opened.by_ffmpeg, strict=True)
        assert max(np.abs(a.rgb.astype(int) - b.rgb).mean() for a, b in pairs) < 2
