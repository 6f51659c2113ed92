"""Awkward scenes, from the pictures to the tracks: what is found, what is refused, and that nothing is joined."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from preprocessing.clip import analyse
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis
from preprocessing.landmarks.base import landmark_backend
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from shards.schema import U8
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw

FOOTAGE = Path(__file__).parents[4] / "shared" / "footage" / "clips"
ANNA, BEN = (220, 170, 140), (90, 140, 190)


def analysed(pictures: Sequence[U8], **faces: float) -> Analysis:
    config = PreprocessConfig.model_validate({"crop": {"size_px": 48}, "faces": {"max_faces": 4, **faces}})
    return analyse(MemorySource(pictures), DotBackend(), config)


def spans(found: Analysis) -> list[tuple[int, int]]:
    return [(a.track.start, a.track.stop) for a in found.tracks]


def test_a_cut_every_second_gives_a_track_for_each_second_and_two_people() -> None:
    pictures = []
    for second in range(6):
        skin, background = ((ANNA, 50), (BEN, 170))[second % 2]
        pictures += [draw([DrawnFace(x=140, y=100, eye_px=30, skin=skin)], background=background)] * 25
    found = analysed(pictures)
    assert spans(found) == [(25 * s, 25 * s + 25) for s in range(6)]
    assert [a.identity for a in found.tracks] == ["person-0", "person-1"] * 3
    assert found.rejections == ()


def test_no_crop_is_smoothed_over_a_cut() -> None:
    pictures = [draw([DrawnFace(x=80, y=100, eye_px=24)])] * 12
    pictures += [draw([DrawnFace(x=240, y=100, eye_px=24)], background=170)] * 12
    for aligned in analysed(pictures).tracks:
        matrices = aligned.transform.matrices
        np.testing.assert_allclose(matrices, matrices[:1].repeat(12, axis=0), atol=1e-9)


def test_two_speakers_are_two_tracks_of_two_people_all_along() -> None:
    pictures = [
        draw([DrawnFace(x=80, y=100, eye_px=24, skin=ANNA), DrawnFace(x=240, y=100, eye_px=28, skin=BEN)], seed=t)
        for t in range(30)
    ]
    found = analysed(pictures)
    assert spans(found) == [(0, 30), (0, 30)]
    assert sorted(a.identity for a in found.tracks) == ["person-0", "person-1"]


def test_a_tiny_face_is_a_row_that_says_how_tiny() -> None:
    found = analysed([draw([DrawnFace(x=100, y=90, eye_px=10)])] * 10)
    (row,) = found.rejections
    assert (found.tracks, row.code, row.threshold) == ((), "face_too_small", 40)
    assert row.value == pytest.approx(22, abs=2)


def test_pictures_without_a_face_are_one_row() -> None:
    found = analysed([draw([])] * 10)
    assert [(r.code, r.span and r.span.start.pts, r.span and r.span.end.pts) for r in found.rejections] == [
        ("no_face", 0, 400)
    ]


def composed(target: Path, *inputs: tuple[str, int, int, int], seconds: float = 2.0) -> Path:
    """A grey 1280 x 720 picture with real clips in it, each (name, width, left, top)."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y"]
    chain, last = "color=c=0x405060:s=1280x720:r=25[base];", "base"
    for number, (name, width, left, top) in enumerate(inputs):
        if not (FOOTAGE / name).is_file():
            pytest.skip("the real clips beside the project are not here")
        command += ["-i", str(FOOTAGE / name)]
        chain += f"[{number}:v]fps=25,scale={width}:-2[v{number}];[{last}][v{number}]overlay={left}:{top}[o{number}];"
        last = f"o{number}"
    command += ["-filter_complex", chain.rstrip(";"), "-map", f"[{last}]", "-t", str(seconds), "-an"]
    subprocess.run([*command, "-c:v", "libx264", "-crf", "12", str(target)], check=True, timeout=120)
    return target


@pytest.fixture
def real() -> Callable[[Path, int], Analysis]:
    def run(video: Path, max_faces: int) -> Analysis:
        config = PreprocessConfig.model_validate({"faces": {"max_faces": max_faces, "min_height_px": 25}})
        backend = landmark_backend("mediapipe", max_faces=max_faces)
        backend.setup()
        source = FfmpegSource.normalised(video, probe(video), fps=25, max_side_px=1280)
        found = analyse(source, backend, config)
        source.close()
        backend.close()
        return found

    return run


@pytest.mark.footage
def test_three_real_faces_of_35_to_100_px_are_followed_through_a_720p_picture(
    tmp_path: Path, real: Callable[[Path, int], Analysis]
) -> None:
    video = composed(
        tmp_path / "tiny.mp4",
        ("highsync__s17_main__3f63be.mp4", 240, 60, 430),
        ("liveportrait__driving_d11.mp4", 72, 900, 120),
        ("liveportrait__driving_d10.mp4", 190, 620, 300),
    )
    found = real(video, 4)
    assert spans(found) == [(0, 50)] * 3
    heights = [float(np.ptp(a.track.landmarks.points[0, :, 1])) for a in found.tracks]
    assert min(heights) < 45
    assert len({a.identity for a in found.tracks}) == 3


@pytest.mark.footage
def test_a_real_head_in_profile_is_followed_from_its_first_frame(real: Callable[[Path, int], Analysis]) -> None:
    clips = sorted(FOOTAGE.glob("sparsesync__*.mp4"))
    if not clips:
        pytest.skip("the real clips beside the project are not here")
    assert spans(real(clips[0], 1)) == [(0, 393)]


@pytest.mark.slow
def test_half_an_hour_of_one_face_takes_no_more_memory_than_a_worker_has() -> None:
    # In a process of its own: a test run's peak is not the worker's.
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.long_source", str(30 * 60 * 25)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    clips, peak_mib = (int(word) for word in child.stdout.split())
    assert clips == 360
    assert peak_mib < 1024
