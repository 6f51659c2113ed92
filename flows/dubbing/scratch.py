"""Where files are finished before they get their names: a folder each, beside the output folder's films.

On the same disk as the films, so that giving a file its name is one step. Whoever finishes one holds a lock in its
folder, which the system gives back however the process ends: a folder that can be locked is a killed run's, and goes.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SCRATCH = ".dubwright-scratch"
_LOCK = ".held"


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """An empty folder, gone at the end of the block."""
    while True:
        (out / SCRATCH).mkdir(parents=True, exist_ok=True)
        # Between making the folder and locking it, another run may take it for left behind; then there is another.
        with suppress(FileNotFoundError):
            folder = Path(tempfile.mkdtemp(dir=out / SCRATCH))
            lock = (folder / _LOCK).open("wb")
            # A disk that cannot lock keeps what killed runs left there: `clear` cannot lock it either.
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / _LOCK).exists():
                break
            lock.close()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
        _remove_if_empty(out)


def clear(out: Path) -> None:
    """Removes what killed runs left behind."""
    if not (out / SCRATCH).is_dir():
        return
    for left in (out / SCRATCH).iterdir():
        # Held by somebody who is at work, or just gone.
        with suppress(OSError), (left / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
    _remove_if_empty(out)


def _remove_if_empty(out: Path) -> None:
    # Not empty: another file is being finished.
    with suppress(OSError):
        (out / SCRATCH).rmdir()
