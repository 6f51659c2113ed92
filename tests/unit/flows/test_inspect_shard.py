"""A tar of samples: what is in it, one clip of it, and what is damaged."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from flows.explain.target import inspect
from shards.errors import ObjectDamaged, RequestError
from shards.store import open_store
from shards.writer import FragmentWriter
from tests.support.clips import make_clip
from tests.support.datasets import make_dataset


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "shard.tar"
    with FragmentWriter(path) as writer:
        for number in range(3):
            writer.add(make_clip(number, frames=4, identity=f"person-{number % 2}"))
        writer.seal()
    return path


def test_a_shard_is_told_with_its_samples(shard: Path) -> None:
    found = inspect(str(shard))
    assert (found["kind"], found["samples"], found["frames"], found["identities"]) == ("shard", 3, 12, 2)
    assert found["damaged"] == []
    assert found["clips"][1].startswith(f"{shard}#{make_clip(1).key} (4 frames of person-1)")


def test_a_clip_in_a_shard_is_told(shard: Path) -> None:
    found = inspect(f"{shard}#{make_clip(2).key}")
    assert (found["kind"], found["frames"], found["source"]) == ("clip", 4, "source-2.mp4")


def test_a_key_that_is_not_in_the_shard_is_refused_with_where_to_look(shard: Path) -> None:
    with pytest.raises(RequestError, match=r"no such sample; `dubwright inspect '.*shard.tar'`"):
        inspect(f"{shard}#{'f' * 32}")


def test_damage_is_told_sample_by_sample(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        frames = next(info for info in tar if info.name == f"{make_clip(1).key}.frames.mjpeg")
    data[frames.offset_data + 50] ^= 0xFF
    shard.write_bytes(data)
    found = inspect(str(shard))
    assert (found["samples"], len(found["clips"]), len(found["damaged"])) == (3, 2, 1)
    assert "member `frames.mjpeg` is damaged" in found["damaged"][0]


def test_a_file_that_is_no_tar_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ObjectDamaged, match=r"no\.tar is no whole tar"):
        inspect(str(tmp_path / "no.tar"))


def test_a_shard_in_a_store_is_told_by_its_path_there(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    info = make_dataset(store, tmp_path)
    found = inspect(f"{store.uri}#{info.shards[0].path}")
    assert (found["kind"], found["path"]) == ("shard", f"{store.uri}#{info.shards[0].path}")
    clip = inspect(found["clips"][0].partition(" ")[0])
    assert clip["kind"] == "clip"


def test_an_object_that_is_not_there_is_refused_with_where_to_look(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with pytest.raises(RequestError, match="no such object"):
        inspect(f"{store.uri}#objects/ab/cd.tar")
