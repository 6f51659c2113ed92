"""Where footage may lie: files, folders, globs, lists and buckets, each place once, in a stable order.

What lies in a folder is taken as it is found; whether it is footage is decided by reading it, so that nothing is
passed over in silence. What cannot be opened is a rejection with a code of its own; only what was asked for and is not
there is refused.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.sources.base import Found, Labels, is_remote
from flows.sources.listing import SourceRow, is_list, read_list
from flows.sources.remote import in_bucket
from shards.errors import RequestError
from shards.schema import Rejection
from shards.store import LAYOUT, LAYOUT_PATH

_GLOB_CHARACTERS = frozenset("*?[")


def find(sources: Sequence[str]) -> list[Found]:
    """Every place behind `sources`, sorted; a source that is not there is refused."""
    if not sources:
        raise RequestError("name at least one file, folder, glob, list or bucket", field="sources")
    places: dict[str, Found] = {}
    for source in sources:
        for found in _expand(source):
            held = places.setdefault(found.uri, found)
            if held.labels != found.labels:
                places[found.uri] = _labelled(held, found)
    return [places[uri] for uri in sorted(places)]


def _labelled(one: Found, other: Found) -> Found:
    """A list may say more of a file than the folder it lies in."""
    if one.labels and other.labels:
        raise RequestError("two rows say different things of it", field="sources", value=one.uri)
    return one if one.labels else other


def _expand(source: str) -> Iterator[Found]:
    if not source.strip():
        raise RequestError("an empty name", field="sources", value=source)
    if is_remote(source):
        yield from in_bucket(source, Labels())
        return
    path = Path(source)
    if _kind(path) == stat.S_IFREG and is_list(path):
        for row in read_list(path):
            yield from _listed(row)
        return
    yield from _local(source, Labels())


def _listed(row: SourceRow) -> Iterator[Found]:
    if is_remote(row.source):
        yield from in_bucket(row.source, row.labels)
    else:
        yield from _local(row.source, row.labels)


def _local(source: str, labels: Labels) -> Iterator[Found]:
    path = Path(source)
    kind = _kind(path)
    if kind == stat.S_IFDIR:
        yield from _in_folder(path, labels)
    elif kind is not None:
        yield _file(path, labels)
    elif _GLOB_CHARACTERS & set(source):
        matches = [Path(match) for match in sorted(glob.glob(source, recursive=True))]
        if not matches:
            raise RequestError("the pattern matches nothing", field="sources", value=source)
        for match in matches:
            if _kind(match) == stat.S_IFDIR:
                yield from _in_folder(match, labels)
            else:
                yield _file(match, labels)
    else:
        raise RequestError("no such file or folder", field="sources", value=source)


def _kind(path: Path) -> int | None:
    """What is there, behind links; None where nothing is."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return stat.S_IFREG  # it is there: that it may not be read is told when it is opened
        return None
    except ValueError:
        return None  # a name with a zero byte


def _in_folder(folder: Path, labels: Labels) -> Iterator[Found]:
    """Everything below; hidden ones and stores of ours are left out. A link is followed only to what lies in the folder
    itself, so that a link laid by whoever fills the folder reads nothing else."""
    inside = folder.resolve()
    closed: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=closed.append):
        if _is_store(Path(root)):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*files, *(f for f in folders if Path(root, f).is_symlink())]):
            if not name.startswith("."):
                yield _inside(Path(root, name), inside, labels)
    for error in closed:
        yield _rejected(Path(error.filename), labels, "no_permission", f"the folder cannot be read: {error.strerror}")


def _inside(path: Path, folder: Path, labels: Labels) -> Found:
    try:
        if path.is_symlink() and not path.resolve(strict=True).is_relative_to(folder):
            return _rejected(path, labels, "link_outside", "a link out of the folder; name what it leads to instead")
    except (OSError, RuntimeError) as error:
        # RuntimeError: a ring of links.
        return _rejected(path, labels, "dead_link", f"a link that leads nowhere: {error}")
    if path.is_symlink() and path.is_dir():
        return _rejected(path, labels, "link_folder", "a link to a folder, which is read where it lies")
    return _file(path, labels)


def _file(path: Path, labels: Labels) -> Found:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return _rejected(path, labels, "unreadable_name", "the name is not UTF-8; rename the file")
    return Found(uri=os.path.abspath(path), labels=labels)


def _rejected(path: Path, labels: Labels, code: str, detail: str) -> Found:
    # A name that is not UTF-8 fits in no record: it is shown with escapes.
    uri = os.path.abspath(path).encode(errors="backslashreplace").decode()
    detail = detail.encode(errors="backslashreplace").decode()
    return Found(uri=uri, labels=labels, rejection=Rejection(code=code, detail=detail))


def _is_store(folder: Path) -> bool:
    marker = folder / LAYOUT_PATH
    try:
        return marker.is_file() and marker.read_bytes().strip() == LAYOUT
    except OSError:
        return False
