"""The real command over a folder of hostile files, watched: what it says, what it opened, what it asked, what it left.

Root may read everything; so that a file without permission is one for root too, the command runs without that right.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shards.fingerprint import file_sha256
from tests.support.hostile import Kit, Maker

DEADLINE_S, STOPPING_S = 500, 60
_BREATH_S = 0.1
"""Between two bytes of the file that is being written."""
_IN_ACCESS, _IN_OPEN = 0x1, 0x20
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of it."""

    footage: Path
    answer: dict[str, Any]
    """The object that `--json` prints."""
    before: Mapping[str, object]
    """Name -> kind, mode, size, time and content, of every file but the growing one."""
    after: Mapping[str, object]
    opened_outside: bytes
    """What the kernel says was opened in the folder outside; empty for nothing."""
    asked: list[str]
    """What the server was asked for."""

    def name_of(self, path: str) -> str:
        """The case's name, from the path that the plan shows for it."""
        shown = {str(place).encode(errors="backslashreplace").decode(): place for place in _below(self.footage)}
        return str(shown[path].relative_to(self.footage))


def run_over(folder: Path, makers: Mapping[str, Maker], growing: str) -> Run:
    """Makes all cases below `folder`, runs `dubwright preprocess` over them, and says what happened."""
    footage, asked = folder / "footage", list[str]()
    with _server(asked) as url:
        kit = Kit.made(folder, url)
        for name, maker in makers.items():
            place = footage / name
            place.parent.mkdir(parents=True, exist_ok=True)
            maker(place, kit)
        before = _state(footage, growing)
        with _opened(kit.outside) as watch, _written_on(footage / growing):
            answer = _preprocess(footage, folder)
            opened = _events(watch)
            # What sees nothing must be seen to see.
            kit.secret.read_bytes()
            if not _events(watch):
                raise RuntimeError("the watch on the folder outside is blind")
    return Run(
        footage=footage,
        answer=answer,
        before=before,
        after=_state(footage, growing),
        opened_outside=opened,
        asked=asked,
    )


def _preprocess(footage: Path, folder: Path) -> dict[str, Any]:
    program, store = Path(sys.executable).with_name("dubwright"), folder / "store"
    process = subprocess.Popen(
        [program, "preprocess", footage, "--store", store, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PREFECT_HOME": str(folder / "prefect")},
        preexec_fn=_give_up_root_rights,
    )
    try:
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        # As Ctrl-C does it: killed, it would leave its engines behind.
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=STOPPING_S)
        raise
    if process.returncode != 0:
        raise RuntimeError(f"exit status {process.returncode}\n{stdout[-4000:]}\n{stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(stdout.strip().splitlines()[-1])
    return answer


def _give_up_root_rights() -> None:
    """For this process and its children; of a user who never had them, a refusal that changes nothing."""
    for right in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        _LIBC.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)


def _state(footage: Path, growing: str) -> dict[str, object]:
    return {
        str(place): (found.st_mode, found.st_size, found.st_mtime_ns, _content(place))
        for place in _below(footage)
        if place != footage / growing and (found := place.lstat())
    }


def _content(place: Path) -> str:
    if place.is_symlink():
        return os.readlink(place)
    return file_sha256(place) if place.is_file() and os.access(place, os.R_OK) else ""


def _below(footage: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(footage):
        yield from (Path(root, name) for name in [*folders, *files])


@contextmanager
def _server(asked: list[str]) -> Iterator[str]:
    """A server on loopback that notes every question."""

    class Noting(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            asked.append(self.rfile.readline(1000).decode(errors="replace"))
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor that tells what of `folder` is opened or read."""
    watch = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if watch < 0 or _LIBC.inotify_add_watch(watch, os.fsencode(folder), _IN_OPEN | _IN_ACCESS) < 0:
            raise OSError(ctypes.get_errno(), "the folder cannot be watched", str(folder))
        yield watch
    finally:
        os.close(watch)


def _events(watch: int) -> bytes:
    try:
        return os.read(watch, 1 << 16)
    except BlockingIOError:
        return b""


@contextmanager
def _written_on(path: Path) -> Iterator[None]:
    """Somebody goes on writing the file all the while."""
    done = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as stream:
            while not done.wait(_BREATH_S):
                stream.write(b"\0")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
