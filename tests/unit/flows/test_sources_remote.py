"""Sources in a bucket of a real S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest

from flows.sources import identify as identifying
from flows.sources import remote
from flows.sources.find import find
from flows.sources.identify import identify
from flows.sources.known import Known
from shards.errors import RequestError
from shards.remote import Bucket
from shards.store import open_store
from tests.support.s3 import environment, new_bucket

Put = Callable[[str, bytes], None]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    remote.bucket_at.cache_clear()
    yield f"s3://{new_bucket()}"
    remote.bucket_at.cache_clear()


@pytest.fixture
def bucket(root: str) -> Bucket:
    found = Bucket(root)
    for key, content in (
        ("films/a.mp4", b"a"),
        ("films/day 2/ä.mp4", b"bb"),
        ("filmstar.mp4", b"c"),
        ("films/.x", b"h"),
    ):
        found.write(key, content)
    return found


def test_an_address_names_an_object_or_all_below_it(root: str, bucket: Bucket) -> None:
    below = [f"{root}/films/a.mp4", f"{root}/films/day 2/ä.mp4"]
    assert [found.uri for found in find([f"{root}/films"])] == below
    assert [found.uri for found in find([f"{root}/films/"])] == below
    assert [found.uri for found in find([f"{root}/films/a.mp4"])] == below[:1]
    assert [found.uri for found in find([root])] == [*below, f"{root}/filmstar.mp4"]


def test_an_object_is_known_by_its_bytes(root: str, bucket: Bucket) -> None:
    sources = identify(find([f"{root}/films"]), Known())
    assert [source.sha256 for source in sources] == [hashlib.sha256(content).hexdigest() for content in (b"a", b"bb")]
    assert [source.size_bytes for source in sources] == [1, 2]


def test_an_object_is_read_once_until_it_is_put_anew(
    root: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    really = remote.object_sha256
    monkeypatch.setattr(identifying, "object_sha256", lambda uri: read.append(uri) or really(uri))
    known = Known()
    for _ in range(2):
        identify(find([f"{root}/films/a.mp4"]), known)
    assert read == [f"{root}/films/a.mp4"]
    # Of the same size, and most likely within the same second.
    bucket.write("films/a.mp4", b"b")
    (source,) = identify(find([f"{root}/films/a.mp4"]), known)
    assert source.sha256 == hashlib.sha256(b"b").hexdigest()


def test_an_object_that_goes_is_told(root: str, bucket: Bucket) -> None:
    places = find([f"{root}/films/a.mp4"])
    bucket.delete("films/a.mp4")
    (source,) = identify(places, Known())
    assert source.rejection is not None
    assert source.rejection.code == "vanished"


def test_our_own_store_below_the_address_is_not_footage(root: str, bucket: Bucket) -> None:
    open_store(f"{root}/films/store").write("objects/ab/cd.tar", b"clips")
    assert len(find([f"{root}/films"])) == 2


def test_an_address_behind_which_nothing_lies_is_refused(root: str, bucket: Bucket) -> None:
    with pytest.raises(RequestError, match="no such object, and none below it"):
        find([f"{root}/film"])
