"""Sources in a bucket: which objects lie behind an address, and what is in them.

An address names an object (`s3://bucket/films/a.mp4`) or all that lies below it (`s3://bucket/films`). Credentials come
from the environment, as for a store (`shards/remote.py`).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from flows.sources.base import Found, Labels
from shards.errors import ObjectMissing, RequestError
from shards.place import Entry
from shards.remote import Bucket
from shards.store import LAYOUT, LAYOUT_PATH, REMOTE_SCHEMES


def in_bucket(uri: str, labels: Labels) -> Iterator[Found]:
    """The object of that address, or every one below it but hidden ones and those of our stores."""
    root, key = parted(uri)
    bucket = bucket_at(root)
    entries = _one(bucket, key) or _below(bucket, key)
    if not entries:
        raise RequestError("there is no such object, and none below it", field="sources", value=uri)
    for entry in entries:
        stamp = f"{entry.size_bytes}-{entry.modified.isoformat()}-{entry.version or ''}"
        yield Found(uri=f"{root}/{entry.path}", labels=labels, stamp=stamp, size_bytes=entry.size_bytes)


def object_sha256(uri: str) -> str:
    """Of the object's bytes, all of them read and none kept."""
    root, key = parted(uri)
    digest = hashlib.sha256()
    for block in bucket_at(root).blocks(key):
        digest.update(block)
    return digest.hexdigest()


def parted(uri: str) -> tuple[str, str]:
    """(address of the bucket, key)."""
    scheme, _, rest = uri.partition("://")
    if scheme not in REMOTE_SCHEMES:
        choices = [f"{name}://" for name in REMOTE_SCHEMES]
        raise RequestError("nothing reads this address", field="sources", value=uri, choices=choices)
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise RequestError("the address names no bucket", field="sources", value=uri)
    return f"{scheme}://{bucket}", key.strip("/")


@functools.lru_cache(maxsize=16)
def bucket_at(root: str) -> Bucket:
    """One connection for all that is read of a bucket."""
    return Bucket(root)


def _one(bucket: Bucket, key: str) -> list[Entry]:
    try:
        return [bucket.look(key)] if key else []
    except ObjectMissing:
        return []


def _below(bucket: Bucket, key: str) -> list[Entry]:
    entries = list(bucket.entries(key))
    stores = tuple(
        entry.path.removesuffix(LAYOUT_PATH)
        for entry in entries
        if PurePosixPath(entry.path).name == LAYOUT_PATH and bucket.read(entry.path).strip() == LAYOUT
    )
    return [entry for entry in entries if not _is_hidden(entry.path, key) and not entry.path.startswith(stores)]


def _is_hidden(path: str, key: str) -> bool:
    return any(name.startswith(".") for name in path.removeprefix(key).strip("/").split("/"))
