"""Objects on this machine's disk while they are worked on: a folder of bounded size, shared by all workers here.

    FOLDER/{sha256}{suffix}     a whole object, named by its content; it appears by rename
    FOLDER/{sha256}.part        one on its way, or what a killed process left of it
    FOLDER/{sha256}.lock        held shared by who reads it, alone by who fetches or removes it

Locks are the system's: they end with the process that held them, however it ended. The least recently used objects go
when there is no room; one that is in use stays, so a few large ones may exceed the bound for a while.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from flows.sources.remote import bucket_at, parted
from flows.workers.fragments import SourceChanged

_PART, _LOCK = ".part", ".lock"


class StagingConfig(BaseModel):
    """Where objects of a bucket lie while they are worked on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = Field(None, description="on each machine's own disk; by default in the user's cache there")
    most_bytes: int = Field(50 << 30, ge=0, description="the least recently used objects beyond this are removed")

    def place(self) -> Path:
        """The folder on the machine that asks."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return self.folder or cache / "dubwright" / "sources"


@contextmanager
def staged(uri: str, sha256: str, size_bytes: int, config: StagingConfig) -> Iterator[Path]:
    """The object as a local file, until the end of the block; raises `SourceChanged` when it is another by now."""
    folder = config.place()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{sha256}{PurePosixPath(uri).suffix}"
    with path.with_name(sha256 + _LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        # Between giving one lock up and having the other, somebody may remove it: then it is fetched again.
        while not path.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _make_room(folder, config.most_bytes - size_bytes)
                _fetch(uri, sha256, path)
            fcntl.flock(lock, fcntl.LOCK_SH)
        os.utime(path)
        yield path


def _fetch(uri: str, sha256: str, path: Path) -> None:
    root, key = parted(uri)
    digest = hashlib.sha256()
    # Nobody else has the lock, so what a killed fetch left under this name is written over.
    part = path.with_name(sha256 + _PART)
    with part.open("wb") as stream:
        for block in bucket_at(root).blocks(key):
            digest.update(block)
            stream.write(block)
    if digest.hexdigest() != sha256:
        part.unlink()
        raise SourceChanged(f"{uri} changed after it was planned; run again")
    part.rename(path)


def _make_room(folder: Path, most_bytes: int) -> None:
    """Removes what was not used for longest, until no more than that is left."""
    held = []
    for path in folder.iterdir():
        # Another worker may be making room as well.
        with suppress(FileNotFoundError):
            held += [(path, path.stat())] if path.suffix != _LOCK else []
    excess = sum(found.st_size for _, found in held) - most_bytes
    for path, found in sorted(held, key=lambda each: each[1].st_mtime):
        if excess <= 0:
            return
        if _removed(path):
            excess -= found.st_size


def _removed(path: Path) -> bool:
    with path.with_name(path.name.partition(".")[0] + _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # somebody reads it, or fetches it
        path.unlink(missing_ok=True)
        return True
