"""Two clips of one track: nobody sees where they meet."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.hearing import Slice, Sound, Speeches
from flows.workers.scene import Scene, aligned_ticks, completed, scene_of
from model.batch import FRAME_S
from model.choice import References
from model.completion import window_starts
from model.networks import Networks
from model.pipeline import DubbingPipeline
from preprocessing.audio.mel import MelSpectrogram
from preprocessing.clip import analyse
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis
from shards.fingerprint import file_sha256
from shards.schema import F32
from tests.support.cast import sound
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw
from tests.support.models import nano_config

FRAMES, BORDER = 120, 60
CONFIG = nano_config()
WINDOW, OVERLAP = CONFIG.completion.window_frames, CONFIG.completion.overlap_frames


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """A head that nods while it is filmed."""
    poses = [DrawnFace(x=160, y=110 + 6 * np.sin(t / 5), eye_px=30) for t in range(FRAMES)]
    config = PreprocessConfig.model_validate({"crop": {"size_px": 32}})
    return analyse(MemorySource([draw([pose]) for pose in poses]), DotBackend(), config)


@pytest.fixture(scope="module")
def pipe() -> DubbingPipeline:
    """A completion that does something: its last layers are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = Networks(CONFIG)
        for name in ("read_lips", "read_jaw"):
            torch.nn.init.normal_(networks.completion.get_parameter(f"{name}.weight"), std=0.3)
    return DubbingPipeline.from_networks(networks)


def scene(analysis: Analysis, first: int, count: int) -> Scene:
    return scene_of(analysis, 0, first, count, WINDOW, OVERLAP)


def whole(analysis: Analysis) -> Scene:
    return scene(analysis, 0, FRAMES)


def said(pipe: DubbingPipeline, here: Scene, faces: F32, audio: Path) -> F32:
    times = here.times_s[here.clip]
    span = (Fraction(str(round(float(t), 6))) for t in (times[0], times[-1]))
    heard = Slice.around([Sound(audio=str(audio), sha256=file_sha256(audio), stream=None)], *span)
    features = [MelSpectrogram().extract(Speeches().heard(heard))]
    frames = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    return completed(pipe, here, features, References(frames=frames, landmarks=faces))


def test_clips_say_what_their_whole_track_would_so_no_border_shows(
    analysis: Analysis, pipe: DubbingPipeline, tmp_path: Path
) -> None:
    audio = sound(tmp_path / "speech.wav", FRAMES * FRAME_S)
    before, after, both = scene(analysis, 0, BORDER), scene(analysis, BORDER, FRAMES - BORDER), whole(analysis)
    faces, content = both.landmarks.points[[0, 20, 40]], list(both.landmarks.topology.content)
    one, other = (said(pipe, s, faces, audio)[s.clip][:, content] for s in (before, after))
    together = said(pipe, both, faces, audio)[:, content]
    moved = np.linalg.norm(np.diff(together, axis=0), axis=2).mean(axis=1)
    assert np.median(moved) > 0.1
    np.testing.assert_allclose(np.concatenate([one, other]), together, atol=0.02)
    assert np.linalg.norm(other[0] - one[-1], axis=1).mean() == pytest.approx(moved[BORDER - 1], abs=0.02)


def test_a_clip_that_knew_no_neighbours_would_show_its_border(
    analysis: Analysis, pipe: DubbingPipeline, tmp_path: Path
) -> None:
    """The measure above can fail: this is what it is made for."""
    audio = sound(tmp_path / "speech.wav", FRAMES * FRAME_S)
    both, after = whole(analysis), scene(analysis, BORDER, FRAMES - BORDER)
    faces, content = both.landmarks.points[[0, 20, 40]], list(both.landmarks.topology.content)
    first, last = aligned_ticks(BORDER * FRAME_S, (FRAMES - 1) * FRAME_S, WINDOW, OVERLAP)
    alone = dataclasses.replace(
        after,
        landmarks=after.landmarks.slice(after.clip.start, after.clip.stop),
        times_s=after.times_s[after.clip],
        clip=slice(0, FRAMES - BORDER),
        ticks=(first + 2, last),
    )
    found = said(pipe, alone, faces, audio)[:, content]
    assert np.abs(found - said(pipe, both, faces, audio)[BORDER:, content])[0].max() > 0.1


def test_a_scene_is_the_clip_and_its_neighbours_on_the_titles_clock(analysis: Analysis) -> None:
    here = scene(analysis, BORDER, 20)
    assert here.times_s[here.clip] == pytest.approx(np.arange(BORDER, BORDER + 20) * FRAME_S)
    assert here.clip.start >= OVERLAP
    assert len(here.times_s) - here.clip.stop >= OVERLAP
    track = analysis.tracks[0]
    np.testing.assert_allclose(
        here.landmarks.points[here.clip],
        track.transform.to_crop(track.track.landmarks.points)[BORDER : BORDER + 20],
        atol=1e-4,
    )


def test_at_the_ends_of_a_track_there_are_no_neighbours(analysis: Analysis) -> None:
    assert scene(analysis, 0, FRAMES).clip == slice(0, FRAMES)


@pytest.mark.parametrize(("first_s", "last_s"), [(0.0, 0.0), (0.0, 4.0), (2.4, 4.76), (1.001, 1.002), (7.77, 30.03)])
@pytest.mark.parametrize(("window", "overlap"), [(10, 4), (25, 10), (8, 1)])
def test_windows_begin_at_multiples_of_their_stride_and_all_of_them_are_there(
    first_s: float, last_s: float, window: int, overlap: int
) -> None:
    begin, last = aligned_ticks(first_s, last_s, window, overlap)
    stride = window - overlap
    assert begin % stride == 0
    starts = [begin + s for s in window_starts(last + 1 - begin, window, overlap)]
    low, high = int(np.floor(first_s / FRAME_S + 1e-6)), int(np.ceil(last_s / FRAME_S - 1e-6))
    wanted = [s for s in range(begin - 10 * stride, last + 10 * stride, stride) if s <= high and s + window > low]
    assert starts == wanted
