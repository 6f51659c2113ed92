"""Where a run's checkpoints lie: a folder or a bucket, the last few of them, each with the digest of its file.

    OUT/states/{step}/{digest}.safetensors     a whole state; its name is its digest
    OUT/states/{step}/manifest.json            names it and tells of its run; written last, it commits the state
    OUT/model.safetensors, OUT/best/...        models for use, see `model/pretrained.py`

What a state holds is `checkpoint.py`'s. A process that is killed while it writes leaves a file that no manifest names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.errors import CheckpointDamaged
from shards.errors import ObjectMissing, RequestError
from shards.local import Folder
from shards.place import Place
from shards.remote import Bucket
from shards.store import REMOTE_SCHEMES

log = logging.getLogger(__name__)

STATES, MANIFEST = "states", "manifest.json"


class Shelf:
    """One run's place."""

    def __init__(self, out: str | Path) -> None:
        text = str(out)
        is_remote = text.split("://")[0] in REMOTE_SCHEMES and "://" in text
        self.folder = None if is_remote else Path(text.removeprefix("file://")).expanduser().absolute()
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise RequestError("is a file; a folder is needed", field="--out", value=text)
        self._place: Place = Bucket(text) if self.folder is None else Folder(self.folder, create=False)
        self.uri = self._place.uri

    def make(self) -> None:
        """The folder, where there is none yet."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is written before it is put: beside the checkpoints, or in the system's place for such."""
        self.make()
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".writing-", ignore_cleanup_errors=True) as made:
            yield Path(made)

    # -- states --------------------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Of all committed states, oldest first."""
        names = (entry.path.split("/") for entry in self._place.entries(STATES))
        return sorted(int(name[1]) for name in names if len(name) == 3 and name[2] == MANIFEST and name[1].isdigit())

    def about(self, step: int) -> dict[str, Any]:
        """What the state's manifest says of its run."""
        told: dict[str, Any] = self._manifest(step)["about"]
        return told

    def put(self, step: int, file: Path, about: Mapping[str, Any], *, keep: int) -> None:
        """Commits a state; of the others the newest stay, and none that is ahead: its run was given up."""
        self._clear(step, keep=None)
        digest = _digest(file)
        self._place.put_file(f"{STATES}/{step:09d}/{digest}.safetensors", file)
        manifest = {"file": f"{digest}.safetensors", "sha256": digest, "bytes": file.stat().st_size, "about": about}
        self._place.write(_at(step), json.dumps(manifest, indent=1).encode())
        steps = self.steps()
        kept = [other for other in steps if other <= step][-keep:]
        for other in set(steps) - set(kept):
            self._place.delete(_at(other))  # first: a state without its manifest is none
            self._clear(other, keep=None)
        self._clear(step, keep=digest)

    @contextmanager
    def opened(self, step: int) -> Iterator[Path]:
        """The state as a local file, after every byte of it was checked; a damaged one is named."""
        manifest = self._manifest(step)
        path = f"{STATES}/{step:09d}/{manifest['file']}"
        with tempfile.TemporaryDirectory() as made:
            file = Path(made, "state") if self.folder is None else self.folder / path
            found = hashlib.sha256()
            try:
                with file.open("wb") if self.folder is None else _nowhere() as copy:
                    for block in self._place.blocks(path):
                        found.update(block)
                        copy.write(block)
            except ObjectMissing as error:
                raise CheckpointDamaged(f"{self.uri}/{path} is missing") from error
            if found.hexdigest() != manifest["sha256"]:
                raise CheckpointDamaged(f"{self.uri}/{path}: its bytes are not those that were written")
            yield file

    def _manifest(self, step: int) -> dict[str, Any]:
        try:
            read = json.loads(self._place.read(_at(step)))
            return {name: read[name] for name in ("file", "sha256", "about")}
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointDamaged(f"{self.uri}/{_at(step)}: not a manifest: {error!r}") from error

    def _clear(self, step: int, *, keep: str | None) -> None:
        """Removes files of the state's folder that its manifest does not name, and not the one to keep."""
        try:
            named = {self._manifest(step)["file"]}
        except (ObjectMissing, CheckpointDamaged):
            named = set()
        for entry in list(self._place.entries(f"{STATES}/{step:09d}")):
            name = entry.path.rsplit("/", 1)[1]
            if name != MANIFEST and name not in named and name != f"{keep}.safetensors":
                self._place.delete(entry.path)

    # -- models --------------------------------------------------------------------------------------------------------

    def put_folder(self, folder: Path, under: str = "") -> None:
        """Puts each file of a folder; a file that is read meanwhile is the old one or this one, whole."""
        for path in sorted(folder.iterdir()):
            self._place.put_file("/".join(filter(None, (under, path.name))), path)

    # -- space ---------------------------------------------------------------------------------------------------------

    def need_space(self, size_bytes: int, *, keep: int) -> None:
        """Refuses a disk that will be full before the run is over; of a bucket nobody knows."""
        if self.folder is None:
            return
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        # One more than is kept while the next is written, and once more where it is put together.
        wanted = size_bytes * (keep + 2)
        wanted -= sum(entry.size_bytes for entry in self._place.entries(STATES))
        if (free := shutil.disk_usage(there).free) < wanted:
            lacking = f"checkpoints need {wanted / 1e9:.2f} GB here and {free / 1e9:.2f} GB are free"
            raise RequestError(f"{lacking}; make room, or lower keep_last", field="--out", value=self.uri)


def _at(step: int) -> str:
    return f"{STATES}/{step:09d}/{MANIFEST}"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _nowhere() -> Iterator[Any]:
    """For a file that is already there."""
    yield _Nowhere()


class _Nowhere:
    def write(self, data: bytes) -> None:
        """Forgets it."""
