"""A dubbing run that is killed at random moments, again and again, ends with the files of one that was left alone."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.cluster.config import EngineConfig
from flows.dub import RECORDS, make_titles, plan_catalogue
from flows.dubbing.config import DubConfig
from preprocessing.sample.speech import RECORDED_DIR
from tests.support.forks import Child, fork
from tests.support.models import nano_checkpoint
from tests.support.synthetic import talking_title

KILLS = 10
COLUMNS = ("title_id", "video", "audio", "language", "output")
PATIENT = DubConfig(engine=EngineConfig(backoff_s=0, max_attempts=2 * KILLS))
"""In a plain loop a unit dies with the run, and nobody can tell whose fault it was."""


@dataclass(frozen=True)
class Job:
    """Two pictures in two languages, and who speaks them."""

    catalogue: Path
    checkpoint: Path

    def run(self, out: Path) -> None:
        planned = plan_catalogue.fn(str(self.catalogue), str(self.checkpoint), None)
        make_titles.fn(planned, str(out), PATIENT, "none")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    rows = []
    for number, seconds in enumerate((1.2, 0.8)):
        talking_title(folder, seconds=seconds, size=(192, 192), seed=number, name=f"film{number}")
        for language, line in (("es", "hello.es"), ("en-GB", "morning.en")):
            output = f"{language}/film{number}.mp4"
            rows.append((f"film{number}", f"film{number}.mp4", str(RECORDED_DIR / f"{line}.flac"), language, output))
    with (folder / "catalogue.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return Job(folder / "catalogue.csv", nano_checkpoint(folder / "checkpoint"))


def finished(out: Path) -> dict[str, str]:
    """Digest of every film that was delivered, and of what is told beside it."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("film*"))
        if path.is_file() and RECORDS not in path.parts and path.suffix in (".mp4", ".json")
    }


def disturbed(begin: Callable[[], Child], whole_s: float, rng: random.Random) -> int:
    """Starts it and kills it, ten times at most; how often it was killed before it was through."""
    for kill in range(KILLS):
        child, until = begin(), time.monotonic() + rng.uniform(0.1, 0.6) * whole_s
        while time.monotonic() < until:
            pid, _ = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                return kill
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
    return KILLS


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_ten_times_ends_as_if_left_alone(job: Job, tmp_path: Path) -> None:
    log, begun = tmp_path / "log", time.monotonic()
    ended = fork(lambda: job.run(tmp_path / "calm"), log).wait(200)
    assert ended is not None
    assert ended.exit_code == 0, log.read_text()[-2000:]
    whole_s = time.monotonic() - begun
    out = tmp_path / "disturbed"
    kills = disturbed(lambda: fork(lambda: job.run(out), log), whole_s, random.Random(7))
    assert kills >= 1
    last = fork(lambda: job.run(out), log).wait(200)
    assert last is not None
    assert last.exit_code == 0, log.read_text()[-2000:]
    assert finished(out) == finished(tmp_path / "calm")
    assert [name for name in finished(out) if name.endswith(".mp4")] == [
        "en-GB/film0.mp4", "en-GB/film1.mp4", "es/film0.mp4", "es/film1.mp4",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_command_killed_ten_times_with_all_its_workers_ends_as_if_left_alone(job: Job, tmp_path: Path) -> None:
    def begin(out: Path) -> Child:
        command = [str(Path(sys.executable).with_name("dubwright")), "dub", str(job.catalogue), "--out", str(out)]
        with (tmp_path / "log").open("ab") as log:
            ran = subprocess.Popen(
                [*command, "--checkpoint", str(job.checkpoint)], stdout=log, stderr=log, start_new_session=True
            )
        return Child(ran.pid, tmp_path / "log")

    begun = time.monotonic()
    assert begin(tmp_path / "calm").wait(600) is not None
    whole_s = time.monotonic() - begun
    out = tmp_path / "disturbed"
    assert disturbed(lambda: begin(out), whole_s, random.Random(11)) >= 1
    last = begin(out).wait(600)
    assert last is not None
    assert last.exit_code == 0, (tmp_path / "log").read_text()[-2000:]
    assert finished(out) == finished(tmp_path / "calm")
