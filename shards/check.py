"""One object against its records, in one pass over its bytes: what is wrong with it, in words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shards.codec import checked_header
from shards.errors import ObjectDamaged, ObjectMissing, RequestError
from shards.records import ObjectRef
from shards.store import Store
from shards.tar import run_members


class Row(NamedTuple):
    """Where a record says that a sample lies."""

    offset: int
    size_bytes: int
    key: str


def problem_of(store: Store, ref: ObjectRef, rows: Iterable[Row]) -> str | None:
    """What is wrong with the object's bytes, or with a sample's run in them; None when all is as recorded."""
    digest = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for block in store.blocks(ref.path):
            digest.update(block)
            yield block

    window = _Window(hashed())
    try:
        wrong = [told for row in sorted(set(rows)) if (told := _wrong(window, row, ref.size_bytes))]
        window.read_out()
    except ObjectMissing:
        return "missing"
    more = f" (and {len(wrong) - 1} more samples)" if len(wrong) > 1 else ""
    if (found := digest.hexdigest()) != ref.sha256:
        return f"its bytes hash to {found[:12]}..., not to its name" + (f"; {wrong[0]}{more}" if wrong else "")
    return f"its bytes are those of its name, but not as recorded: {wrong[0]}{more}" if wrong else None


class _Window:
    """A moving view of a stream, for runs by ascending offset: holds a run and a block, never the whole."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._held, self._begin = blocks, bytearray(), 0

    def run(self, offset: int, size_bytes: int) -> bytes:
        """The bytes there; fewer where the stream ends before."""
        self._let_go(offset)
        while self._begin + len(self._held) < offset + size_bytes and (block := next(self._blocks, None)) is not None:
            self._held += block
            self._let_go(offset)
        return bytes(self._held[:size_bytes])

    def read_out(self) -> None:
        """To the end: every byte is to be hashed."""
        for _ in self._blocks:
            pass

    def _let_go(self, before: int) -> None:
        gone = min(max(before - self._begin, 0), len(self._held))
        del self._held[:gone]
        self._begin += gone


def _wrong(window: _Window, row: Row, object_bytes: int) -> str | None:
    if row.offset < 0 or row.size_bytes <= 0 or row.offset + row.size_bytes > object_bytes:
        return f"sample {row.key} is recorded at byte {row.offset}, {row.size_bytes} long, of {object_bytes}"
    try:
        checked_header(row.key, run_members(row.key, window.run(row.offset, row.size_bytes)))
    except (ObjectDamaged, RequestError) as error:
        return f"byte {row.offset}: {error}"
    return None
