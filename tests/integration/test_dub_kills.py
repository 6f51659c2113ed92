"""A dubbing run that is killed at random moments, again and again, ends with the files of one that was left alone."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preprocessing.sample.speech import RECORDED_DIR
from tests.support.forks import Child
from tests.support.killed_dub import disturbed, finished
from tests.support.models import nano_checkpoint
from tests.support.synthetic import talking_title

COLUMNS = ("title_id", "video", "audio", "language", "output")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of two pictures in two languages, and who speaks them."""
    folder, rows = tmp_path_factory.mktemp("job"), []
    for number, seconds in enumerate((1.2, 0.8)):
        talking_title(folder, seconds=seconds, size=(192, 192), seed=number, name=f"film{number}")
        for language, line in (("es", "hello.es"), ("en-GB", "morning.en")):
            output = f"{language}/film{number}.mp4"
            rows.append((f"film{number}", f"film{number}.mp4", str(RECORDED_DIR / f"{line}.flac"), language, output))
    with (folder / "catalogue.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    nano_checkpoint(folder / "checkpoint")
    return folder


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_ten_times_ends_as_if_left_alone(job: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_dub", str(job)],
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
        stdin=subprocess.DEVNULL,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["kills"] >= 1
    assert told["disturbed"] == told["calm"]
    assert [name for name in told["calm"] if name.endswith(".mp4")] == [
        "en-GB/film0.mp4", "en-GB/film1.mp4", "es/film0.mp4", "es/film1.mp4",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_command_killed_ten_times_ends_as_if_left_alone(job: Path, tmp_path: Path) -> None:
    def begin(out: Path) -> Child:
        command = [str(Path(sys.executable).with_name("dubwright")), "dub", str(job / "catalogue.csv")]
        command += ["--out", str(out), "--checkpoint", str(job / "checkpoint")]
        log, writing = tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), writing, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        # Not by `subprocess`: who waits for it is `Child`.
        return Child(os.posix_spawn(command[0], command, os.environ, file_actions=files, setsid=True), log)

    begun = time.monotonic()
    assert begin(tmp_path / "calm").wait(600) is not None
    whole_s = time.monotonic() - begun
    out = tmp_path / "disturbed"
    assert disturbed(lambda: begin(out), whole_s, random.Random(11)) >= 1
    last = begin(out).wait(600)
    assert last is not None
    assert last.exit_code == 0, (tmp_path / "log").read_text()[-2000:]
    assert finished(out) == finished(tmp_path / "calm")
