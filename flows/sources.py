"""Which files a preprocessing run reads: files, folders and globs, each file once, in a stable order.

What lies in a folder is taken as it is found; whether it is footage is decided by reading it, so that nothing is
passed over in silence.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shards.errors import RequestError
from shards.fingerprint import file_sha256
from shards.store import LAYOUT, LAYOUT_PATH

_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file, known by its content."""

    path: Path
    sha256: str
    size_bytes: int
    names: tuple[str, ...]
    """Every name the same bytes were found under, the first in order first."""


def find_sources(sources: Sequence[str], limit: int | None = None) -> tuple[SourceFile, ...]:
    """The distinct contents behind `sources`, or the first `limit` of them; a source that is not there is refused."""
    if not sources:
        raise RequestError("name at least one file, folder or glob", field="sources")
    by_content: dict[str, list[Path]] = {}
    for path in sorted({p for source in sources for p in _expand(source)}):
        # Hashing reads every byte: what lies behind the limit is not read at all.
        if len(by_content) == limit:
            break
        by_content.setdefault(_digest(path), []).append(path)
    return tuple(
        SourceFile(path=paths[0], sha256=sha256, size_bytes=paths[0].stat().st_size, names=tuple(p.name for p in paths))
        for sha256, paths in by_content.items()
    )


def _expand(source: str) -> Iterator[Path]:
    path = Path(source)
    if not source.strip():
        raise RequestError("an empty name", field="sources", value=source)
    if path.is_dir():
        yield from _in_folder(path)
    elif path.is_file():
        yield path
    elif "://" in source:
        raise RequestError("footage is read from local files and folders so far", field="sources", value=source)
    elif _GLOB_CHARACTERS & set(source):
        matches = [Path(m) for m in sorted(glob.glob(source, recursive=True))]
        if not matches:
            raise RequestError("the pattern matches nothing", field="sources", value=source)
        for match in matches:
            # Pipes and links that lead nowhere match as well.
            yield from _in_folder(match) if match.is_dir() else [match] * match.is_file()
    else:
        raise RequestError("no such file or folder", field="sources", value=source)


def _in_folder(folder: Path) -> Iterator[Path]:
    """Every regular file below; hidden ones and stores of ours are left out. A link is followed only to what lies in
    the folder itself."""
    inside = folder.resolve()
    for root, folders, files in os.walk(folder, onerror=_refuse):
        if _is_store(Path(root)):
            folders.clear()
            continue
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file() and path.resolve().is_relative_to(inside):
                yield path


def _is_store(folder: Path) -> bool:
    marker = folder / LAYOUT_PATH
    return marker.is_file() and marker.read_bytes().strip() == LAYOUT


def _refuse(error: OSError) -> None:
    """What cannot be looked into is told, not passed over."""
    raise RequestError(f"cannot be read: {error.strerror}", field="sources", value=error.filename) from error


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", field="sources", value=str(path)) from error
