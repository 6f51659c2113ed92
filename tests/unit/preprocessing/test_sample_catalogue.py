"""Whole sample titles: files that other programs can read, with their truth beside them."""

from __future__ import annotations

import csv
import functools
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from preprocessing.landmarks.native_noise import noise_to_log
from preprocessing.media.runner import run_media
from preprocessing.media.tools import ffmpeg_command, ffprobe, file_url
from preprocessing.sample.catalogue import make_sample, make_title
from preprocessing.sample.motion import motion_for
from preprocessing.sample.portrait import Portrait
from preprocessing.sample.speech import RECORDED_DIR
from preprocessing.sample.warp import render
from shards.errors import RequestError
from shards.topology import MEDIAPIPE131_MESH_INDICES, topology
from tests.support.synthetic import spoken_line, talking_title

TOPOLOGY = topology("mediapipe131")
UPPER, LOWER = TOPOLOGY.inner_lip_mid


def pictures(video: Path, side: int) -> np.ndarray:
    command = ffmpeg_command(
        "-i", file_url(video), "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
    )
    return np.frombuffer(run_media(command, deadline_s=60).stdout, dtype=np.uint8).reshape(-1, side, side, 3)


def asked(video: Path, entries: str, *only: str) -> list[str]:
    command = [ffprobe(), "-v", "error", *only, "-show_entries", entries, "-of", "csv=p=0", str(video)]
    return run_media(command, deadline_s=60).stdout.decode().split()


def tracked(video: Path) -> np.ndarray:
    """(T, 131, 2) as FaceMesh with its lip refinement sees them; every frame must show a face."""
    import mediapipe

    out = []
    with noise_to_log(logging.getLogger(__name__)):
        mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)
        for picture in pictures(video, 512):
            found = mesh.process(picture).multi_face_landmarks
            assert found, f"no face in frame {len(out)}"
            points = found[0].landmark
            out.append([(points[i].x * 512 - 0.5, points[i].y * 512 - 0.5) for i in MEDIAPIPE131_MESH_INDICES])
        mesh.close()
    return np.array(out)


@pytest.fixture(scope="module", params=["hopper", "astronaut"])
def followed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, dict]:
    title = talking_title(tmp_path_factory.mktemp("title"), seconds=3.0, portrait=request.param, line="morning.en")
    with np.load(title.truth) as truth:
        return tracked(title.video), dict(truth)


def test_a_tracker_sees_the_mouth_move_as_the_truth_says(followed: tuple[np.ndarray, dict]) -> None:
    seen, truth = followed
    assert seen.shape == truth["landmarks"].shape == (75, 131, 2)
    openings = seen[:, LOWER, 1] - seen[:, UPPER, 1]
    assert np.corrcoef(openings, truth["opening"])[0, 1] > 0.8
    assert np.corrcoef(openings, truth["landmarks"][:, LOWER, 1] - truth["landmarks"][:, UPPER, 1])[0, 1] > 0.9


def test_the_true_landmarks_are_where_a_tracker_sees_them(followed: tuple[np.ndarray, dict]) -> None:
    seen, truth = followed
    assert np.linalg.norm(seen - truth["landmarks"], axis=-1).mean() < 2.0  # px; the eyes are about 80 apart


def test_a_tracker_sees_bilabials_shut_and_vowels_open(followed: tuple[np.ndarray, dict]) -> None:
    seen, truth = followed
    openings = seen[:, LOWER, 1] - seen[:, UPPER, 1]
    shut = [
        np.abs(truth["times"] - (p.start_s + p.end_s) / 2).argmin()
        for p in spoken_line("morning.en").phonemes
        if p.symbol in ("m", "b", "p") and p.end_s < 2.9
    ]
    assert len(shut) >= 3
    assert np.median(openings[shut]) < 0.25 * np.quantile(openings, 0.9)


@pytest.mark.parametrize(
    ("fps", "count"), [(Fraction(24000, 1001), 24), (Fraction(30), 30), (Fraction(50), 50), (Fraction(25, 2), 12)]
)
def test_any_frame_rate_samples_the_same_motion(tmp_path: Path, fps: Fraction, count: int) -> None:
    title = talking_title(tmp_path, seconds=1.0, fps=fps, size=(96, 96))
    motion = motion_for(spoken_line(), 1.0, 0)
    with np.load(title.truth) as truth:
        assert len(truth["times"]) == count
        assert truth["times"] == pytest.approx([float(k / fps) for k in range(count)])
        assert truth["opening"] == pytest.approx([motion.opening(t) for t in truth["times"]], abs=1e-6)
    assert int(asked(title.video, "stream=nb_frames")[0]) == count
    assert Fraction(asked(title.video, "stream=r_frame_rate")[0]) == fps


def test_frames_may_have_times_of_their_own(tmp_path: Path) -> None:
    times = (0.0, 0.04, 0.1, 0.3, 0.31, 0.5)
    title = talking_title(tmp_path, seconds=0.6, size=(96, 96), frame_times_s=times)
    shown = sorted(float(t.strip(",")) for t in asked(title.video, "packet=pts_time", "-select_streams", "v"))
    assert shown == pytest.approx(times, abs=1e-4)
    assert len(pictures(title.video, 96)) == len(times)


def test_colours_survive_the_encoder_and_are_tagged(tmp_path: Path) -> None:
    title = talking_title(tmp_path, seconds=0.4, size=(256, 256), silent=True)
    drawn, _ = render(Portrait.load("hopper"), motion_for(None, 0.4, 0), 0.0, size=(256, 256))
    error = pictures(title.video, 256)[0].astype(float) - drawn
    assert np.abs(error.mean(axis=(0, 1))).max() < 1.5
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 28
    tags = asked(title.video, "stream=pix_fmt,color_range,color_space,color_transfer,color_primaries")[0]
    assert tags == "yuv420p,tv,bt709,bt709,bt709"


def test_a_silent_title_has_a_silent_track_and_a_mute_one_has_none(tmp_path: Path) -> None:
    silent = talking_title(tmp_path, name="silent", seconds=0.4, size=(64, 64), silent=True)
    mute = talking_title(tmp_path, name="mute", seconds=0.4, size=(64, 64), sound=False)
    assert asked(silent.video, "stream=codec_name") == ["h264", "aac"]
    assert asked(mute.video, "stream=codec_name") == ["h264"]
    with np.load(silent.truth) as truth:
        assert not truth["opening"].any()


def test_the_sound_is_the_line_from_the_first_frame_on(tmp_path: Path) -> None:
    title = talking_title(tmp_path, seconds=2.0, size=(64, 64))
    line = spoken_line()
    command = ffmpeg_command("-i", file_url(title.video), "-ac", "1", "-ar", str(line.rate_hz), "-f", "s16le", "-")
    heard = np.frombuffer(run_media(command, deadline_s=60).stdout, dtype=np.int16).astype(float)
    said = line.samples[: 2 * line.rate_hz].astype(float)
    shifts = range(-200, 201)
    scores = [np.dot(said[400:20000], heard[400 + s : 20000 + s]) for s in shifts]
    assert abs(shifts[int(np.argmax(scores))]) <= 0.002 * line.rate_hz


def test_equal_requests_make_equal_bytes(tmp_path: Path) -> None:
    made = [
        make_title(tmp_path / name, "t", line=spoken_line(), size=(96, 96), seed=3, seconds=0.5) for name in ("a", "b")
    ]
    assert made[0].video.read_bytes() == made[1].video.read_bytes()
    assert made[0].truth.read_bytes() == made[1].truth.read_bytes()


def test_a_sample_catalogue_names_files_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.sample.catalogue.make_title", functools.partial(make_title, size=(64, 64)))
    path = make_sample(tmp_path, titles=2)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["title_id"], r["language"], r["output"]) for r in rows[:2]] == [
        ("hopper", "es", "hopper.es.mp4"),
        ("hopper", "en", "hopper.en.mp4"),
    ]
    assert {r["title_id"] for r in rows[2:]} == {"astronaut-002"}
    assert len({r["output"] for r in rows}) == len(rows)
    for row in rows:
        assert asked(tmp_path / row["video"], "stream=codec_name") == ["h264", "aac"]
        assert asked(tmp_path / row["audio"], "stream=codec_name") == ["aac"]
        seconds = [float(asked(tmp_path / row[k], "format=duration")[0]) for k in ("video", "audio")]
        assert seconds[0] == pytest.approx(seconds[1], abs=0.05)


def test_the_example_in_the_repository_is_the_first_title() -> None:
    rows = (RECORDED_DIR.parent / "catalogue.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "title_id,video,audio,language,output"
    assert len(rows) == 3
    everything = [p for p in RECORDED_DIR.parent.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in everything) < 2_000_000


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"portrait": "nobody"}, "portrait"),
        ({"size": (95, 96)}, "size"),
        ({"line": None}, "seconds"),
        ({"frame_times_s": [0.2, 0.1]}, "frame_times_s"),
    ],
)
def test_an_impossible_title_is_refused_before_any_work(tmp_path: Path, wrong: dict, field: str) -> None:
    arguments = {"line": spoken_line(), **wrong}
    with pytest.raises(RequestError) as refused:
        make_title(tmp_path, "t", **arguments)
    assert refused.value.field == field
    assert not list(tmp_path.iterdir())


def test_a_sample_without_titles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="titles"):
        make_sample(tmp_path, titles=0)
