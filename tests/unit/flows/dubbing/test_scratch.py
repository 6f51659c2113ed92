"""Folders in which files are finished."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.dubbing import scratch as module
from flows.dubbing.scratch import SCRATCH, clear, scratch

HOLDER = """
import sys, time
from pathlib import Path
from flows.dubbing.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "film.mp4").write_bytes(b"half a film")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_nothing_is_left_of_a_file_that_was_finished(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder, scratch(tmp_path) as other:
        (folder / "film.mp4").write_bytes(b"film")
        assert folder.parent == other.parent == tmp_path / SCRATCH
        assert folder != other
    assert list(tmp_path.iterdir()) == []
    clear(tmp_path / "elsewhere")


def test_a_living_process_keeps_its_folder_and_a_killed_ones_goes_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        clear(tmp_path)
        assert (folder / "film.mp4").exists()
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_away_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def take_away_once(folder: object, operation: int) -> None:
        if not taken:
            taken.append(True)
            shutil.rmtree(tmp_path / SCRATCH)

    monkeypatch.setattr(module.fcntl, "flock", take_away_once)
    with scratch(tmp_path) as folder:
        (folder / "film.mp4").write_bytes(b"film")
    assert taken
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_lock_keeps_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with scratch(tmp_path) as folder:
        clear(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
