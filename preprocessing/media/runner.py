"""Runs a media program so that it can neither hang us nor outlive us.

Owns: the child process, its pipes and its deadlines. Which program and which arguments is the callers' business
(`tools.py` has the safe beginnings). An argument list, never a shell; a process group of its own, killed on the way
out whatever happens; standard input closed unless it is fed; the end of what it said kept for the error message.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from preprocessing.errors import MediaToolError, MediaToolTimeout, ToolMissing

logger = logging.getLogger(__name__)

STDERR_KEPT_BYTES = 8192
PIPE_BYTES = 1 << 20
GRACE_S = 5.0
"""How long a killed program may take to be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaResult:
    """What a program that succeeded gave."""

    stdout: bytes
    stderr: str


class MediaPipe:
    """A running program whose output is read, or whose input is written, piece by piece.

    Both deadlines count only the time we wait *for the program*: a slow consumer fills the pipe and blocks a healthy
    ffmpeg, and that is not ffmpeg's fault. `stall_s` is the longest single wait, `deadline_s` all waits together.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        deadline_s: float,
        stall_s: float | None = None,
        reads: bool = True,
        writes: bool = False,
    ) -> None:
        self.command = tuple(command)
        self.deadline_s, self.stall_s = deadline_s, stall_s
        self.waited_s = 0.0
        """How long the program kept us waiting so far."""
        self._reads, self._writes = reads, writes
        self._tail: deque[bytes] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._drain: threading.Thread | None = None

    def __enter__(self) -> MediaPipe:
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if self._writes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._reads else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ToolMissing("there is no such program", value=self.command[0]) from error
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _prepare(stream.fileno())
        self._drain = threading.Thread(target=self._drain_stderr, name="media-stderr", daemon=True)
        self._drain.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        for stream in (self.running.stdin, self.running.stdout, self.running.stderr):
            if stream is not None:
                stream.close()

    @property
    def stderr(self) -> str:
        """The end of what the program said so far."""
        return b"".join(tuple(self._tail)).decode(errors="replace")[-STDERR_KEPT_BYTES:]

    @property
    def running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("a MediaPipe is used inside `with`")
        return self._process

    def read_into(self, view: memoryview) -> int:
        """Fills the view and returns how many bytes came; fewer only when the program's output ends."""
        filled = 0
        while filled < len(view) and (got := self._read_some(view[filled:])):
            filled += got
        return filled

    def read(self, num_bytes: int) -> bytes:
        """Exactly `num_bytes`, or fewer when the program's output ends."""
        buffer = bytearray(num_bytes)
        return bytes(memoryview(buffer)[: self.read_into(memoryview(buffer))])

    def read_all(self) -> bytes:
        """Everything until the end of the output."""
        parts = []
        while part := self.read(PIPE_BYTES):
            parts.append(part)
        return b"".join(parts)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """All of it, as fast as the program takes it; a program that died meanwhile raises with what it said."""
        stream = _open(self.running.stdin, "written to")
        view = memoryview(data).cast("B")
        while len(view):
            self._await(stream.fileno(), select.POLLOUT)
            try:
                view = view[os.write(stream.fileno(), view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._fail_of_write()

    def close_input(self) -> None:
        """Tells the program that nothing more comes."""
        if self.running.stdin is not None:
            self.running.stdin.close()

    def finish(self) -> str:
        """Waits for the program to end well and returns its last words; raises when it did not."""
        self.close_input()
        allowed = self.deadline_s - self.waited_s
        try:
            status = self.running.wait(timeout=max(0.05, min(allowed, self.stall_s or allowed)))
        except subprocess.TimeoutExpired:
            self._give_up("did not end")
        self._join_drain()
        if status != 0:
            raise MediaToolError("the program failed", command=self.command, status=status, stderr=self.stderr)
        return self.stderr

    def end(self) -> None:
        """Ends the program and all it started; harmless when it has ended. The pipes stay open until `with` is left."""
        if self.running.poll() is None:
            _kill_group(self.running.pid)
        self.running.wait(timeout=GRACE_S)
        self._join_drain()

    def _read_some(self, view: memoryview) -> int:
        stream = _open(self.running.stdout, "read from")
        while True:
            self._await(stream.fileno(), select.POLLIN)
            try:
                return os.readv(stream.fileno(), [view])
            except BlockingIOError:
                continue

    def _await(self, fd: int, event: int) -> None:
        """Waits until the pipe is ready, charging the wait to the program."""
        poll = select.poll()
        poll.register(fd, event)
        left = self.deadline_s - self.waited_s
        patience = min(left, self.stall_s) if self.stall_s is not None else left
        started = time.monotonic()
        ready = poll.poll(max(0.0, patience) * 1000)
        self.waited_s += time.monotonic() - started
        if not ready:
            self._give_up("gave nothing")

    def _give_up(self, what: str) -> None:
        out_of_time = self.waited_s >= self.deadline_s
        limit = f"in all its {self.deadline_s:g} s" if out_of_time else f"for {self.stall_s or self.deadline_s:g} s"
        self.end()
        raise MediaToolTimeout(
            f"the program {what} {limit} and was killed", command=self.command, status=None, stderr=self.stderr
        )

    def _fail_of_write(self) -> None:
        """The program closed its input: its own words say why, once they have all arrived."""
        try:
            status: int | None = self.running.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            status = None
        self.end()
        raise MediaToolError(
            "the program stopped reading its input", command=self.command, status=status, stderr=self.stderr
        )

    def _drain_stderr(self) -> None:
        """Keeps the last few kilobytes; an undrained pipe would block the program once it is full."""
        stream, kept = self.running.stderr, 0
        while stream is not None and (part := stream.read(4096)):
            self._tail.append(part)
            kept += len(part)
            while kept - len(self._tail[0]) >= STDERR_KEPT_BYTES:
                kept -= len(self._tail.popleft())

    def _join_drain(self) -> None:
        if self._drain is not None:
            self._drain.join(timeout=GRACE_S)


def run_media(
    command: Sequence[str],
    *,
    deadline_s: float,
    stall_s: float | None = None,
    stdin: Iterable[bytes] | None = None,
) -> MediaResult:
    """Runs a program to its end; progress, for `stall_s`, is anything on its standard output."""
    with MediaPipe(command, deadline_s=deadline_s, stall_s=stall_s, writes=stdin is not None) as pipe:
        if stdin is None:
            stdout = pipe.read_all()
        else:
            with _Feeder(pipe, stdin):
                stdout = pipe.read_all()
        return MediaResult(stdout=stdout, stderr=pipe.finish())


class _Feeder:
    """Writes the input beside the reading of the output; done in turn, both pipes could fill and wait for ever."""

    def __init__(self, pipe: MediaPipe, parts: Iterable[bytes]) -> None:
        self._pipe, self._parts = pipe, parts
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="media-stdin", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The thread is gone before the pipes are closed: a closed number may already be another file."""
        if error is not None:
            self._pipe.end()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for part in self._parts:
                self._pipe.write(part)
            self._pipe.close_input()
        except Exception as error:  # noqa: BLE001  carried to the caller's thread by `__exit__`
            self._error = error
            self._pipe.end()


def _prepare(fd: int) -> None:
    """Non-blocking, and as wide as a picture where the system allows it."""
    os.set_blocking(fd, False)
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (OSError, AttributeError):
        logger.debug("pipe %d keeps the system's size", fd)


def _open(stream: IO[bytes] | None, use: str) -> IO[bytes]:
    if stream is None:
        raise RuntimeError(f"this program was not started to be {use}")
    return stream


def _kill_group(pid: int) -> None:
    """SIGKILL to the whole group: a program that hangs in native code does not hear anything milder."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        logger.debug("process group %d was already gone", pid)
