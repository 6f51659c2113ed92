"""Where files are finished before they get their names: beside the output folder's films, a folder for each run.

On the same disk as the films, so that giving a file its name is one step. A killed run leaves its folder behind; the
next one removes those of runs that are over.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shards.leases import leases
from shards.store import Store

SCRATCH = ".dubwright-scratch"


@contextmanager
def scratch(out: Path, run: str) -> Iterator[Path]:
    """An empty folder of that run's, gone at the end of the block."""
    own = out / SCRATCH / run
    own.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=own) as folder:
            yield Path(folder)
    finally:
        # Not empty: another file of this run, or of another, is being finished.
        with suppress(OSError):
            own.rmdir()
            own.parent.rmdir()


def clear(out: Path, store: Store, witness: str) -> None:
    """Removes what runs that are over left behind; `witness` is a run that is alive."""
    if not (out / SCRATCH).is_dir():
        return
    alive = {seen.lease.run for seen in leases(store, witness) if seen.is_alive}
    for left in (out / SCRATCH).iterdir():
        if left.name not in alive:
            shutil.rmtree(left, ignore_errors=True)
    with suppress(OSError):
        (out / SCRATCH).rmdir()
