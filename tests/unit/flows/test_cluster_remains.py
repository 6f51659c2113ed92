"""Ending a worker on its own node, on a real process that holds the interpreter lock in native code."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cluster import processes
from flows.cluster.failures import TAIL_CHARS
from flows.cluster.remains import WORKER_MARK, end_worker

STUCK = """
import ctypes, faulthandler, signal, sys
faulthandler.register(signal.SIGUSR1, all_threads=True)
sys.stderr.write("x" * 100_000 + "\\n:task_name:never mind\\nbefore the call\\n")
sys.stderr.flush()
def native_call():
    print("ready", flush=True)
    ctypes.PyDLL(None).sleep(600)
native_call()
"""


@pytest.fixture
def mark() -> Iterator[str]:
    value = uuid.uuid4().hex
    yield value
    processes.end_marked(WORKER_MARK, value)


def stuck(mark: str, stderr: Path) -> subprocess.Popen[str]:
    with stderr.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", STUCK],
            env=os.environ | {WORKER_MARK: mark},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_process_that_hangs_says_where_and_is_ended(mark: str, tmp_path: Path) -> None:
    with stuck(mark, tmp_path / "worker.err") as process:
        remains = end_worker(mark, pid=process.pid, stderr=tmp_path / "worker.err", asks_stacks=True)
        assert not processes.is_alive(process.pid)
    assert remains.left == frozenset()
    assert "native_call" in remains.said
    assert "before the call" in remains.said
    assert ":task_name:" not in remains.said, "what Ray writes into the file is not the worker's word"
    assert len(remains.said) <= TAIL_CHARS


def test_one_that_is_not_asked_is_ended_all_the_same(mark: str, tmp_path: Path) -> None:
    with stuck(mark, tmp_path / "worker.err") as process:
        remains = end_worker(mark, pid=process.pid, stderr=None, asks_stacks=True)
        assert not processes.is_alive(process.pid)
    assert remains.said == ""


def test_what_is_gone_already_leaves_nothing(mark: str, tmp_path: Path) -> None:
    assert end_worker(mark, pid=0, stderr=tmp_path / "no.err", asks_stacks=False).left == frozenset()
