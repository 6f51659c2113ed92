"""A few frames of a long title as people see them: the colours and the turn that ffmpeg gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from preprocessing.media.decode import FfmpegSource
from preprocessing.media.displayed import DisplayedSource
from preprocessing.media.native import NativeFrame, NativeSource
from preprocessing.media.probe import probe_with_times
from tests.support import lavfi


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_a_turned_frame_in_the_middle_looks_as_ffmpeg_shows_it(tmp_path: Path, clockwise: int) -> None:
    plain = lavfi.video(tmp_path / "plain.mp4", size="128x96", picture="gradients=seed=3:")
    path = lavfi.turned(tmp_path / "turned.mp4", plain, clockwise)
    info, times = probe_with_times(path)
    assert times is not None
    (ours,), (theirs,) = (
        list(s.frames(17, 18)) for s in (DisplayedSource(path, info, times), FfmpegSource(path, info))
    )
    assert ours.index == theirs.index == 17
    assert ours.rgb.shape == theirs.rgb.shape
    assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 2


def test_looks_in_order_go_on_from_one_another_and_one_back_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lavfi.video(tmp_path / "film.mp4", size="128x96")
    info, times = probe_with_times(path)
    assert times is not None
    entered: list[int] = []
    real = NativeSource.frames

    def noted(self: NativeSource, start: int = 0, stop: int | None = None) -> Iterator[NativeFrame]:
        entered.append(start)
        return real(self, start, stop)

    monkeypatch.setattr(NativeSource, "frames", noted)
    source = DisplayedSource(path, info, times)
    seen = [frame for index in (3, 4, 20, 7, 24) for frame in source.frames(index, index + 1)]
    source.close()
    assert [frame.index for frame in seen] == [3, 4, 20, 7, 24]
    assert entered == [3, 7]
    alone = [next(iter(DisplayedSource(path, info, times).frames(index, index + 1))) for index in (20, 7)]
    np.testing.assert_array_equal(seen[2].rgb, alone[0].rgb)
    np.testing.assert_array_equal(seen[3].rgb, alone[1].rgb)
