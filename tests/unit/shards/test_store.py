"""A store keeps bytes by name; creation is exclusive, writing atomic, and a foreign place is refused.

The same tests run over a folder and a bucket of a real S3 server. What only a disk can do is `test_local.py`'s, what
can happen on the way to a server `test_remote.py`'s.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shards import remote
from shards.errors import ObjectDamaged, ObjectMissing, RequestError, StoreError, WrongStore
from shards.local import Folder
from shards.remote import Bucket
from shards.store import LAYOUT_PATH, Store, claim, open_store
from tests.support.s3 import environment, new_bucket

ODD_NAMES = (
    "ünï cödé/€ 日本.json",
    "e\u0301",
    "a+b &c%20d=e;f",
    "#?*'\"<>|^`{}[]()@!$,:~",
    "back\\slash",
    "...",
    " x ",
)
NO_PATHS = ("", "/x", "x/", "a//b", ".", "a/../b", "..", "x\n", "x\x00", "\udcff")


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return open_store(tmp_path / "a store")
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{new_bucket()}/some prefix")


class TestObjects:
    def test_what_is_written_is_read_whole_or_in_ranges(self, store: Store) -> None:
        store.write("a/b.bin", b"0123456789")
        assert store.read("a/b.bin") == b"0123456789"
        assert store.read_range("a/b.bin", 3, 4) == b"3456"
        assert store.read_range("a/b.bin", 3, 0) == b""
        assert b"".join(store.blocks("a/b.bin")) == b"0123456789"
        assert store.size("a/b.bin") == 10

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        assert store.create("x.pin", b"")
        assert not store.create("x.pin", b"")
        assert (store.read("x.pin"), store.size("x.pin"), list(store.blocks("x.pin"))) == (b"", 0, [])

    def test_writing_again_replaces(self, store: Store) -> None:
        store.write("CURRENT", b"old, and longer")
        store.write("CURRENT", b"new")
        assert store.read("CURRENT") == b"new"

    @pytest.mark.parametrize(("start", "length"), [(8, 5), (10, 1), (500, 10)])
    def test_a_range_past_the_end_is_damage_that_says_how_long_it_is(
        self, store: Store, start: int, length: int
    ) -> None:
        store.write("x.tar", b"0123456789")
        with pytest.raises(ObjectDamaged, match=rf"x\.tar ends at byte 10; {start + length} are recorded"):
            store.read_range("x.tar", start, length)

    def test_a_missing_object_is_named_with_its_place(self, store: Store) -> None:
        for attempt in (store.read, store.size, store.modified, store.sha256, lambda p: store.read_range(p, 0, 1)):
            with pytest.raises(ObjectMissing, match=r"objects/ab/no\.tar: it is not there") as caught:
                attempt("objects/ab/no.tar")
            assert store.uri in str(caught.value)

    def test_a_folder_is_no_object_and_an_object_no_folder(self, store: Store) -> None:
        store.write("a/b", b"x")
        assert not store.exists("a")
        assert not store.exists("a/b/c")
        assert list(store.list("a/b/")) == []
        with pytest.raises(ObjectMissing):
            store.read("a")

    def test_deleting_twice_is_deleting(self, store: Store) -> None:
        store.write("x", b"1")
        store.delete("x")
        store.delete("x")
        store.delete("no/such/folder")
        assert not store.exists("x")

    @pytest.mark.parametrize("path", ODD_NAMES)
    def test_odd_names_are_names(self, store: Store, path: str) -> None:
        assert store.create(f"odd/{path}", path.encode())
        assert not store.create(f"odd/{path}", b"")
        assert store.read(f"odd/{path}") == path.encode()
        assert list(store.list("odd")) == [f"odd/{path}"]
        store.delete(f"odd/{path}")
        assert list(store.list("odd")) == []

    @pytest.mark.parametrize("path", NO_PATHS)
    def test_what_one_place_would_take_for_another_path_is_refused_by_all(self, store: Store, path: str) -> None:
        for attempt in (store.read, store.size, store.delete, lambda p: store.write(p, b""), store.blocks):
            with pytest.raises(RequestError, match="not a path of a store"):
                attempt(path)
        assert list(store.list()) == [LAYOUT_PATH]

    def test_the_folder_for_what_is_being_written_is_not_written_to(self, store: Store) -> None:
        with pytest.raises(RequestError, match="is being written"):
            store.create(".parts/x", b"")


class TestCreation:
    def test_creating_again_changes_nothing_and_says_so(self, store: Store) -> None:
        assert store.create("commits/u.json", b"first")
        assert not store.create("commits/u.json", b"second")
        assert not store.create("commits/u.json", b"first")
        assert store.read("commits/u.json") == b"first"

    def test_of_many_threads_one_wins(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n: store.create("commits/race.json", bytes([n])), range(32)))
        assert won.count(True) == 1
        assert store.read("commits/race.json") == bytes([won.index(True)])

    def test_of_many_processes_one_wins_each_race_also_with_equal_bytes(self, store: Store) -> None:
        spawn = multiprocessing.get_context("spawn")
        with spawn.Manager() as manager:
            start = manager.Barrier(RACERS)
            with ProcessPoolExecutor(RACERS, mp_context=spawn) as pool:
                won = list(pool.map(_race, [store] * RACERS, [start] * RACERS))
        assert [sum(each) for each in zip(*won, strict=True)] == [1] * RACES


RACERS, RACES, BARRIER_S = 4, 40, 60.0


def _race(store: Store, start: threading.Barrier) -> list[bool]:
    start.wait(BARRIER_S)
    return [store.create(f"races/{race}", b"the same") for race in range(RACES)]


class TestListing:
    def test_it_is_sorted_by_the_whole_path_and_of_whole_folder_names(self, store: Store) -> None:
        paths = ["c/b.json", "c/a.json", "c2/c.json", "c/d/e.json", "c/d-e", "c/d.x", "c/D", "c/d0"]
        for path in paths:
            store.write(path, b"x")
        assert list(store.list("c/")) == list(store.list("c")) == sorted(paths)[:-1]
        assert list(store.list()) == sorted([*paths, LAYOUT_PATH])
        assert list(store.list("nothing/")) == []

    def test_an_entry_tells_size_and_time(self, store: Store) -> None:
        store.write("d/x", b"12345")
        (entry,) = store.entries("d")
        assert (entry.path, entry.size_bytes, entry.modified) == ("d/x", 5, store.modified("d/x"))
        assert abs(entry.modified - datetime.now(UTC)) < timedelta(minutes=5)

    def test_more_than_a_page_is_all_there(self, store: Store) -> None:
        paths = [f"many/{n:04}" for n in range(1100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: store.write(path, b""), paths))
        assert list(store.list("many/")) == paths

    def test_deleting_while_listing_is_safe(self, store: Store) -> None:
        for n in range(10):
            store.write(f"d/{n}/x", b"")
        for path in store.list("d/"):
            store.delete(path)
        assert list(store.list("d/")) == []


class TestFiles:
    def test_files_go_in_and_come_out(self, store: Store, tmp_path: Path) -> None:
        source, target = tmp_path / "in.tar", tmp_path / "new" / "out.tar"
        # More than two parts, and not a whole number of blocks.
        source.write_bytes(os.urandom(1 << 10) * (2 * remote.PART_BYTES // 1024) + b"the end")
        store.put_file("objects/x.tar", source)
        store.fetch("objects/x.tar", target)
        assert target.read_bytes() == source.read_bytes()
        assert store.size("objects/x.tar") == source.stat().st_size
        assert [p.name for p in target.parent.iterdir()] == ["out.tar"]

    def test_a_file_replaces_what_is_there(self, store: Store, tmp_path: Path) -> None:
        store.write("x", b"torn")
        (tmp_path / "whole").write_bytes(b"whole")
        store.put_file("x", tmp_path / "whole")
        assert store.read("x") == b"whole"

    def test_a_file_that_is_not_there_is_named_itself(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"gone\.tar"):
            store.put_file("x", tmp_path / "gone.tar")
        assert not store.exists("x")

    def test_a_failed_fetch_leaves_nothing_behind(self, store: Store, tmp_path: Path) -> None:
        target = tmp_path / "new" / "out.tar"
        with pytest.raises(ObjectMissing):
            store.fetch("objects/no.tar", target)
        assert list(target.parent.iterdir()) == []


class TestTravelling:
    def test_a_store_travels_to_another_process_as_its_uri(self, store: Store) -> None:
        store.write("x", b"1")
        assert pickle.loads(pickle.dumps(store)).read("x") == b"1"  # noqa: S301

    def test_a_store_that_is_gone_is_not_made_anew_on_arrival(self, store: Store) -> None:
        luggage = pickle.dumps(store)
        store.delete(LAYOUT_PATH)
        with pytest.raises(WrongStore, match="no store here"):
            pickle.loads(luggage)  # noqa: S301


class TestOpening:
    def test_a_new_place_is_claimed_and_found_again(self, tmp_path: Path) -> None:
        open_store(tmp_path / "new" / "s").write("x", b"1")
        assert open_store(str(tmp_path / "new" / "s"), create=False).read("x") == b"1"
        assert open_store(f"file://{tmp_path}/new/s", create=False).read("x") == b"1"

    def test_a_file_uri_may_hold_escaped_characters(self, tmp_path: Path) -> None:
        open_store(tmp_path / "a b")
        assert open_store(f"file://{tmp_path}/a%20b", create=False).uri == str(tmp_path / "a b")

    def test_a_missing_store_is_refused_and_not_made_when_only_looking(self, tmp_path: Path) -> None:
        with pytest.raises(WrongStore, match="no store here"):
            open_store(tmp_path / "s", create=False)
        assert not (tmp_path / "s").exists()

    def test_an_empty_folder_is_no_store_when_only_looking(self, tmp_path: Path) -> None:
        with pytest.raises(WrongStore, match=r"no layout\.json"):
            open_store(tmp_path, create=False)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_of_other_things_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.mp4").write_bytes(b"x")
        with pytest.raises(WrongStore, match="holds other things"):
            open_store(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["holiday.mp4"]

    @pytest.mark.parametrize("marker", ['{"layout":"dubwright-store","version":1}', '{"layout":"zarr"}', "", "\x00"])
    def test_another_layout_is_refused_and_shown(self, tmp_path: Path, marker: str) -> None:
        (tmp_path / LAYOUT_PATH).write_text(marker)
        with pytest.raises(WrongStore, match="another layout or version") as caught:
            open_store(tmp_path)
        assert marker in str(caught.value)

    def test_many_who_claim_a_place_at_once_all_get_it(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            stores = list(pool.map(lambda n: open_store(tmp_path / "s"), range(16)))
        stores[0].write("x", b"1")
        assert stores[-1].read("x") == b"1"

    def test_a_file_cannot_be_a_store(self, tmp_path: Path) -> None:
        (tmp_path / "f").write_bytes(b"x")
        with pytest.raises(WrongStore, match="cannot be a store"):
            open_store(tmp_path / "f")

    def test_an_unknown_scheme_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(RequestError, match="Valid: file, s3, gs, az"):
            open_store("ftp://host/x")

    def test_a_bucket_that_is_not_there_is_refused_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(WrongStore, match="s3://no-such/x: there is no such bucket"):
            open_store("s3://no-such/x")
        gone = Bucket("s3://no-such/x")
        for attempt in (lambda: list(gone.entries("")), lambda: gone.write("x", b""), lambda: gone.delete("x")):
            with pytest.raises(WrongStore, match="there is no such bucket"):
                attempt()

    def test_a_place_that_does_not_refuse_a_second_creation_is_no_store(self, tmp_path: Path) -> None:
        class Careless(Folder):
            def create(self, path: str, data: bytes) -> bool:
                self.write(path, data)
                return True

        with pytest.raises(WrongStore, match="does not refuse to create"):
            claim(Store(Careless(tmp_path / "s", create=True)), create=True)


def test_the_cause_of_a_failure_is_in_its_message(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.write("commits", b"a file where a folder should be")
    with pytest.raises(StoreError, match=r"cannot create .*commits/u\.json: .*(directory|exists)"):
        store.create("commits/u.json", b"x")
