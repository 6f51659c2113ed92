"""Processes that start in milliseconds: children of a parent that has imported everything and opened nothing.

A forked obstore does not work, so whoever forks here leaves all stores to the children.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Ended:
    """A process is over."""

    exit_code: int | None
    """None when a signal ended it."""
    signal: int | None


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours."""

    pid: int
    output: Path
    """What it wrote to stdout and stderr."""

    def wait(self, deadline_s: float = 60.0) -> Ended | None:
        """How it ended, or None when it has stopped itself. One that takes longer is killed, and that is an error."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                return None
            if pid:
                is_exit = os.WIFEXITED(status)
                return Ended(os.WEXITSTATUS(status) if is_exit else None, None if is_exit else os.WTERMSIG(status))
            time.sleep(POLL_S)
        self.kill()
        raise TimeoutError(f"process {self.pid} was not over after {deadline_s:g} s:\n{self.output.read_text()}")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def fork(work: Callable[[], None], output: Path) -> Child:
    """Does the work in a child: exit code 0, or 1 with the traceback at the end of its output."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _be_child(work, output)
    return Child(pid, output)


def _be_child(work: Callable[[], None], output: Path) -> NoReturn:
    code = 1
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent's stack must not be unwound a second time
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
