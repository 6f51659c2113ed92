"""Contents: each known by its bytes and read once; what is still being written is told and never remembered."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from flows.sources import identify as identifying
from flows.sources.base import Found, Labels
from flows.sources.find import find
from flows.sources.identify import identify
from flows.sources.known import Known
from shards.errors import RequestError
from shards.schema import Rejection


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it was waited for files to settle; nobody really waits."""
    waited: list[float] = []
    monkeypatch.setattr(identifying.time, "sleep", waited.append)
    return waited


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A line for each content that was read."""
    seen: list[int] = []
    really = identifying._sha256
    monkeypatch.setattr(identifying, "_sha256", lambda handle: seen.append(handle) or really(handle))
    return seen


def put(path: Path, content: bytes, *, age_s: float = 3600.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def codes(places: list[Found], known: Known | None = None) -> list[str]:
    return [source.rejection.code for source in identify(places, known or Known()) if source.rejection]


def test_equal_bytes_are_one_source_under_all_their_names(tmp_path: Path) -> None:
    for name, content in (("a.mp4", b"a"), ("b.mp4", b"bb"), ("day2/copy.mp4", b"a"), ("day2/a.mp4", b"another")):
        put(tmp_path / name, content)
    found = identify(find([str(tmp_path)]), Known())
    assert [source.names for source in found] == [("a.mp4", "copy.mp4"), ("b.mp4",), ("a.mp4",)]
    assert [source.size_bytes for source in found] == [1, 2, 7]
    assert found[0].sha256 == hashlib.sha256(b"a").hexdigest()


def test_what_is_known_is_not_read_again_until_it_changes(tmp_path: Path, reads: list[int]) -> None:
    known = Known()
    path = put(tmp_path / "a.mp4", b"a")
    first = identify(find([str(path)]), known)
    assert identify(find([str(path)]), known) == first
    assert len(reads) == 1
    put(path, b"b", age_s=60.0)
    assert identify(find([str(path)]), known) != first
    assert len(reads) == 2


def test_another_file_with_the_size_and_time_of_the_first_is_read(tmp_path: Path, reads: list[int]) -> None:
    known, path = Known(), put(tmp_path / "a.mp4", b"a")
    identify(find([str(path)]), known)
    put(tmp_path / "other", b"b")
    os.utime(tmp_path / "other", ns=(path.stat().st_mtime_ns,) * 2)
    (tmp_path / "other").rename(path)
    assert identify(find([str(path)]), known)[0].sha256 == hashlib.sha256(b"b").hexdigest()
    assert len(reads) == 2


def test_what_lies_behind_the_limit_is_not_read(tmp_path: Path, reads: list[int]) -> None:
    for name in ("a", "a2", "b", "c", "d"):
        put(tmp_path / name, name[:1].encode())
    assert [source.names for source in identify(find([str(tmp_path)]), Known(), 2)] == [("a", "a2"), ("b",)]
    assert len(reads) == 3


def test_a_file_that_has_just_come_is_taken_once_it_had_time_to_change(tmp_path: Path, waits: list[float]) -> None:
    known, path = Known(), put(tmp_path / "a.mp4", b"a", age_s=0.0)
    (source,) = identify(find([str(path)]), known)
    assert source.rejection is None
    assert waits == [identifying.SETTLE_S]
    identify(find([str(path)]), known)
    assert waits == [identifying.SETTLE_S]


def test_a_file_that_grows_between_two_looks_is_rejected_and_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, path = Known(), put(tmp_path / "a.mp4", b"a", age_s=0.0)
    put(tmp_path / "done.mp4", b"done")
    monkeypatch.setattr(identifying.time, "sleep", lambda seconds: put(path, b"more of it", age_s=0.0))
    sources = identify(find([str(tmp_path)]), known)
    assert [source.rejection and source.rejection.code for source in sources] == ["being_written", None]
    monkeypatch.setattr(identifying.time, "sleep", lambda seconds: None)
    (source, _) = identify(find([str(tmp_path)]), known)
    assert (source.rejection, source.sha256) == (None, hashlib.sha256(b"more of it").hexdigest())


def test_a_file_that_changes_while_it_is_read_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.mp4", b"a")
    monkeypatch.setattr(identifying, "_sha256", lambda handle: put(path, b"more", age_s=0.0).name)
    assert codes(find([str(path)])) == ["being_written"]


def test_a_file_that_goes_between_two_looks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.mp4", b"a", age_s=0.0)
    places = find([str(path)])
    monkeypatch.setattr(identifying.time, "sleep", lambda seconds: path.unlink())
    assert codes(places) == ["vanished"]
    assert codes(places) == ["vanished"]


def test_a_pipe_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert codes(find([str(tmp_path)])) == ["not_a_file"]


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.mp4", b"a")

    def denied(uri: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", uri)

    # Not by its mode: tests may run as root, who may read all.
    monkeypatch.setattr(identifying.os, "open", denied)
    assert codes(find([str(path)])) == ["no_permission"]


def test_a_disk_that_fails_on_one_file_costs_that_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int) -> str:
        raise OSError(5, "Input/output error")

    put(tmp_path / "a.mp4", b"a")
    monkeypatch.setattr(identifying, "_sha256", broken)
    assert codes(find([str(tmp_path)])) == ["unreadable"]


def test_two_places_that_cannot_be_read_are_two_sources(tmp_path: Path) -> None:
    dead = Rejection(code="dead_link", detail="nowhere")
    places = [Found(uri=f"/footage/{name}", rejection=dead) for name in "ab"]
    sources = identify(places, Known())
    assert [source.uri for source in sources] == ["/footage/a", "/footage/b"]
    assert len({source.sha256 for source in sources}) == 2


def test_files_are_only_read(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp4", b"a")
    before = path.stat()
    path.chmod(0o444)
    identify(find([str(path)]), Known())
    after = path.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (before.st_mtime_ns, before.st_size, before.st_ino)


def test_what_is_said_of_a_content_holds_for_its_copies_and_must_agree(tmp_path: Path) -> None:
    labels = Labels(identity="Ann")
    plain, said, other = (str(put(tmp_path / name, b"a")) for name in "abc")
    (source,) = identify([Found(uri=plain), Found(uri=said, labels=labels)], Known())
    assert (source.uri, source.labels) == (plain, labels)
    with pytest.raises(RequestError, match=r"two things said of it:\n  .*/b and .*/c"):
        identify([Found(uri=said, labels=labels), Found(uri=other, labels=Labels(identity="Bea"))], Known())
