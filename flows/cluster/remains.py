"""The end of a worker, carried out on its own node: what it said last is kept and its processes are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from flows.cluster import processes
from flows.cluster.failures import TAIL_CHARS

WORKER_MARK = "DUBWRIGHT_WORKER"
"""In the environment of a worker's process, and so of everything it starts."""
STACKS_SIGNAL = signal.SIGUSR1
"""Makes a worker's process write its threads' stacks to stderr."""
_STACKS_S = 0.5
"""How long a hanging worker may take to say where it hangs."""
_READ_BYTES = 64 * 1024
# Ray's own marks in its log files.
_NOT_SAID = (":job_id:", ":actor_name:", ":task_name:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What is left of a worker."""

    said: str = ""
    """The end of what its process wrote to stderr."""
    left: frozenset[int] = frozenset()
    """Processes that would not go."""


def end_worker(mark: str, *, pid: int, stderr: Path | None, asks_stacks: bool) -> Remains:
    """Ends everything that carries the mark; a process that hangs is asked first where it does."""
    if asks_stacks and stderr is not None:
        _ask_stacks(pid, stderr)
    left = processes.end_marked(WORKER_MARK, mark)
    return Remains(said=_said(stderr), left=frozenset(left))


def _ask_stacks(pid: int, stderr: Path) -> None:
    before = last = _size(stderr)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STACKS_SIGNAL)
    until = time.monotonic() + _STACKS_S
    while time.monotonic() < until:
        time.sleep(0.02)
        size = _size(stderr)
        # It is written line by line: what has stopped growing is whole.
        if size == last > before:
            return
        last = size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _said(stderr: Path | None) -> str:
    if stderr is None or not stderr.exists():
        return ""
    with stderr.open("rb") as stream:
        stream.seek(max(0, _size(stderr) - _READ_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.startswith(_NOT_SAID))[-TAIL_CHARS:]
