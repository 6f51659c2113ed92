"""Named bytes in a place: a folder, or a prefix in S3, GCS or Azure, all through obstore.

Owns atomic writes, exclusive creation (what commits rest on) and the marker that says "this place is ours". What the
names mean is `commit.py`'s. Every failure names the place, the path and the cause.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from shards.errors import ObjectDamaged, ObjectMissing, RequestError, StoreError, WrongStore
from shards.fingerprint import BLOCK_BYTES, canonical_json

if TYPE_CHECKING:
    from obstore.store import ObjectStore

LAYOUT_PATH = "layout.json"
LAYOUT = canonical_json({"layout": "dubwright-store", "version": 1})
REMOTE_SCHEMES = ("s3", "gs", "az")


class Store:
    """Objects by path ("a/b/c.json"), whole or in ranges. Made by `open_store`; pickles as its URI."""

    def __init__(self, uri: str, backend: ObjectStore) -> None:
        self.uri = uri
        self._backend = backend
        self._root = Path(backend.prefix) if isinstance(backend, LocalStore) and backend.prefix else None

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return open_store, (self.uri,)

    def read(self, path: str) -> bytes:
        """The whole object."""
        with self._explained("read", path):
            return bytes(self._backend.get(path).bytes())

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes from `start`; an object that ends before is damaged."""
        if not length:
            return b""
        size = None
        try:
            with self._explained("read", path):
                data = bytes(self._backend.get_range(path, start=start, length=length))
        except ObjectMissing:
            raise
        except StoreError:
            # A range that starts past the end is an error of the transport, and worded by each in its own way.
            if start + length <= (size := self.size(path)):
                raise
            data = b""
        if len(data) != length:
            found = self.size(path) if size is None else size
            raise ObjectDamaged(f"{self._at(path)} ends at byte {found}; {start + length} are recorded")
        return data

    def blocks(self, path: str) -> Iterator[bytes]:
        """The whole object, a block at a time."""
        with self._explained("read", path):
            for block in self._backend.get(path).stream(min_chunk_size=BLOCK_BYTES):
                yield bytes(block)

    def sha256(self, path: str) -> str:
        """The sha256 of what is really there."""
        digest = hashlib.sha256()
        for block in self.blocks(path):
            digest.update(block)
        return digest.hexdigest()

    def write(self, path: str, data: bytes) -> None:
        """Puts the object, in place of any other; a reader sees the old one or the new one."""
        with self._explained("write", path):
            self._backend.put(path, data)
            self._settle(path)

    def create(self, path: str, data: bytes) -> bool:
        """Puts the object unless one is there; False when one was. Of two at once exactly one gets True."""
        with self._explained("create", path):
            try:
                self._backend.put(path, data, mode="create")
            except AlreadyExistsError:
                return False
            self._settle(path)
            return True

    def put_file(self, path: str, local: Path) -> None:
        """Puts a local file, in place of any other; large ones in parts."""
        with self._explained("write", path):
            self._backend.put(path, local)
            self._settle(path)

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
        with self._explained("look at", path):
            return self._backend.head(path)["size"]

    def modified(self, path: str) -> datetime:
        """When the object was last put, by the store's own clock."""
        with self._explained("look at", path):
            return self._backend.head(path)["last_modified"]

    def list(self, prefix: str = "") -> Iterator[str]:
        """The paths under a folder ("commits/"), sorted."""
        with self._explained("list", prefix):
            found = [entry["path"] for chunk in self._backend.list(prefix or None) for entry in chunk]
        yield from sorted(found)

    def delete(self, path: str) -> None:
        """Removes the object; one that is not there is no error (stores differ on that, we do not)."""
        with self._explained("delete", path):
            try:
                self._backend.delete(path)
            except FileNotFoundError:
                return

    def _at(self, path: str) -> str:
        return f"{self.uri.rstrip('/')}/{path}"

    @contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing(f"cannot {verb} {self._at(path)}: it is not there") from error
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot {verb} {self._at(path)}: {_first_line(error)}") from error

    def _settle(self, path: str) -> None:
        """On a local disk: what was put outlives a power cut (file, then the folder that names it)."""
        if self._root is None:
            return
        target = self._root / path
        for place in (target, target.parent):
            handle = os.open(place, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def open_store(uri: str | Path, *, create: bool = True) -> Store:
    """The store at a path or URI. A new place is claimed (`create`); a foreign or missing one is refused."""
    scheme = "" if isinstance(uri, Path) else urlsplit(uri).scheme if "://" in uri else ""
    if scheme in ("", "file"):
        store = _local_store(Path(uri if not scheme else unquote(urlsplit(str(uri)).path)), create=create)
    elif scheme in REMOTE_SCHEMES:
        store = _remote_store(str(uri))
    else:
        raise RequestError("no store speaks this scheme", field="store", value=uri, choices=("file", *REMOTE_SCHEMES))
    claim(store, create=create)
    return store


def claim(store: Store, *, create: bool) -> None:
    """Makes an empty place ours, or checks that it is; anything else is refused."""
    marker = _marker(store)
    if marker is None and create:
        if next(store.list(), None) is None:
            store.create(LAYOUT_PATH, LAYOUT)
        # Looked at again: another process may have claimed the place in the meantime.
        marker = _marker(store)
        if marker is None:
            raise WrongStore("this place holds other things and no store; give an empty one", where=store.uri)
    if marker is None:
        raise WrongStore(f"no store here: there is no {LAYOUT_PATH}", where=store.uri)
    if marker.strip() != LAYOUT:
        shown = marker[:100].decode(errors="replace")
        raise WrongStore(f"{LAYOUT_PATH} is of another layout or version: {shown}", where=store.uri)


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
        return Store(str(root), LocalStore(root, mkdir=create))
    except (BaseError, OSError) as error:
        raise WrongStore(f"cannot be a store: {_first_line(error)}", where=str(root)) from error


def _remote_store(uri: str) -> Store:
    # Credentials, endpoint and region come from the environment, as each cloud's own tools read them.
    try:
        return Store(uri, from_url(uri))
    except (BaseError, ValueError) as error:
        raise RequestError(f"not a usable address: {_first_line(error)}", field="store", value=uri) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
