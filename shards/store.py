"""Named bytes in a place: a folder, or a prefix in S3, GCS or Azure.

Owns what is the same everywhere: which paths there are, hashing, fetching, and the marker that says "this place is
ours". How a place keeps its bytes (atomically, exclusively, through trouble) is `local.py`'s and `remote.py`'s; what
the names mean is `commit.py`'s. Every failure names the place, the path and the cause.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shards.errors import ObjectDamaged, ObjectMissing, RequestError, WrongStore
from shards.fingerprint import canonical_json
from shards.local import PARTS, Folder
from shards.place import Entry, Place
from shards.remote import Bucket

__all__ = ["LAYOUT", "LAYOUT_PATH", "Entry", "Store", "claim", "open_store"]

LAYOUT_PATH = "layout.json"
LAYOUT = canonical_json({"layout": "dubwright-store", "version": 2})
REMOTE_SCHEMES = ("s3", "gs", "az")


class Store:
    """Objects by path ("a/b/c.json"), whole or in ranges. Made by `open_store`; pickles as its URI."""

    def __init__(self, place: Place) -> None:
        self.uri = place.uri
        self._place = place

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # Where it arrives it is looked for, not made: a store that is gone by then is an error.
        return functools.partial(open_store, create=False), (self.uri,)

    def read(self, path: str) -> bytes:
        """The whole object."""
        return self._place.read(_checked(path))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`; an object that ends before is damaged."""
        if not length:
            return b""
        data = self._place.read_range(_checked(path), start, length)
        if len(data) != length:
            raise ObjectDamaged(f"{self._at(path)} ends at byte {self.size(path)}; {start + length} are recorded")
        return data

    def blocks(self, path: str) -> Iterator[bytes]:
        """The whole object, a block at a time."""
        return self._place.blocks(_checked(path))

    def sha256(self, path: str) -> str:
        """The sha256 of what is really there."""
        digest = hashlib.sha256()
        for block in self.blocks(path):
            digest.update(block)
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """Puts the object, in place of any other; a reader sees the old one or the new one."""
        self._place.write(_ours(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Puts the object unless one is there; False when one was. Of any number at once exactly one gets True."""
        return self._place.create(_ours(path), data)

    def put_file(self, path: str, local: Path) -> None:
        """Puts a local file, in place of any other; large ones in parts."""
        self._place.put_file(_ours(path), local)

    def fetch(self, path: str, local: Path) -> None:
        """Copies the object to a local file, which appears whole or not at all."""
        local.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=local.parent, prefix=local.name + ".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                for block in self.blocks(path):
                    stream.write(block)
            Path(part).replace(local)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def exists(self, path: str) -> bool:
        try:
            self.size(path)
        except ObjectMissing:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes."""
        return self._place.look(_checked(path)).size_bytes

    def modified(self, path: str) -> datetime:
        """When the object was last put, by the store's own clock."""
        return self._place.look(_checked(path)).modified

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """The objects under a folder ("commits/"), sorted by path. An object put or deleted meanwhile may be missed."""
        folder = prefix.rstrip("/")
        return self._place.entries(_checked(folder) if folder else "")

    def list(self, prefix: str = "") -> Iterator[str]:
        """The paths under a folder ("commits/"), sorted."""
        return (entry.path for entry in self.entries(prefix))

    def leftovers(self) -> Iterator[Entry]:
        """What killed writers left: never listed, never read, for a sweep to `delete` when old enough.

        One that is young may be an object on its way. Only on a local disk: see `remote.py` for a bucket's.
        """
        return self._place.leftovers()

    def delete(self, path: str) -> None:
        """Removes the object; one that is not there is no error (stores differ on that, we do not)."""
        self._place.delete(_checked(path))

    def _at(self, path: str) -> str:
        return f"{self.uri}/{path}"


def _checked(path: str) -> str:
    """Refuses, everywhere alike, what some place would take for another path or for one outside of it."""
    if not path.isprintable() or any(name in ("", ".", "..") for name in path.split("/")):
        raise RequestError("not a path of a store: printable names between single slashes", field="path", value=path)
    return path


def _ours(path: str) -> str:
    if path.split("/")[0] == PARTS:
        raise RequestError(f"{PARTS} is for what is being written", field="path", value=path)
    return _checked(path)


def open_store(uri: str | Path, *, create: bool = True) -> Store:
    """The store at a path or URI. A new place is claimed (`create`); a foreign or missing one is refused."""
    scheme = "" if isinstance(uri, Path) else urlsplit(uri).scheme if "://" in uri else ""
    if scheme in ("", "file"):
        store = _local_store(Path(uri if not scheme else unquote(urlsplit(str(uri)).path)), create=create)
    elif scheme in REMOTE_SCHEMES:
        store = Store(Bucket(str(uri)))
    else:
        raise RequestError("no store speaks this scheme", field="store", value=uri, choices=("file", *REMOTE_SCHEMES))
    claim(store, create=create)
    return store


def claim(store: Store, *, create: bool) -> None:
    """Makes an empty place ours, or checks that it is; anything else is refused."""
    marker = _marker(store)
    if marker is None and create:
        if next(store.list(), None) is None:
            _mark_as_ours(store)
        # Looked at again: another process may have claimed the place in the meantime.
        marker = _marker(store)
        if marker is None:
            raise WrongStore("this place holds other things and no store; give an empty one", where=store.uri)
    if marker is None:
        raise WrongStore(f"no store here: there is no {LAYOUT_PATH}", where=store.uri)
    if marker.strip() != LAYOUT:
        shown = marker[:100].decode(errors="replace")
        raise WrongStore(f"{LAYOUT_PATH} is of another layout or version: {shown}", where=store.uri)


def _mark_as_ours(store: Store) -> None:
    # Some services take the condition of a create and ignore it: there, two runs would both win a commit.
    if store.create(LAYOUT_PATH, LAYOUT) and store.create(LAYOUT_PATH, LAYOUT):
        raise WrongStore("no store can be here: this service does not refuse to create what is there", where=store.uri)


def _marker(store: Store) -> bytes | None:
    try:
        return store.read(LAYOUT_PATH)
    except ObjectMissing:
        return None


def _local_store(path: Path, *, create: bool) -> Store:
    root = path.expanduser().absolute()
    if not create and not root.is_dir():
        raise WrongStore("no store here: there is no such folder", where=str(root))
    try:
        return Store(Folder(root, create=create))
    except OSError as error:
        raise WrongStore(f"cannot be a store: {error.strerror}", where=str(root)) from error
