"""Finds and ends the processes a worker left behind, whatever became of the worker itself.

A worker's process starts with a mark in its environment, and what it starts (ffmpeg, a decoding child, a child of
those) inherits the mark. So they are found by it: after the worker died and they were handed to init, after they moved
to a session of their own, and without trusting a process id that may have been given to somebody else since. Only a
child that was started with an environment of its own, by a worker that is already dead, cannot be found.

Reads /proc, so it works on Linux; elsewhere nothing is found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_PROC = Path("/proc")
_EXEC_TRIES, _EXEC_PAUSE_S = 5, 0.002


def marked(name: str, value: str) -> set[int]:
    """Living processes whose environment began with `name=value`, and all their descendants; never this process."""
    needle = f"{name}={value}".encode()
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in _PROC.glob("[0-9]*"):
        # Processes come and go while we look, and others' are not ours to read.
        with contextlib.suppress(OSError):
            state, parent = _state_and_parent(entry)
            if state in "ZX":
                continue
            parents[int(entry.name)] = parent
            if needle in _environment(entry, parent).split(b"\0"):
                found.add(int(entry.name))
    return _with_descendants(found - {os.getpid()}, parents) - {os.getpid()}


def is_alive(pid: int) -> bool:
    """Whether the process still runs; True where the system does not say."""
    if not _PROC.exists():
        return True
    try:
        return _state_and_parent(_PROC / str(pid))[0] not in "ZX"
    except OSError:
        return False


def end_marked(name: str, value: str, *, within_s: float = 5.0) -> set[int]:
    """Kills what `marked` finds until nothing is left; returns what would not go (a process stuck in the kernel)."""
    until = time.monotonic() + within_s
    killed: set[int] = set()
    # A large process on its way out has lost its environment, so its mark, some time before it is gone.
    while left := (found := marked(name, value)) | {pid for pid in killed if is_alive(pid)}:
        if time.monotonic() > until:
            return left
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        # Again, because a process that was not stopped yet may have started another.
        time.sleep(0.02)
    return set()


def wait_gone(name: str, value: str, *, within_s: float) -> bool:
    """Whether the marked processes end by themselves in time."""
    until = time.monotonic() + within_s
    while marked(name, value):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _state_and_parent(entry: Path) -> tuple[str, int]:
    # "pid (command) state ppid ...": the command may hold spaces and brackets, so read from its last bracket.
    fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[1])


def _environment(entry: Path, parent: int) -> bytes:
    """What the process was started with; empty for the kernel's own threads, which are children of process 2."""
    tries = 1 if parent in (0, 2) else _EXEC_TRIES
    for _ in range(tries):
        if data := (entry / "environ").read_bytes():
            return data
        # A program that is just being started has no environment for an instant; it must not be overlooked then.
        time.sleep(_EXEC_PAUSE_S)
    return b""


def _with_descendants(roots: set[int], parents: dict[int, int]) -> set[int]:
    found = set(roots)
    fresh = roots
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found
