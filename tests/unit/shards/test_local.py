"""On a disk: an object is whole and lasts before anybody is told so, and whoever dies leaves nothing that counts."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cluster.failures import FailureKind, classify
from shards.errors import RequestError, StoreDenied, StoreError, WrongStore
from shards.local import PARTS
from shards.store import LAYOUT_PATH, Store, open_store

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "s")


class Disk:
    """Writes down, in order, what is asked of the disk that matters after a power cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
        self.calls: list[str] = []
        self._root = root
        for name, which in {"mkdir": 0, "link": 1, "replace": 1, "unlink": 0}.items():
            self._watch(monkeypatch, name, lambda *args, which=which: self._named(os.fspath(args[which])))
        self._watch(monkeypatch, "fsync", lambda handle: self._named(os.readlink(f"/proc/self/fd/{handle}")))

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, shown: object) -> None:
        real = getattr(os, name)

        def watched(*args: object) -> object:
            self.calls.append(f"{name} {shown(*args)}")  # type: ignore[operator]
            return real(*args)

        monkeypatch.setattr(os, name, watched)

    def _named(self, path: str) -> str:
        inside = path.removeprefix(self._root).removeprefix("/") or "."
        return "the part" if inside.endswith(".part") else inside


def failing(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


class TestDurability:
    def test_bytes_last_before_their_name_and_names_before_the_answer(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = Disk(monkeypatch, store.uri)
        assert store.create("attempts/u/1.json", b"x")
        assert disk.calls == [
            "fsync the part",
            *("mkdir attempts", "fsync ."),
            *("mkdir attempts/u", "fsync attempts"),
            *("link attempts/u/1.json", "fsync attempts/u"),
            "unlink the part",
        ]

    def test_a_folder_made_by_another_lasts_before_the_answer_too(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path(store.uri, "commits").mkdir()
        disk = Disk(monkeypatch, store.uri)
        store.write("commits/a", b"x")
        store.write("commits/b", b"x")
        assert disk.calls.count("fsync .") == 1
        assert disk.calls.index("fsync .") < disk.calls.index("replace commits/a")

    def test_a_file_is_put_as_safely(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "in").write_bytes(b"x")
        store.write("x.tar", b"")
        disk = Disk(monkeypatch, store.uri)
        store.put_file("x.tar", tmp_path / "in")
        assert disk.calls == ["fsync the part", "replace x.tar", "fsync .", "unlink the part"]

    def test_what_was_deleted_stays_deleted(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.write("commits/u", b"x")
        disk = Disk(monkeypatch, store.uri)
        store.delete("commits/u")
        assert disk.calls == ["unlink commits/u", "fsync commits"]

    def test_a_new_store_lasts_with_the_folders_above_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = Disk(monkeypatch, str(tmp_path))
        open_store(tmp_path / "a" / "b")
        assert {"fsync .", "fsync a", "fsync a/b"} <= set(disk.calls)

    def test_a_folder_that_was_tidied_away_is_made_again(self, store: Store) -> None:
        store.write("a/b/x", b"1")
        store.delete("a/b/x")
        Path(store.uri, "a/b").rmdir()
        Path(store.uri, "a").rmdir()
        assert store.create("a/b/x", b"2")
        assert store.read("a/b/x") == b"2"


class TestTrouble:
    @pytest.mark.parametrize("call", ["write", "fsync", "open", "mkdir"])
    def test_a_full_disk_leaves_the_old_object_and_is_known_as_one(
        self, store: Store, call: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write("x", b"old")
        with monkeypatch.context() as full:
            failing(call, errno.ENOSPC, full)
            with pytest.raises(StoreError, match=r"cannot write .*: No space left on device") as caught:
                store.write("new folder/x" if call == "mkdir" else "x", b"new")
        assert classify(caught.value) is FailureKind.TRANSIENT
        assert store.read("x") == b"old"
        assert list(store.leftovers()) == []

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
    def test_a_file_system_without_hard_links_is_refused_at_once(
        self, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing("link", number, monkeypatch)
        with pytest.raises(WrongStore, match="needs hard links"):
            open_store(tmp_path / "s")

    def test_a_link_whose_answer_was_lost_is_ours(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        link = os.link

        def asked_twice(part: str, target: str) -> None:
            link(part, target)
            link(part, target)

        monkeypatch.setattr(os, "link", asked_twice)
        assert store.create("x", b"1")

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
    def test_a_read_only_disk_is_said_and_not_tried_again(
        self, store: Store, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing("open", number, monkeypatch)
        with pytest.raises(StoreDenied, match=rf"cannot create .*x: {os.strerror(number)}; .*read-only") as caught:
            store.create("x", b"1")
        assert classify(caught.value) is FailureKind.INPUT

    def test_a_folder_that_this_user_may_not_write_in_is_read_and_not_written(self) -> None:
        # Not pytest's folder: those above it are closed to other users.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            store = open_store(Path(folder, "s"))
            store.write("x", b"1")
            with _read_only(Path(store.uri)), _as_ordinary_user():
                assert store.read("x") == b"1"
                for attempt in (lambda: store.create("y", b""), lambda: store.delete("x")):
                    with pytest.raises(StoreDenied, match="Permission denied"):
                        attempt()
            assert list(store.list()) == [LAYOUT_PATH, "x"]


@contextmanager
def _read_only(root: Path) -> Iterator[None]:
    folders = [root, root / PARTS]
    for folder in folders:
        folder.chmod(0o555)
    yield
    for folder in folders:
        folder.chmod(0o755)


@contextmanager
def _as_ordinary_user() -> Iterator[None]:
    """Nothing is forbidden to root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class TestLeftovers:
    KILLED = """
import os, signal, sys
from shards.store import open_store
real, calls = getattr(os, sys.argv[2]), []
def die(*args):
    calls.append(args)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
setattr(os, sys.argv[2], die)
open_store(sys.argv[1]).create("commits/u.json", b"x" * 100)
"""

    # The first fsync is of the store's own folder.
    @pytest.mark.parametrize(("call", "which"), [("write", 1), ("fsync", 2), ("link", 1), ("fsync", 4), ("unlink", 1)])
    def test_what_a_killed_writer_leaves_is_never_listed_and_can_be_swept(
        self, store: Store, call: str, which: int
    ) -> None:
        store.write("commits/a.json", b"x")
        died = subprocess.run([sys.executable, "-c", self.KILLED, store.uri, call, str(which)], timeout=60, check=False)
        assert died.returncode == -signal.SIGKILL
        is_named = (call, which) in (("fsync", 4), ("unlink", 1))
        assert ("commits/u.json" in store.list()) == is_named
        assert not [path for path in store.list() if path.startswith(PARTS)]
        leftovers = list(store.leftovers())
        assert len(leftovers) == 1
        for entry in leftovers:
            assert entry.path.startswith(f"{PARTS}/")
            assert abs(entry.modified - datetime.now(UTC)) < timedelta(minutes=5)
            store.delete(entry.path)
        assert list(store.leftovers()) == []
        # Whoever comes next is not in the way of the dead, nor the dead in theirs.
        assert store.create("commits/u.json", b"y" * 100) == (not is_named)
        assert store.size("commits/u.json") == 100

    def test_a_part_under_the_name_of_an_object_shares_no_fate_with_it(self, store: Store) -> None:
        assert store.create("x", b"1")
        for entry in store.leftovers():
            store.delete(entry.path)
        assert store.read("x") == b"1"

    def test_a_folder_that_holds_only_parts_is_still_empty(self, tmp_path: Path) -> None:
        (tmp_path / "s" / PARTS).mkdir(parents=True)
        (tmp_path / "s" / PARTS / "0.part").write_bytes(b"")
        assert list(open_store(tmp_path / "s").list()) == [LAYOUT_PATH]


def test_other_users_may_read_what_the_umask_allows(store: Store) -> None:
    before = os.umask(0o022)
    try:
        store.write("x", b"1")
    finally:
        os.umask(before)
    assert Path(store.uri, "x").stat().st_mode & 0o777 == 0o644


def test_a_path_may_not_leave_the_store(store: Store) -> None:
    Path(store.uri).with_name("secret").write_bytes(b"x")
    with pytest.raises(RequestError):
        store.read("../secret")
