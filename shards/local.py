"""A folder as a place: what was put is whole, outlives a power cut, and was created by exactly one.

    ROOT/.parts/{32 hex}.part     being written; never listed
    ROOT/a/b/c.json               an object: always whole, its bytes on the disk before its name

Every object is written under a name of its own in `.parts`, fsynced, and only then given its name: by `link` where it
must not be there yet (the file system itself decides between two), by `replace` where it may. Then the folder that
names it is fsynced, and so are the names of new folders. A process that is killed leaves at most a part behind:
`leftovers` lists those with their age, for the sweep.

A file system without hard links (FAT, some network shares) cannot decide who was first and is refused: the first
object of a new store, its layout marker, is created by `link` like any other.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from shards.errors import ObjectMissing, StoreDenied, StoreError, WrongStore
from shards.fingerprint import BLOCK_BYTES
from shards.place import Entry

PARTS = ".parts"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_MOST_REMEMBERED = 10_000


class Folder:
    """A `Place` on a disk of this machine, or one that it has mounted."""

    def __init__(self, root: Path, *, create: bool) -> None:
        self.uri = str(root)
        self._settled: set[str] = set()
        if create:
            _make_root(root)

    def read(self, path: str) -> bytes:
        with self._reading(path), open(self._file(path), "rb", buffering=0) as stream:
            return stream.readall()

    def read_range(self, path: str, start: int, length: int) -> bytes:
        with self._reading(path), open(self._file(path), "rb", buffering=0) as stream:
            data = os.pread(stream.fileno(), length, start)
            # One call reads at most 2 GiB, and less where a network disk or a signal cuts it short.
            while len(data) < length and (more := os.pread(stream.fileno(), length - len(data), start + len(data))):
                data += more
            return data

    def blocks(self, path: str) -> Iterator[bytes]:
        with self._reading(path), open(self._file(path), "rb", buffering=0) as stream:
            while block := stream.read(BLOCK_BYTES):
                yield block

    def look(self, path: str) -> Entry:
        with self._reading(path):
            found = os.stat(self._file(path))
            if not stat.S_ISREG(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            return _entry(path, found)

    def write(self, path: str, data: bytes) -> None:
        with self._explained("write", path), self._part([data]) as part:
            self._name(part, path, os.replace)

    def create(self, path: str, data: bytes) -> bool:
        with self._explained("create", path), self._part([data]) as part:
            try:
                self._name(part, path, _link)
            except FileExistsError:
                # Over NFS the answer to a `link` may be lost and asked for again; that it was done shows on the part.
                return os.stat(part).st_nlink > 1
            return True

    def put_file(self, path: str, local: Path) -> None:
        with (
            open(local, "rb", buffering=0) as source,
            self._explained("write", path),
            self._part(iter(lambda: source.read(BLOCK_BYTES), b"")) as part,
        ):
            self._name(part, path, os.replace)

    def delete(self, path: str) -> None:
        with self._explained("delete", path), suppress(*_NOT_THERE):
            os.unlink(target := self._file(path))
            # What a later step rests on, such as that a commit is gone, must not come back with the power.
            _sync(os.path.dirname(target))

    def entries(self, prefix: str) -> Iterator[Entry]:
        with self._explained("list", prefix):
            yield from _walk(self._file(prefix) if prefix else self.uri, f"{prefix}/" if prefix else "")

    def leftovers(self) -> Iterator[Entry]:
        with self._explained("list", PARTS):
            yield from _walk(self._file(PARTS), f"{PARTS}/")

    def _file(self, path: str) -> str:
        return f"{self.uri}/{path}"

    @contextmanager
    def _part(self, blocks: Iterable[bytes]) -> Iterator[str]:
        """The bytes in a file of their own, safely on the disk; it is gone afterwards, renamed or not."""
        self._settle(self._file(PARTS))
        part = self._file(f"{PARTS}/{secrets.token_hex(16)}.part")
        # Unlike a `mkstemp`, readable by whoever the umask lets read: a store may be shared.
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            try:
                for block in blocks:
                    _write_all(handle, block)
                os.fsync(handle)
            finally:
                os.close(handle)
            yield part
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)

    def _name(self, part: str, path: str, give: Callable[[str, str], None]) -> None:
        target = self._file(path)
        folder = os.path.dirname(target)
        self._settle(folder)
        try:
            give(part, target)
        except FileNotFoundError:
            # Somebody tidied the empty folder away since it was made.
            self._settled.clear()
            self._settle(folder)
            give(part, target)
        _sync(folder)

    def _settle(self, folder: str) -> None:
        """Makes the folder, and sees to it once that its name lasts, whoever made it a moment ago."""
        if folder == self.uri or folder in self._settled:
            return
        parent = os.path.dirname(folder)
        self._settle(parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        _sync(parent)
        if len(self._settled) >= _MOST_REMEMBERED:
            self._settled.clear()
        self._settled.add(folder)

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        with self._explained("read", path):
            try:
                yield
            except _NOT_THERE as error:
                raise ObjectMissing(f"cannot read {self._file(path)}: it is not there") from error

    @contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        """The system's errors in this room's words; the cause stays attached, so a full disk is still known as one."""
        try:
            yield
        except OSError as error:
            text = f"cannot {verb} {self._file(path)}: {error.strerror or error}"
            if error.errno in _NOT_ALLOWED:
                raise StoreDenied(
                    f"{text}; it takes a folder that this user may write in, on a disk that is not mounted read-only"
                ) from error
            raise StoreError(text) from error


def _make_root(root: Path) -> None:
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    for folder in made:
        _sync(str(folder.parent))


def _link(part: str, target: str) -> None:
    try:
        os.link(part, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise WrongStore(
            "a store needs hard links (they decide who creates first), and this file system makes none here "
            f"({error.strerror}); give a folder on another disk, or a bucket",
            where=os.path.dirname(target),
        ) from error


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _walk(folder: str, prefix: str) -> Iterator[Entry]:
    """Every file below, by its whole path; one folder's names are in memory at a time, and those above it."""
    try:
        with os.scandir(folder) as found:
            # A folder sorts with its slash: "a-b" comes before "a/c".
            named = sorted((f"{e.name}/" if e.is_dir(follow_symlinks=False) else e.name) for e in found)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in named:
        if name.endswith("/"):
            if prefix or name != f"{PARTS}/":
                yield from _walk(f"{folder}/{name[:-1]}", prefix + name)
            continue
        try:
            found_file = os.stat(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # deleted since the folder was read
        if stat.S_ISREG(found_file.st_mode):
            yield _entry(prefix + name, found_file)


def _entry(path: str, found: os.stat_result) -> Entry:
    return Entry(path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))
