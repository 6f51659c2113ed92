"""Every effect of a run as a numbered step with a name, and what may happen at one.

Hooked from outside, production code knows nothing of it: each public call on a `Store` is two steps (before, after),
and so is each call of the operating system below it that changes the disk under a store. A step is named for what it
does, not for which unit it is ("extract: before link commits/*.json"), so it is found again in the next run.
Processes and their order are `chaos.py`'s.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import random
import re
import shutil
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from unittest import mock

from shards.errors import ObjectMissing
from shards.local import PARTS
from shards.store import Store

OS_CALLS = ("open", "write", "fsync", "link", "rename", "replace", "unlink", "mkdir", "rmdir")
WRITING = ("open", "write", "fsync", "link", "rename", "replace", "mkdir")
"""Those of them that a full disk refuses: it can still be tidied."""
LONG_AGO_S = 48 * 3600.0
A_PART = f"{PARTS}/*"
_SUFFIX = re.compile(r"/$|\.(json|parquet|pin|tar|bin)$")


class Fault(StrEnum):
    """What happens at a step; the first four end or halt the process."""

    KILL = "kill"
    """SIGKILL of this very process."""
    TORN = "torn"
    """Half of the bytes are written, then SIGKILL. Before a write."""
    POWER_CUT = "power cut"
    """SIGKILL, and of what was not fsynced a part is lost: bytes of files, and names in folders."""
    PAUSE = "pause"
    """SIGSTOP until somebody continues the process."""
    NO_SPACE = "no space"
    """From here on, nothing can be written by this process: ENOSPC. Before a call that writes."""
    READ_ONLY = "read-only"
    """The same with EROFS."""
    IO_ERROR = "io error"
    """This one call fails with EIO."""
    FLIP = "flip"
    """A byte of the object that was put turns over, unnoticed. After a put."""
    TRUNCATE = "truncate"
    """The object that was put loses its second half, unnoticed. After a put."""


ENDS = (Fault.KILL, Fault.TORN, Fault.POWER_CUT)
_ERRNO = {Fault.NO_SPACE: errno.ENOSPC, Fault.READ_ONLY: errno.EROFS, Fault.IO_ERROR: errno.EIO}


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, and the step that it waits for."""

    name: str
    fault: Fault
    occurrence: int = 1
    """Which of the steps of that name, in this process."""


@dataclass(slots=True)
class Disk:
    """What under a folder would outlive a power cut: bytes and names that were fsynced, and all that was there."""

    root: Path
    inodes: set[int] = field(default_factory=set)
    names: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder, folders, files in os.walk(self.root):
            self.names[folder] = {*folders, *files}
            self.inodes |= {os.lstat(os.path.join(folder, name)).st_ino for name in files}

    def synced(self, handle: int) -> None:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            self.names[os.readlink(f"/proc/self/fd/{handle}")] = set(os.listdir(handle))
        else:
            self.inodes.add(found.st_ino)

    def lose(self, rng: random.Random) -> None:
        """Makes the disk what it may be when the power comes back: of all that was not fsynced, some is lost."""
        for folder, folders, files in os.walk(self.root):
            kept = {name for name in (*folders, *files) if name in self.names.get(folder, ()) or rng.random() < 0.5}
            for name in [name for name in folders if name not in kept]:
                folders.remove(name)
                shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
            for path in (Path(folder, name) for name in files):
                if path.name not in kept:
                    path.unlink(missing_ok=True)
                elif path.stat().st_ino not in self.inodes and rng.random() >= 0.5:
                    os.truncate(path, path.stat().st_size // 2)


class Steps:
    """Counts the steps of this process, writes each into a journal, and lets the planned faults happen."""

    def __init__(
        self,
        root: Path,
        journal: Path,
        planned: Sequence[Planned] = (),
        *,
        scratch: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.root, self.phase = str(root), "start"
        self._scratch = str(scratch) if scratch is not None else None
        self._planned = {(plan.name, plan.occurrence): plan.fault for plan in planned}
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.disk = Disk(root)
        self._seen: Counter[str] = Counter()
        self._lasting: Fault | None = None
        self._rng = random.Random(seed)
        self._lock, self._inside = threading.RLock(), threading.local()
        self._os = {name: getattr(os, name) for name in OS_CALLS}

    def enter(self, phase: str) -> None:
        """Which part of the run begins; it is the first word of a step's name."""
        self.phase = phase

    @contextmanager
    def hooked(self) -> Iterator[Steps]:
        """The steps of the block, and of the threads it starts."""
        with ExitStack() as stack:
            for name, call in vars(Store).copy().items():
                if inspect.isfunction(call) and not name.startswith("_"):
                    stack.enter_context(mock.patch.object(Store, name, self._store_call(name, call)))
            for name, call in self._os.items():
                stack.enter_context(mock.patch.object(os, name, self._os_call(name, call)))
            yield self

    def _store_call(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Only the outermost call is a step: what one call of a store does by another is its own affair."""

        @functools.wraps(call)
        def stepped(store: Store, *args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "store", ""):
                return call(store, *args, **kwargs)
            path = args[0] if args else ""
            self._reach("before", verb, path)
            self._inside.store = kind_of(path) or "/"
            try:
                result = call(store, *args, **kwargs)
                # A generator is run through here: what its reader does in between is not inside of it.
                result = iter(list(result)) if inspect.isgenerator(result) else result
            except ObjectMissing:
                self._inside.store = ""
                self._reach("after", verb, path)
                raise
            finally:
                self._inside.store = ""
            self._reach("after", verb, path)
            return result

        return stepped

    def _os_call(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def stepped(*args: Any, **kwargs: Any) -> Any:
            where = self._place(verb, args)
            if where is None or getattr(self._inside, "fault", False):
                return call(*args, **kwargs)
            if verb == "open" and not args[1] & os.O_CREAT:
                return call(*args, **kwargs)
            self._reach("before", verb, where, args)
            result = call(*args, **kwargs)
            if verb == "fsync":
                self.disk.synced(args[0])
            self._reach("after", verb, where)
            return result

        return stepped

    def _place(self, verb: str, args: Sequence[Any]) -> str | None:
        """The path within the store, or "scratch/...", that a call of the operating system changes."""
        target = args[1] if verb in ("link", "rename", "replace") else args[0]
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")
            except OSError:
                return None
        path: str = os.path.abspath(os.fspath(target))
        slash = "/" if verb in ("mkdir", "rmdir") or os.path.isdir(path) else ""
        if path.startswith(self.root):
            return path[len(self.root) + 1 :] + slash
        if self._scratch and path.startswith(self._scratch):
            return "scratch" + path[len(self._scratch) :] + slash
        return None

    def _reach(self, when: str, verb: str, path: str, args: Sequence[Any] = ()) -> None:
        what, within = kind_of(path), getattr(self._inside, "store", "")
        if what == A_PART and within not in ("", A_PART):
            what = f"part of {within}"
        name = f"{self.phase}: {when} {verb} {what}"
        with self._lock:
            self._seen[name] += 1
            fault = self._planned.get((name, self._seen[name]))
            line = f"{self._seen.total()}\t{name}\t{fault or ''}\n"
            self._os["write"](self._journal, line.encode())
        if fault in (Fault.NO_SPACE, Fault.READ_ONLY):
            self._lasting = fault
        failing = self._lasting or fault
        if failing in _ERRNO:
            if args and (verb in WRITING or failing is not Fault.NO_SPACE):
                raise OSError(_ERRNO[failing], os.strerror(_ERRNO[failing]), path)
        elif fault is not None:
            self._inside.fault = True
            self._happen(fault, path, args)
            self._inside.fault = False

    def _happen(self, fault: Fault, path: str, args: Sequence[Any]) -> None:
        if fault is Fault.PAUSE:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fault in (Fault.FLIP, Fault.TRUNCATE):
            damage(Path(self.root, path), fault)
        elif fault in ENDS:
            if fault is Fault.TORN:
                handle, data = args
                os.write(handle, data[: len(data) // 2])
            if fault is Fault.POWER_CUT:
                self.disk.lose(self._rng)
            os.kill(os.getpid(), signal.SIGKILL)


def damage(path: Path, fault: Fault) -> None:
    """Changes a file as a bad disk does: nobody is told, and it looks as old as it was."""
    data, times = bytearray(path.read_bytes()), path.stat()
    if fault is Fault.FLIP:
        data[len(data) // 2] ^= 0x01
    else:
        del data[len(data) // 2 :]
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def let_time_pass(store: Path) -> None:
    """Makes it look as if two days had gone by: leases were not renewed, and what was being written is old."""
    then = time.time() - LONG_AGO_S
    for folder in ("runs", PARTS, "datasets"):
        for file in (store / folder).rglob("*.*"):
            os.utime(file, (then, then))


def kind_of(path: str) -> str:
    """What a path in a store stands for, whatever its unit, number and digest: "commits/*.json"."""
    top, slash, rest = path.partition("/")
    if not rest.rstrip("/"):
        return top + slash
    suffix = _SUFFIX.search(rest)
    return f"{top}/*{suffix.group() if suffix else ''}"


def journal_steps(journal: Path) -> list[tuple[str, str]]:
    """(name, fault or "") of the steps that a process has come to, in order."""
    if not journal.exists():
        return []
    rows = (line.split("\t") for line in journal.read_text().splitlines())
    return [(name, fault) for _, name, fault in rows]
