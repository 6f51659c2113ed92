"""One title all the way through the house, by the commands of the README."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe, probe_with_times
from shards.schema import U8
from tests.e2e.conftest import Ran

pytestmark = pytest.mark.timeout(600)

EXAMPLES = Path(__file__).parents[2] / "examples"
FEW_STEPS = "autoencoder: {steps: 30}\ncompletion: {steps: 10}\ndiffusion: {steps: 10}\njoint: {steps: 2}\n"
Command = Callable[..., Ran]


@dataclass(frozen=True)
class Thread:
    """What each command left behind."""

    root: Path
    preprocessed: dict[str, Any]
    trained: dict[str, Any]
    dubbed: dict[str, Any]

    @property
    def output(self) -> Path:
        return self.root / "out" / "hopper.es.mp4"


@pytest.fixture(scope="module")
def thread(dubwright: Command, tmp_path_factory: pytest.TempPathFactory) -> Thread:
    """Footage -> dataset -> checkpoint -> a dubbed title."""
    root = tmp_path_factory.mktemp("thread")
    small = root / "small.yaml"
    small.write_text("clips: {crop: {size_px: 64}}\n")
    few = root / "few.yaml"
    few.write_text(FEW_STEPS)
    store, checkpoint = root / "store", root / "checkpoint"
    footage = (EXAMPLES / "hopper.mp4", EXAMPLES / "hopper.es.m4a")
    preprocessed = dubwright("preprocess", *footage, "--store", store, "--config", small, "--json")
    trained = dubwright(
        "train",
        "--store",
        store,
        "--out",
        checkpoint,
        "--preset",
        "tiny",
        "--config",
        few,
        "--json",
        "--address",
        "none",
    )
    dubbed = dubwright("dub", one_row(root), "--out", root / "out", "--checkpoint", checkpoint, "--json")
    return Thread(root=root, preprocessed=preprocessed.answer, trained=trained.answer, dubbed=dubbed.answer)


def one_row(root: Path) -> Path:
    """The sample catalogue's Spanish row, its paths made absolute."""
    with (EXAMPLES / "catalogue.csv").open(newline="") as stream:
        row = next(r for r in csv.DictReader(stream) if r["language"] == "es")
    path = root / "catalogue.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, row)
        writer.writeheader()
        writer.writerow(row | {k: str(EXAMPLES / row[k]) for k in ("video", "audio")})
    return path


def test_every_source_is_accounted_for(thread: Thread) -> None:
    account = thread.preprocessed
    assert account["planned"] == 2
    assert account["kept"] == 1
    assert account["rejected"] == 1
    assert account["quarantined"] == 0
    assert account["rejections"] == {"no_video": 1}
    assert account["clips"] >= 1


def test_the_store_says_what_is_done_and_nothing_in_it_is_damaged(thread: Thread, dubwright: Command) -> None:
    store = thread.root / "store"
    assert dubwright("store", "status", store, "--json").answer["current"] == thread.preprocessed["dataset"]
    assert dubwright("store", "verify", store, "--json").answer["damaged"] == []


def test_inspect_draws_a_clip(thread: Thread, dubwright: Command) -> None:
    store = thread.root / "store"
    clip = dubwright("inspect", store, "--json").answer["clips"][0]
    picture = thread.root / "clip.png"
    found = dubwright("inspect", clip, "--picture", picture, "--json").answer
    assert found["kind"] == "clip"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_training_went_through_every_stage(thread: Thread) -> None:
    assert thread.trained["finished"]
    assert thread.trained["trained"] == {"autoencoder": 30, "completion": 10, "diffusion": 10, "joint": 2}


def test_the_title_is_finished_and_reported(thread: Thread) -> None:
    # What hardly learned anything draws mouths that fit no sound, and the report says so.
    assert sum(thread.dubbed["titles"].values()) == 1
    assert set(thread.dubbed["titles"]) <= {"succeeded", "succeeded_with_flags"}
    assert thread.dubbed["outputs"] == [str(thread.output)]
    page = Path(thread.dubbed["report"]).read_text()
    assert "hopper.es.mp4" in page
    assert "data:image/jpeg;base64," in page
    row = json.loads((thread.root / "out" / "report.json").read_text())["rows"][0]
    silent = sum(left["stop"] - left["start"] for left in row["left_alone"])
    assert row["rendered_frames"] + silent == 190
    assert row["rendered_frames"] > 150
    assert {path.name for path in (thread.root / "out").iterdir()} >= {
        "report.html", "report.json", "results.parquet", "flags.csv", "hopper.es.mp4.provenance.json",
    }  # fmt: skip


def test_every_frame_keeps_its_time(thread: Thread) -> None:
    info, times = probe_with_times(thread.output)
    source, source_times = probe_with_times(EXAMPLES / "hopper.mp4")
    assert times is not None
    assert source_times is not None
    np.testing.assert_allclose(times.seconds(), source_times.seconds(), atol=1e-6)
    assert info.video is not None
    assert source.video is not None
    assert (info.video.frame_rate, info.video.num_frames) == (source.video.frame_rate, source.video.num_frames)


def test_the_delivered_sound_is_the_given_track_packet_for_packet(thread: Thread) -> None:
    assert sound_packets(thread.output) == sound_packets(EXAMPLES / "hopper.es.m4a")


def test_the_mouth_changes_and_the_rest_of_the_frame_does_not(thread: Thread) -> None:
    truth = np.load(EXAMPLES / "hopper.truth.npz")["landmarks"]
    for index in (40, 90, 140):
        before, after = frame(EXAMPLES / "hopper.mp4", index), frame(thread.output, index)
        change = np.abs(before.astype(np.int16) - after.astype(np.int16)).mean(axis=2)
        left, top = truth[index].min(axis=0)
        right, bottom = truth[index].max(axis=0)
        inside = np.zeros(change.shape, dtype=bool)
        inside[int((top + bottom) / 2) : int(bottom) + 60, int(left) - 10 : int(right) + 10] = True
        mouth = truth[index][-40:].mean(axis=0).astype(int)
        assert change[mouth[1] - 20 : mouth[1] + 20, mouth[0] - 20 : mouth[0] + 20].mean() > 3
        # What is left outside is the encoder's own loss.
        assert np.sqrt((change[~inside] ** 2).mean()) < 1.5


def test_running_again_finds_everything_up_to_date(thread: Thread, dubwright: Command) -> None:
    again = dubwright(
        "dub", thread.root / "catalogue.csv", "--out", thread.root / "out",
        "--checkpoint", thread.root / "checkpoint", "--json",
    )  # fmt: skip
    assert set(again.answer["titles"]) <= {"up_to_date", "succeeded_with_flags"}
    assert "analysing" not in again.stderr


def test_a_dry_run_prints_its_plan_as_one_object_and_writes_nothing(dubwright: Command, tmp_path: Path) -> None:
    plan = dubwright("dub", EXAMPLES / "catalogue.csv", "--out", tmp_path / "out", "--dry-run", "--json").answer
    assert plan["titles"] == 1
    assert plan["frames"] == 2 * 190
    assert plan["units"] >= 3
    assert not (tmp_path / "out").exists()


def sound_packets(path: Path) -> list[str]:
    """A digest of each packet of the first sound track."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-c", "copy", "-f", "framehash", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    digests = [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]
    assert digests, hashlib.sha256(done.stdout.encode()).hexdigest()
    return digests


def frame(path: Path, index: int) -> U8:
    source = FfmpegSource(path, probe(path))
    try:
        return next(source.frames(index, index + 1)).rgb
    finally:
        source.close()
