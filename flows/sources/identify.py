"""From places to contents: each place is read once, or not at all where the store remembers what lay there.

A content is named by the sha256 of its bytes; equal bytes are one source. A file that was changed within the last
seconds is looked at again once it has had time to change: if it did, somebody is still writing it, and it is rejected
(`being_written`) and not remembered. That second look also makes it safe to trust a file's time afterwards: a change in
the same tick of the clock would have left no trace.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from flows.sources.base import Found, Labels, Source
from flows.sources.known import Known
from flows.sources.remote import object_sha256
from shards.errors import ObjectMissing, RequestError, StoreDenied
from shards.fingerprint import BLOCK_BYTES, fingerprint
from shards.schema import Rejection

SETTLE_S = 2.0
"""A file is taken as finished once it has not changed for so long."""
READS_AT_ONCE = 4
"""Files hashed side by side."""
_BATCH = 64
_STILL_WRITTEN = "it changes while it is looked at; run again once it is finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a place held when it was looked at."""

    found: Found
    stamp: str = ""
    size_bytes: int = 0
    sha256: str = ""
    is_recent: bool = False
    """It may be changing still."""
    rejection: Rejection | None = None

    @property
    def content(self) -> str:
        # What could not be read is known by its place: once it can be, it is another content.
        code = self.rejection.code if self.rejection else ""
        return self.sha256 or fingerprint("unread", self.found.uri, self.stamp, code)

    def rejected(self, code: str, detail: str) -> _Look:
        return dataclasses.replace(self, sha256="", rejection=Rejection(code=code, detail=detail))


def identify(places: Sequence[Found], known: Known, limit: int | None = None) -> tuple[Source, ...]:
    """The distinct contents of `places`, or the first `limit` of them; what is learnt is in `known`, unsaved."""
    looks: list[_Look] = []
    seen: set[str] = set()
    ahead = iter(places)
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        # Hashing reads every byte: what lies behind the limit is not read at all.
        while limit is None or len(seen) < limit:
            batch = list(islice(ahead, _BATCH if limit is None else min(_BATCH, limit - len(seen))))
            if not batch:
                break
            for look in pool.map(lambda found: _first_look(found, known), batch):
                looks.append(look)
                seen.add(look.content)
    return _sources(_settled(looks, known))


def _first_look(found: Found, known: Known) -> _Look:
    look = _Look(found=found)
    if found.rejection is not None:
        return dataclasses.replace(look, rejection=found.rejection)
    try:
        return _object(found, known) if found.is_remote else _file(look, known)
    except (FileNotFoundError, ObjectMissing):
        return look.rejected("vanished", "it went while it was looked at")
    except (PermissionError, StoreDenied) as error:
        return look.rejected("no_permission", f"this program may not read it: {error}")
    except OSError as error:
        if error.errno == errno.ENXIO:
            return look.rejected("not_a_file", "a socket or device, no file")
        return look.rejected("unreadable", f"it cannot be read: {error.strerror}")


def _object(found: Found, known: Known) -> _Look:
    """An object is replaced as a whole, so its stamp alone says whether it is the one that was read."""
    stamp, size = found.stamp or "", found.size_bytes or 0
    sha256 = known.sha256(found.uri, stamp)
    return _Look(found=found, stamp=stamp, size_bytes=size, sha256=sha256 or object_sha256(found.uri))


def _file(look: _Look, known: Known) -> _Look:
    uri = look.found.uri
    # Opening a pipe without this flag waits for whoever writes to it.
    handle = os.open(uri, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(handle)
        look = dataclasses.replace(look, stamp=_stamp(before), size_bytes=before.st_size)
        if not stat.S_ISREG(before.st_mode):
            return look.rejected("not_a_file", "a pipe, socket or device, no file")
        if (sha256 := known.sha256(uri, look.stamp)) is not None:
            return dataclasses.replace(look, sha256=sha256)
        sha256 = _sha256(handle)
        if _stamp(os.fstat(handle)) != look.stamp:
            return look.rejected("being_written", _STILL_WRITTEN)
    finally:
        os.close(handle)
    is_recent = abs(time.time() - before.st_mtime) < SETTLE_S
    return dataclasses.replace(look, sha256=sha256, is_recent=is_recent)


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"


def _sha256(handle: int) -> str:
    digest = hashlib.sha256()
    while block := os.read(handle, BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _settled(looks: Iterable[_Look], known: Known) -> list[_Look]:
    """The looks, with what is still being written rejected and all else learnt."""
    looks = list(looks)
    if any(look.is_recent for look in looks):
        time.sleep(SETTLE_S)
    settled = [_second_look(look) if look.is_recent else look for look in looks]
    for look in settled:
        if look.rejection is None:
            known.learn(look.found.uri, look.stamp, look.sha256)
    return settled


def _second_look(look: _Look) -> _Look:
    try:
        is_same = _stamp(os.stat(look.found.uri)) == look.stamp
    except OSError:
        return look.rejected("vanished", "it went while it was looked at")
    return look if is_same else look.rejected("being_written", _STILL_WRITTEN)


def _sources(looks: Iterable[_Look]) -> tuple[Source, ...]:
    by_content: dict[str, list[_Look]] = {}
    for look in looks:
        by_content.setdefault(look.content, []).append(look)
    problems: list[str] = []
    sources = tuple(_source(content, same, problems) for content, same in by_content.items())
    if problems:
        raise RequestError("\n  ".join(["one content, and two things said of it:", *problems]), field="sources")
    return sources


def _source(content: str, looks: Sequence[_Look], problems: list[str]) -> Source:
    first = looks[0]
    said = [look.found for look in looks if look.found.labels]
    problems += [f"{said[0].uri} and {other.uri}" for other in said[1:] if other.labels != said[0].labels]
    return Source(
        uri=first.found.uri,
        names=tuple(look.found.name for look in looks),
        sha256=content,
        size_bytes=first.size_bytes,
        labels=said[0].labels if said else Labels(),
        rejection=first.rejection,
    )
