"""Finding and ending what a worker left behind, on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cluster import processes

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")

NAME = "DUBWRIGHT_TEST_MARK"


@pytest.fixture
def mark() -> Iterator[str]:
    value = uuid.uuid4().hex
    yield value
    processes.end_marked(NAME, value)


def start(script: str, mark: str) -> subprocess.Popen[str]:
    """A marked Python process, once it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {NAME: mark}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_children_are_found_even_in_a_session_and_an_environment_of_their_own(mark: str) -> None:
    script = (
        "import subprocess, time\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "subprocess.Popen(['sleep', '600'], env={}, start_new_session=True)\n"
        "print('ready', flush=True); time.sleep(600)\n"
    )
    with start(script, mark) as process:
        found = processes.marked(NAME, mark)
        assert process.pid in found
        assert len(found) == 3
        assert processes.end_marked(NAME, mark) == set()
        assert not any(map(processes.is_alive, found))


def test_children_are_found_after_their_parent_died(mark: str) -> None:
    script = "import os, subprocess\nsubprocess.Popen(['sleep', '600'])\nprint('ready', flush=True)\nos._exit(1)\n"
    with start(script, mark) as process:
        process.wait()
        (orphan,) = processes.marked(NAME, mark)
        assert processes.end_marked(NAME, mark) == set()
        assert not processes.is_alive(orphan)


def test_only_the_whole_mark_counts(mark: str) -> None:
    with start("import time\nprint('ready', flush=True)\ntime.sleep(600)\n", mark):
        assert processes.marked(NAME, mark[:-1]) == set()
        assert not processes.wait_gone(NAME, mark, within_s=0)
        assert processes.end_marked(NAME, mark) == set()
        assert processes.wait_gone(NAME, mark, within_s=0)


def test_this_process_is_never_among_them() -> None:
    name, _, value = Path("/proc/self/environ").read_bytes().split(b"\0")[0].decode().partition("=")
    assert os.getpid() not in processes.marked(name, value)
