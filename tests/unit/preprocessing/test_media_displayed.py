"""A few frames of a long title as people see them: the colours and the turn that ffmpeg gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocessing.media.decode import FfmpegSource
from preprocessing.media.displayed import DisplayedSource
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
