"""Whatever happens on the way to a bucket: an operation has its effect once and says so, or fails by name and in time.

A real S3 server stands behind a proxy that makes the trouble.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shards import remote
from shards.errors import DubwrightError, StoreUnavailable
from shards.remote import Bucket
from shards.store import Store, open_store
from tests.support.proxy import Fault, FaultProxy
from tests.support.s3 import environment, new_bucket, server_port

BYTES = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_S", 20.0)
    monkeypatch.setenv("AWS_READ_TIMEOUT", "200ms")


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(server_port()) as proxy:
        yield proxy


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Store:
    """The same store, by the straight way: what is really there."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{new_bucket()}/pre fix")


@pytest.fixture
def store(behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment(proxy.port)["AWS_ENDPOINT_URL"])
    return open_store(behind.uri, create=False)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three parts, as small as S3 lets parts be."""
    monkeypatch.setattr(remote, "PART_BYTES", 5 << 20)
    path = tmp_path / "shard.tar"
    path.write_bytes(BYTES * 1100)
    # Five million bytes take a moment, on a busy machine a long one.
    monkeypatch.setenv("AWS_READ_TIMEOUT", "1s")
    return path


ANY_REQUEST = [fault for fault in Fault if fault is not Fault.CONFLICT]


@pytest.mark.parametrize("fault", ANY_REQUEST)
class TestTroubleThatPasses:
    """Two faults in a row: also what repeats the request meets one."""

    def test_reading_gives_the_bytes(self, store: Store, behind: Store, proxy: FaultProxy, fault: Fault) -> None:
        behind.write("x", BYTES)
        for read in (
            lambda: store.read("x"),
            lambda: b"".join(store.blocks("x")),
            lambda: store.read_range("x", 0, len(BYTES)),
        ):
            proxy.next(2, fault)
            assert read() == BYTES
        proxy.next(2, fault)
        assert store.size("x") == len(BYTES)

    def test_listing_shows_everything_once(self, store: Store, behind: Store, proxy: FaultProxy, fault: Fault) -> None:
        paths = [f"d/{n}" for n in range(5)]
        for path in paths:
            behind.write(path, b"x")
        proxy.next(2, fault)
        assert list(store.list("d")) == paths

    def test_creating_says_true_to_the_one_who_did_it(
        self, store: Store, behind: Store, proxy: FaultProxy, fault: Fault
    ) -> None:
        proxy.next(2, fault, "PUT")
        assert store.create("commits/u", b"mine")
        assert behind.read("commits/u") == b"mine"

    def test_creating_says_false_to_another_also_of_equal_bytes(
        self, store: Store, behind: Store, proxy: FaultProxy, fault: Fault
    ) -> None:
        behind.create("commits/u", b"theirs")
        for data in (b"mine", b"theirs"):
            proxy.next(2, fault)
            assert not store.create("commits/u", data)
        assert behind.read("commits/u") == b"theirs"

    def test_writing_and_deleting_have_their_effect(
        self, store: Store, behind: Store, proxy: FaultProxy, fault: Fault
    ) -> None:
        proxy.next(2, fault)
        store.write("x", b"1")
        assert behind.read("x") == b"1"
        proxy.next(2, fault)
        store.delete("x")
        assert not behind.exists("x")

    def test_a_file_goes_up_in_parts_and_is_whole(
        self, parts: Path, store: Store, behind: Store, proxy: FaultProxy, fault: Fault
    ) -> None:
        for step in ("?uploads", "?partNumber=2", "?uploadId="):
            proxy.next(1, fault, step)
        store.put_file("objects/x.tar", parts)
        assert proxy.count(fault) == 3
        assert behind.read("objects/x.tar") == parts.read_bytes()
        assert len({seen.path for seen in proxy.seen if seen.method == "PUT"}) >= 3
        assert list(behind.list("objects")) == ["objects/x.tar"]


class TestTroubleInParticular:
    def test_a_conflict_of_two_creations_is_decided_by_asking_again(
        self, store: Store, behind: Store, proxy: FaultProxy
    ) -> None:
        proxy.next(2, Fault.CONFLICT, "PUT")
        assert store.create("commits/u", b"1")
        proxy.next(1, Fault.CONFLICT, "PUT")
        assert not store.create("commits/u", b"2")
        assert behind.read("commits/u") == b"1"

    def test_a_listing_torn_after_its_first_page_goes_on_from_there(
        self, store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [{"path": f"d/{n}", "size": 0, "last_modified": None, "e_tag": None} for n in range(4)]

        class Listing:
            torn = False

            def list(self, prefix: str | None, offset: str | None = None) -> Iterator[list[dict[str, Any]]]:
                rest = [entry for entry in found if offset is None or str(entry["path"]) > offset]
                yield rest[:2]
                if not self.torn:
                    self.torn = True
                    raise OSError("HTTP error: request or response body error")
                yield rest[2:]

        monkeypatch.setattr(store._place, "_backend", Listing())
        assert list(store.list("d")) == ["d/0", "d/1", "d/2", "d/3"]

    def test_a_restart_is_waited_for(self, store: Store, behind: Store, proxy: FaultProxy) -> None:
        store.write("x", b"before")
        proxy.stop()
        again = threading.Timer(0.3, proxy.start)
        again.start()
        assert store.read("x") == b"before"
        assert store.create("y", b"after")
        again.join()

    def test_a_run_through_seeded_trouble_loses_and_doubles_nothing(
        self, store: Store, behind: Store, proxy: FaultProxy
    ) -> None:
        proxy.now_and_then(0.3, seed=7)
        assert [store.create(f"commits/{n}", b"%d" % n) for n in range(30)] == [True] * 30
        assert [store.create(f"commits/{n}", b"%d" % n) for n in range(30)] == [False] * 30
        assert {path: behind.read(path) for path in store.list("commits")} == {
            f"commits/{n}": b"%d" % n for n in range(30)
        }
        assert proxy.count(Fault.LOST_ANSWER) > 2


def everything(store: Store, file: Path) -> dict[str, Callable[[], object]]:
    return {
        "read": lambda: store.read("x"),
        "blocks": lambda: list(store.blocks("x")),
        "read_range": lambda: store.read_range("x", 0, 1),
        "size": lambda: store.size("x"),
        "write": lambda: store.write("x", b"1"),
        "create": lambda: store.create("x", b"1"),
        "put_file": lambda: store.put_file("x", file),
        "list": lambda: list(store.list()),
        "delete": lambda: store.delete("x"),
    }


def failures(store: Store, file: Path) -> dict[str, tuple[type[DubwrightError], str]]:
    found = {}
    for name, attempt in everything(store, file).items():
        with pytest.raises(DubwrightError) as caught:
            attempt()
        found[name] = (type(caught.value), str(caught.value))
    return found


class TestTroubleThatStays:
    @pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.SILENCE])
    def test_everything_gives_up_by_name(
        self, store: Store, proxy: FaultProxy, fault: Fault, parts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "RETRY_S", 0.1)
        monkeypatch.setenv("AWS_READ_TIMEOUT", "200ms")
        store = Store(Bucket(store.uri))
        proxy.now_and_then(1.0, seed=0, kinds=[fault])
        for name, (kind, text) in failures(store, parts).items():
            assert kind is StoreUnavailable, (name, text)
            assert store.uri in text
            assert {Fault.SLOW_DOWN: "503", Fault.RESET: "reset", Fault.SILENCE: "no answer"}[fault] in text, name

    def test_an_unreachable_endpoint_is_said_within_the_limit(
        self, store: Store, proxy: FaultProxy, parts: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "RETRY_S", 0.1)
        proxy.stop()
        for kind, text in failures(Store(Bucket(store.uri)), parts).values():
            assert kind is StoreUnavailable
            assert "Connection refused" in text
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            open_store(store.uri)
