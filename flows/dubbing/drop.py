"""A place where people drop catalogues with their films: a folder, or a prefix in a bucket.

Owns finding catalogues that are complete, and bringing what they name to this machine's disk. What lies in a bucket is
mirrored below a work folder, an object at a time and only where a catalogue names it; a film that was put anew is
fetched anew. How a catalogue is dubbed is `flows/dub.py`'s.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from flows.sources.base import is_remote
from flows.sources.remote import bucket_at, parted
from shards.errors import RequestError
from shards.place import Entry
from shards.remote import Bucket

ENDINGS = frozenset({".csv", ".jsonl", ".ndjson", ".parquet"})
NESTED = "catalogue"
"""Below the top of a drop, a list is a catalogue only by this name: segments and tables lie there as well."""
_STAMPS = ".stamps.json"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A catalogue on this machine's disk."""

    name: str
    """Of the catalogue in its drop, without the ending: `spring/catalogue`."""
    path: Path


def catalogues(place: str, work: Path, *, settle_s: float, clock: Callable[[], float] = time.time) -> list[Dropped]:
    """The complete catalogues of a place, by name; one that was written less than `settle_s` ago may not be whole."""
    if is_remote(place):
        return list(_from_bucket(place, work / "inbox"))
    root = Path(place)
    if not root.is_dir():
        raise RequestError("there is no such folder to watch", field="place", value=place)
    return list(_from_folder(root, clock() - settle_s))


def _from_folder(root: Path, before: float) -> Iterator[Dropped]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder, file)
            inside = PurePosixPath(path.relative_to(root).as_posix())
            if is_catalogue(inside) and path.stat().st_mtime <= before:
                yield Dropped(str(inside.with_suffix("")), path)


def is_catalogue(inside: PurePosixPath) -> bool:
    """By its place and name in the drop."""
    if inside.suffix.lower() not in ENDINGS or inside.name.startswith("."):
        return False
    return len(inside.parts) == 1 or inside.stem.casefold() == NESTED


# -- a bucket ----------------------------------------------------------------------------------------------------------


def _from_bucket(place: str, inbox: Path) -> Iterator[Dropped]:
    root, prefix = parted(place)
    bucket = bucket_at(root)
    entries = {PurePosixPath(e.path.removeprefix(prefix).strip("/")): e for e in bucket.entries(prefix)}
    mirror = _Mirror(bucket, inbox)
    for inside, entry in sorted(entries.items()):
        if is_catalogue(inside):
            path = mirror.fetched(inside, entry)
            _fetch_named(mirror, path, inside, entries)
            yield Dropped(str(inside.with_suffix("")), path)


def _fetch_named(mirror: _Mirror, catalogue: Path, inside: PurePosixPath, entries: dict[PurePosixPath, Entry]) -> None:
    """What the catalogue names, and what the lists it names name: an object is fetched when its name stands there."""
    lists = [(catalogue, inside)]
    fetched = {inside}
    while lists:
        path, at = lists.pop()
        text = _text(path)
        for other, entry in entries.items():
            if other in fetched or not other.is_relative_to(at.parent):
                continue
            if str(other.relative_to(at.parent)) in text:
                fetched.add(other)
                found = mirror.fetched(other, entry)
                if other.suffix.lower() in ENDINGS | {".json"}:
                    lists.append((found, other))


def _text(path: Path) -> str:
    """All that stands in a list; quotes and slashes as their writer meant them."""
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return "\n".join(map(str, pq.read_table(path).to_pylist()))
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return text if path.suffix.lower() == ".csv" else text.replace("\\/", "/")


class _Mirror:
    """Objects as files, each fetched again when the bucket has another one under its name."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self._bucket, self._folder = bucket, folder
        self._record = folder / _STAMPS
        self._stamps: dict[str, str] = json.loads(self._record.read_text()) if self._record.exists() else {}

    def fetched(self, inside: PurePosixPath, entry: Entry) -> Path:
        target = self._folder / inside
        if not target.resolve().is_relative_to(self._folder.resolve()):
            raise RequestError("an object's name leads out of the folder it is mirrored to", value=entry.path)
        stamp = f"{entry.size_bytes}-{entry.modified.isoformat()}-{entry.version or ''}"
        if target.exists() and self._stamps.get(str(inside)) == stamp:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        with part.open("wb") as stream:
            for block in self._bucket.blocks(entry.path):
                stream.write(block)
        part.replace(target)
        self._stamps[str(inside)] = stamp
        self._record.write_text(json.dumps(self._stamps, indent=1, sort_keys=True))
        return target


# -- and back ----------------------------------------------------------------------------------------------------------


def deliver(out: Path, to: str) -> list[str]:
    """Puts the finished files and reports of a folder below an address; what is there already is not put again.

    The run's own records stay here. Reports go last: who sees one finds the films it speaks of.
    """
    root, prefix = parted(to)
    bucket = bucket_at(root)
    there = {e.path: e.size_bytes for e in bucket.entries(prefix)}
    record = out / ".dubwright" / "delivered.json"
    stamps: dict[str, list[int]] = json.loads(record.read_text()) if record.exists() else {}
    put = []
    for path in sorted(_finished(out), key=lambda path: (path.name.startswith("report."), path)):
        inside, status = path.relative_to(out).as_posix(), path.stat()
        key = f"{prefix}/{inside}" if prefix else inside
        stamp = [status.st_size, status.st_mtime_ns]
        if stamps.get(key) == stamp and there.get(key) == status.st_size:
            continue
        bucket.put_file(key, path)
        stamps[key] = stamp
        put.append(f"{root}/{key}")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(stamps, indent=1, sort_keys=True))
    return put


def _finished(out: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(out):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if not name.startswith("."))
