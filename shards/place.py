"""What a store stands on: a place that keeps bytes by path. `local.py` and `remote.py` are the two kinds.

Each kind explains its own failures with the errors of this room, in the same words for the same thing. What is the
same on both (which paths there are, hashing, claiming) is `store.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing shows it."""

    path: str
    size_bytes: int
    modified: datetime
    """When it was put, by the store's own clock; UTC."""
    version: str | None = None
    """What a bucket calls these very bytes (its etag); a folder has no such name."""


class Place(Protocol):
    """Paths are checked before they come here; a prefix is empty or a folder without its last slash."""

    uri: str

    def read(self, path: str) -> bytes: ...

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """What there is of the range: less than `length` bytes, or none, where the object ends before."""

    def blocks(self, path: str) -> Iterator[bytes]: ...

    def write(self, path: str, data: bytes) -> None: ...

    def create(self, path: str, data: bytes) -> bool: ...

    def put_file(self, path: str, local: Path) -> None: ...

    def look(self, path: str) -> Entry: ...

    def entries(self, prefix: str) -> Iterator[Entry]: ...

    def leftovers(self) -> Iterator[Entry]: ...

    def delete(self, path: str) -> None: ...
