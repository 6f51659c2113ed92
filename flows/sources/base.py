"""What a source is, from the name somebody gave to the content behind it.

Found       a place where footage may lie, or why it cannot      (find.py, listing.py, remote.py)
Source      a content, read once whatever number of places it lies in, or why it could not be read  (identify.py)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from shards.schema import Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What somebody says of a source; nothing of it is measured."""

    language: str | None = None
    """BCP-47; every clip carries it."""
    identity: str | None = None
    """Who speaks. All clips of the source carry it, so that one person of many sources is in one split."""
    licence: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.language or self.identity or self.licence or self.meta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A place that was named, or that lies in a folder that was."""

    uri: str
    """An absolute path, or the address of an object."""
    labels: Labels = Labels()
    stamp: str | None = None
    """Of an object: what changes with its content. A file is asked when it is opened."""
    size_bytes: int | None = None
    rejection: Rejection | None = None
    """Why it is not even opened."""

    @property
    def name(self) -> str:
        return PurePosixPath(self.uri).name

    @property
    def is_remote(self) -> bool:
        return is_remote(self.uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A content, and where it was found first."""

    uri: str
    names: tuple[str, ...]
    """Every name the same bytes were found under, the first in order first."""
    sha256: str
    """Of its bytes; of what is known of it where those could not be read."""
    size_bytes: int
    labels: Labels
    rejection: Rejection | None = None
    """Why its bytes could not be read."""


def is_remote(uri: str) -> bool:
    return "://" in uri
