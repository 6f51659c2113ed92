"""A bucket as a place: S3 (and what speaks its protocol), Google Cloud Storage and Azure, all through obstore.

Credentials, endpoint, region and proxy come from the environment, as obstore and each cloud's own tools read them
(`AWS_...`, `GOOGLE_...`, `AZURE_...`); `AWS_READ_TIMEOUT=60s` and the like change the limits below.

Trouble that passes (no connection, 5xx, "slow down") is retried with growing pauses for `RETRY_S`. obstore repeats only
requests that it knows to be safe to repeat; the others, whose answer may be lost after the deed, are repeated here:
each of ours has the same effect when done twice. For `create` that takes a mark: every call puts one of its own on its
object, so a retry that finds the path taken can tell its own object, made by the request whose answer was lost, from
another's. Of any number of writers, even of equal bytes, exactly one is told True.

What an upload in parts leaves behind when its process is killed is the bucket's to remove, by a lifecycle rule
("abort incomplete multipart uploads after 7 days"): listings do not show it.

Tested against a server of S3's protocol. Of Google's and Azure's the tests check addresses, the condition and the mark
that `create` sends, and how answers are understood; Azure's emulator was tried by hand, a server of Google's never.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from shards.errors import ObjectMissing, RequestError, StoreDenied, StoreError, StoreUnavailable
from shards.fingerprint import BLOCK_BYTES
from shards.place import Entry
from shards.refusal import ENVIRONMENT, explain

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""After this no further try is made; the last one may last a request's limit longer."""
LIMITS = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "15m"}
"""No connection; no byte for so long; a whole request, for a large object on a slow line."""
PAUSES_S = (0.1, 2.0)
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
MARK = "writer"
_FROM_ENVIRONMENT = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_excludes", *LIMITS)
_FAILURES = (BaseError, OSError, ValueError)

_T = TypeVar("_T")


class Bucket:
    """A `Place` under a prefix of a bucket."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._scheme = uri.split(":")[0]
        self._backend = _connected(uri, self._scheme)

    def read(self, path: str) -> bytes:
        return self._again("read", path, lambda: bytes(self._backend.get(path).bytes()))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        try:
            return self._again("read", path, lambda: bytes(self._backend.get_range(path, start=start, length=length)))
        except (ObjectMissing, StoreDenied, StoreUnavailable):
            raise
        except StoreError:
            # A range that begins past the end is an error of the transport, and worded by each in its own way.
            if start < self.look(path).size_bytes:
                raise
            return b""

    def blocks(self, path: str) -> Iterator[bytes]:
        found = self._again("read", path, lambda: self._backend.get(path))
        with self._explained("read", path):
            for block in found.stream(min_chunk_size=BLOCK_BYTES):
                yield bytes(block)

    def look(self, path: str) -> Entry:
        found = self._again("look at", path, lambda: self._backend.head(path))
        return Entry(path, found["size"], found["last_modified"], found["e_tag"])

    def write(self, path: str, data: bytes) -> None:
        self._again("write", path, lambda: self._backend.put(path, data, use_multipart=False))

    def create(self, path: str, data: bytes) -> bool:
        mark = uuid.uuid4().hex

        def put() -> bool:
            try:
                self._backend.put(path, data, mode="create", attributes={MARK: mark}, use_multipart=False)
            except AlreadyExistsError:
                return self._mark(path) == mark
            return True

        return self._again("create", path, put)

    def _mark(self, path: str) -> object:
        try:
            return self._backend.get(path, options={"head": True}).attributes.get(MARK)
        except FileNotFoundError as error:
            # Two writers met, and the answer was "conflict", not "taken": who is first is still open.
            raise StoreUnavailable(f"cannot create {self.uri}/{path}: others write it at the same time") from error

    def put_file(self, path: str, local: Path) -> None:
        size = local.stat().st_size
        self._again("write", path, lambda: self._put_file(path, local, size))

    def _put_file(self, path: str, local: Path, size: int) -> None:
        self._backend.put(
            path, local, use_multipart=size > PART_BYTES, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )

    def delete(self, path: str) -> None:
        try:
            self._again("delete", path, lambda: self._backend.delete(path))
        except ObjectMissing:
            return  # some clouds say so, S3 does not

    def entries(self, prefix: str) -> Iterator[Entry]:
        """In the order in which the cloud lists: by the path's bytes."""
        last: str | None = None
        pages = iter(self._backend.list(prefix or None))

        def next_page() -> Sequence[ObjectMeta] | None:
            nonlocal pages
            try:
                return next(pages, None)
            except _FAILURES:
                # A listing that failed would say "that was all" if it were asked again: go on from what was seen.
                pages = iter(self._backend.list(prefix or None, offset=last))
                raise

        while page := self._again("list", prefix, next_page):
            for found in page:
                yield Entry(found["path"], found["size"], found["last_modified"], found["e_tag"])
            last = page[-1]["path"]

    def leftovers(self) -> Iterator[Entry]:
        return iter(())

    def _again(self, verb: str, path: str, act: Callable[[], _T]) -> _T:
        """Repeats what may be repeated: nothing here has another effect the second time."""
        until = time.monotonic() + RETRY_S
        pause, longest = PAUSES_S
        while True:
            try:
                with self._explained(verb, path):
                    return act()
            except StoreUnavailable as error:
                if time.monotonic() + pause > until:
                    raise
                log.info("%s; trying again", error)
            time.sleep(pause)
            pause = min(2 * pause, longest)

    @contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise explain(error, self._scheme, f"cannot {verb} {self.uri}/{path}", self.uri) from error


def _connected(uri: str, scheme: str) -> ObjectStore:
    prefix = ENVIRONMENT[scheme].prefix
    named = {name: os.environ.get(f"{prefix}_{name.upper()}") for name in _FROM_ENVIRONMENT}
    # Given any, obstore no longer looks for these in the environment by itself.
    options: Any = {**LIMITS, **{name: value for name, value in named.items() if value}}
    first, longest = (timedelta(seconds=pause) for pause in PAUSES_S)
    retry: RetryConfig = {
        "retry_timeout": timedelta(seconds=RETRY_S),
        "max_retries": 1000,  # time decides
        "backoff": {"init_backoff": first, "max_backoff": longest, "base": 2},
    }
    client: ClientConfig = options
    try:
        return from_url(uri, client_options=client, retry_config=retry)
    except _FAILURES as error:
        read = ", ".join(ENVIRONMENT[scheme].variables)
        cause = explain(error, scheme, "not a usable address", uri)
        raise RequestError(f"{cause}; what it needs besides is read from {read}", field="store", value=uri) from error
