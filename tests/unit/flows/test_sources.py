"""Sources: each content once, nothing passed over in silence, and nothing read that was not asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows import sources
from flows.sources import find_sources
from shards.errors import RequestError
from shards.store import open_store


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    folder = tmp_path / "footage"
    (folder / "day2").mkdir(parents=True)
    (folder / "b.mp4").write_bytes(b"bb")
    (folder / "a.mp4").write_bytes(b"a")
    (folder / "day2" / "copy of a.mp4").write_bytes(b"a")
    (folder / "day2" / "notes.txt").write_bytes(b"not footage, and still told")
    return folder


def names(*given: str | Path, limit: int | None = None) -> list[str]:
    return [source.path.name for source in find_sources([str(g) for g in given], limit)]


def test_a_folder_gives_every_content_once_in_a_stable_order(footage: Path) -> None:
    found = find_sources([str(footage)])
    assert [source.names for source in found] == [("a.mp4", "copy of a.mp4"), ("b.mp4",), ("notes.txt",)]
    assert [source.size_bytes for source in found] == [1, 2, 27]


def test_the_order_of_the_request_does_not_matter(footage: Path) -> None:
    assert find_sources([str(footage / "b.mp4"), str(footage)]) == find_sources([str(footage), str(footage / "b.mp4")])


def test_the_same_file_by_two_paths_is_one_source(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(footage)
    assert len(find_sources(["a.mp4", str(footage / "a.mp4")])) == 1


def test_a_glob_takes_files_and_the_folders_it_matches(footage: Path) -> None:
    assert names(f"{footage}/*.mp4") == ["a.mp4", "b.mp4"]
    assert names(f"{footage}/day*") == ["copy of a.mp4", "notes.txt"]
    assert names(f"{footage}/**/*.txt") == ["notes.txt"]


def test_a_glob_that_matches_a_dead_link_or_a_pipe_passes_them(footage: Path) -> None:
    (footage / "dead.mp4").symlink_to(footage / "gone.mp4")
    os.mkfifo(footage / "pipe.mp4")
    assert names(f"{footage}/*.mp4") == ["a.mp4", "b.mp4"]


def test_a_name_with_brackets_is_a_name_when_it_is_there(footage: Path) -> None:
    (footage / "c[1].mp4").write_bytes(b"ccc")
    assert names(footage / "c[1].mp4") == ["c[1].mp4"]


def test_hidden_files_and_folders_are_left_out(footage: Path) -> None:
    (footage / ".hidden.mp4").write_bytes(b"h")
    (footage / ".cache").mkdir()
    (footage / ".cache" / "x.mp4").write_bytes(b"x")
    assert names(footage) == ["a.mp4", "b.mp4", "notes.txt"]


def test_a_link_out_of_the_folder_is_not_followed(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.mp4").write_bytes(b"secret")
    (footage / "link.mp4").symlink_to(tmp_path / "secret" / "key.mp4")
    (footage / "folder").symlink_to(tmp_path / "secret")
    (footage / "near.mp4").symlink_to(footage / "b.mp4")
    assert find_sources([str(footage)])[1].names == ("b.mp4", "near.mp4")
    assert names(footage) == ["a.mp4", "b.mp4", "notes.txt"]


def test_our_own_store_inside_the_folder_is_not_footage(footage: Path) -> None:
    open_store(footage / "store").write("objects/ab/cd.tar", b"clips")
    (footage / "layouts").mkdir()
    (footage / "layouts" / "layout.json").write_bytes(b"somebody else's")
    assert names(footage) == ["a.mp4", "b.mp4", "notes.txt", "layout.json"]


def test_what_lies_behind_the_limit_is_not_read(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(sources, "file_sha256", lambda path: read.append(path.name) or path.name)
    assert names(footage, limit=1) == ["a.mp4"]
    assert read == ["a.mp4"]


def test_an_empty_folder_has_no_sources(tmp_path: Path) -> None:
    assert find_sources([str(tmp_path)]) == ()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("absent.mp4", "no such file or folder"),
        ("*.none", "the pattern matches nothing"),
        ("s3://bucket/films", "local files and folders so far"),
        ("s3://bucket/*.mp4", "local files and folders so far"),
        ("", "an empty name"),
    ],
)
def test_a_source_that_is_not_there_is_refused(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=said) as caught:
        find_sources([source])
    assert caught.value.field == "sources"


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(RequestError, match="name at least one"):
        find_sources([])


def test_a_file_that_vanishes_while_it_is_looked_for_is_named(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(sources, "file_sha256", gone)
    with pytest.raises(RequestError, match=r"cannot be read: No such file or directory \(got '.*a\.mp4'\)"):
        find_sources([str(footage)])


def test_a_folder_that_cannot_be_looked_into_is_told(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(folder: Path, onerror: object) -> list[object]:
        assert callable(onerror)
        onerror(PermissionError(13, "Permission denied", str(folder / "day2")))
        return []

    monkeypatch.setattr(sources.os, "walk", walk)
    with pytest.raises(RequestError, match=r"cannot be read: Permission denied \(got '.*day2'\)"):
        find_sources([str(footage)])
