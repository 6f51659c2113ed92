"""A store keeps bytes by name; creation is exclusive, writing atomic, and a foreign place is refused.

The same tests run over a folder, memory and a bucket: they differ in how they say that something is missing.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from shards.errors import ObjectDamaged, ObjectMissing, RequestError, StoreError, WrongStore
from shards.reader import open_dataset
from shards.status import verify
from shards.store import LAYOUT_PATH, Store, claim, open_store
from tests.support.datasets import make_dataset
from tests.support.s3 import bucket_server


@pytest.fixture(params=["folder", "memory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "folder":
        yield open_store(tmp_path / "a store")
    elif request.param == "memory":
        store = Store("memory://", MemoryStore())
        claim(store, create=True)
        yield store
    else:
        with bucket_server() as environment:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            yield open_store("s3://bucket/some prefix")


class TestObjects:
    def test_what_is_written_is_read_whole_or_in_ranges(self, store: Store) -> None:
        store.write("a/b.bin", b"0123456789")
        assert store.read("a/b.bin") == b"0123456789"
        assert store.read_range("a/b.bin", 3, 4) == b"3456"
        assert store.read_range("a/b.bin", 3, 0) == b""
        assert b"".join(store.blocks("a/b.bin")) == b"0123456789"
        assert store.size("a/b.bin") == 10

    def test_writing_again_replaces(self, store: Store) -> None:
        store.write("CURRENT", b"old, and longer")
        store.write("CURRENT", b"new")
        assert store.read("CURRENT") == b"new"

    def test_creating_again_changes_nothing_and_says_so(self, store: Store) -> None:
        assert store.create("commits/u.json", b"first")
        assert not store.create("commits/u.json", b"second")
        assert store.read("commits/u.json") == b"first"

    def test_of_many_who_create_at_once_one_wins(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n: store.create("commits/race.json", bytes([n])), range(32)))
        assert won.count(True) == 1
        assert store.read("commits/race.json") == bytes([won.index(True)])

    @pytest.mark.parametrize(("start", "length"), [(8, 5), (10, 1), (500, 10)])
    def test_a_range_past_the_end_is_damage_that_says_how_long_it_is(
        self, store: Store, start: int, length: int
    ) -> None:
        store.write("x.tar", b"0123456789")
        with pytest.raises(ObjectDamaged, match=rf"x\.tar ends at byte 10; {start + length} are recorded"):
            store.read_range("x.tar", start, length)

    def test_a_missing_object_is_named_with_its_place(self, store: Store) -> None:
        for attempt in (store.read, store.size, store.sha256, lambda p: store.read_range(p, 0, 1)):
            with pytest.raises(ObjectMissing, match=r"objects/ab/no\.tar: it is not there") as caught:
                attempt("objects/ab/no.tar")
            assert store.uri.rstrip("/") in str(caught.value)

    def test_a_listing_is_sorted_and_of_whole_folder_names(self, store: Store) -> None:
        for path in ("commits/b.json", "commits/a.json", "commits2/c.json", "commits/d/e.json"):
            store.write(path, b"x")
        assert list(store.list("commits/")) == ["commits/a.json", "commits/b.json", "commits/d/e.json"]
        assert list(store.list("nothing/")) == []
        assert LAYOUT_PATH in list(store.list())

    def test_deleting_twice_is_deleting(self, store: Store) -> None:
        store.write("x", b"1")
        store.delete("x")
        store.delete("x")
        assert not store.exists("x")

    def test_files_go_in_and_come_out(self, store: Store, tmp_path: Path) -> None:
        source, target = tmp_path / "in.tar", tmp_path / "new" / "out.tar"
        source.write_bytes(bytes(range(256)) * 50_000)
        store.put_file("objects/x.tar", source)
        store.fetch("objects/x.tar", target)
        assert target.read_bytes() == source.read_bytes()
        assert [p.name for p in target.parent.iterdir()] == ["out.tar"]

    def test_a_failed_fetch_leaves_nothing_behind(self, store: Store, tmp_path: Path) -> None:
        target = tmp_path / "new" / "out.tar"
        with pytest.raises(ObjectMissing):
            store.fetch("objects/no.tar", target)
        assert list(target.parent.iterdir()) == []

    def test_a_dataset_is_made_and_read_in_it(self, store: Store, tmp_path: Path) -> None:
        info = make_dataset(store, tmp_path, num_units=2, clips_per_unit=2)
        dataset = open_dataset(store)
        stream = dataset.stream("train", dataset.first_state(0, 2), global_batch=2)
        assert {next(stream)[1].key for _ in range(4)} == set(dataset.keys("train"))
        assert (info.num_samples, verify(store).damaged) == (4, ())


class TestOpening:
    def test_a_new_place_is_claimed_and_found_again(self, tmp_path: Path) -> None:
        open_store(tmp_path / "s").write("x", b"1")
        assert open_store(str(tmp_path / "s"), create=False).read("x") == b"1"
        assert open_store(f"file://{tmp_path}/s", create=False).read("x") == b"1"

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

    def test_a_folder_of_other_things_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.mp4").write_bytes(b"x")
        with pytest.raises(WrongStore, match="holds other things"):
            open_store(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["holiday.mp4"]

    @pytest.mark.parametrize("marker", ['{"layout":"dubwright-store","version":2}', '{"layout":"zarr"}', "", "\x00"])
    def test_another_layout_is_refused_and_shown(self, tmp_path: Path, marker: str) -> None:
        (tmp_path / LAYOUT_PATH).write_text(marker)
        with pytest.raises(WrongStore, match="another layout or version"):
            open_store(tmp_path)

    def test_two_who_claim_a_place_at_once_both_get_it(self, tmp_path: Path) -> None:
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

    def test_a_store_travels_to_another_process_as_its_uri(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "s")
        store.write("x", b"1")
        assert pickle.loads(pickle.dumps(store)).read("x") == b"1"  # noqa: S301

    def test_the_cause_of_a_failure_is_in_its_message(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "s")
        store.write("commits", b"a file where a folder should be")
        with pytest.raises(StoreError, match=r"cannot create .*commits/u\.json: .*(directory|exists)"):
            store.create("commits/u.json", b"x")
