"""Places: each once, nothing passed over in silence, and what cannot be opened told with a code of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.sources import find as finding
from flows.sources.base import Labels
from flows.sources.find import find
from shards.errors import RequestError
from shards.store import open_store


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    folder = tmp_path / "footage"
    (folder / "day2").mkdir(parents=True)
    (folder / "b.mp4").write_bytes(b"bb")
    (folder / "a.mp4").write_bytes(b"a")
    (folder / "day2" / "a.mp4").write_bytes(b"another")
    (folder / "day2" / "notes.txt").write_bytes(b"not footage, and still told")
    return folder


def below(folder: Path, *given: str | Path) -> list[str]:
    return [os.path.relpath(found.uri, folder) for found in find([str(g) for g in given or (folder,)])]


def codes(folder: Path) -> dict[str, str]:
    return {found.name: found.rejection.code for found in find([str(folder)]) if found.rejection}


ALL = ["a.mp4", "b.mp4", "day2/a.mp4", "day2/notes.txt"]


def test_a_folder_gives_every_file_in_a_stable_order(footage: Path) -> None:
    assert below(footage) == ALL


def test_a_file_named_twice_and_by_two_paths_is_one_place(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(footage)
    assert below(footage, "b.mp4", footage / "b.mp4", "../footage/b.mp4") == ["b.mp4"]
    assert below(footage, footage / "b.mp4", footage) == below(footage, footage, footage / "b.mp4") == ALL


def test_a_glob_takes_files_and_the_folders_it_matches(footage: Path) -> None:
    assert below(footage, f"{footage}/*.mp4") == ["a.mp4", "b.mp4"]
    assert below(footage, f"{footage}/day*") == ["day2/a.mp4", "day2/notes.txt"]
    assert below(footage, f"{footage}/**/*.txt") == ["day2/notes.txt"]


def test_a_name_with_brackets_is_a_name_when_it_is_there(footage: Path) -> None:
    (footage / "c[1].mp4").write_bytes(b"ccc")
    assert below(footage, footage / "c[1].mp4") == ["c[1].mp4"]


def test_hidden_files_and_folders_are_left_out(footage: Path) -> None:
    (footage / ".hidden.mp4").write_bytes(b"h")
    (footage / ".cache").mkdir()
    (footage / ".cache" / "x.mp4").write_bytes(b"x")
    assert below(footage) == ALL


def test_a_link_is_followed_within_the_folder_only_and_the_others_are_told(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.mp4").write_bytes(b"secret")
    (footage / "out.mp4").symlink_to(tmp_path / "secret" / "key.mp4")
    (footage / "folder").symlink_to(tmp_path / "secret")
    (footage / "twice").symlink_to(footage / "day2")
    (footage / "dead.mp4").symlink_to(footage / "gone.mp4")
    (footage / "ring.mp4").symlink_to(footage / "ring.mp4")
    (footage / "near.mp4").symlink_to(footage / "b.mp4")
    assert codes(footage) == {
        "out.mp4": "link_outside",
        "folder": "link_outside",
        "twice": "link_folder",
        "dead.mp4": "dead_link",
        "ring.mp4": "dead_link",
    }
    assert "near.mp4" in below(footage)


def test_a_name_that_is_no_text_is_told(footage: Path) -> None:
    Path(os.fsdecode(os.fsencode(footage) + b"/caf\xe9.mp4")).write_bytes(b"latin-1")
    assert codes(footage) == {"caf\\udce9.mp4": "unreadable_name"}


@pytest.mark.parametrize(
    "name", ["a.b.c..mp4", "día 日本 🎬.mp4", "x" * 251 + ".mp4", "new\nline.mp4", "-i.mp4", "a:b.mp4"]
)
def test_odd_names_are_names(footage: Path, name: str) -> None:
    (footage / name).write_bytes(b"odd")
    assert name in below(footage)


def test_our_own_store_inside_the_folder_is_not_footage(footage: Path) -> None:
    open_store(footage / "store").write("objects/ab/cd.tar", b"clips")
    (footage / "layouts").mkdir()
    (footage / "layouts" / "layout.json").write_bytes(b"somebody else's")
    assert below(footage) == [*ALL, "layouts/layout.json"]


def test_a_folder_that_cannot_be_looked_into_is_told_and_stops_nothing(
    footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = os.walk

    def closed(folder: Path, onerror: object) -> object:
        assert callable(onerror)
        yield next(iter(walk(folder)))
        onerror(PermissionError(13, "Permission denied", str(footage / "day2")))

    monkeypatch.setattr(finding.os, "walk", closed)
    assert codes(footage) == {"day2": "no_permission"}
    assert below(footage) == ["a.mp4", "b.mp4", "day2"]


def test_an_empty_folder_has_no_places(tmp_path: Path) -> None:
    assert find([str(tmp_path)]) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("absent.mp4", "no such file or folder"),
        ("x" * 5000, "no such file or folder"),
        ("zero\0byte", "no such file or folder"),
        ("*.none", "the pattern matches nothing"),
        ("ftp://host/film.mp4", "nothing reads this address"),
        ("s3:///film.mp4", "names no bucket"),
        ("", "an empty name"),
    ],
)
def test_a_source_that_is_not_there_is_refused(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=said) as caught:
        find([source])
    assert caught.value.field == "sources"


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(RequestError, match="name at least one"):
        find([])


def test_a_list_says_more_of_a_file_than_the_folder_it_lies_in(footage: Path) -> None:
    (footage.parent / "list.csv").write_text("source,speaker\nfootage/a.mp4,Ann\n")
    for order in ([footage, footage.parent / "list.csv"], [footage.parent / "list.csv", footage]):
        found = {f.uri: f.labels for f in find([str(each) for each in order])}
        assert found[str(footage / "a.mp4")] == Labels(identity="Ann")
        assert found[str(footage / "b.mp4")] == Labels()


def test_two_lists_that_disagree_are_refused(footage: Path) -> None:
    for name in ("Ann", "Bea"):
        (footage.parent / f"{name}.csv").write_text(f"source,speaker\nfootage/a.mp4,{name}\n")
    with pytest.raises(RequestError, match=r"two rows say different things.*a\.mp4"):
        find([str(footage.parent / "Ann.csv"), str(footage.parent / "Bea.csv")])


def test_a_list_that_lies_in_a_folder_is_a_file_like_any_other(footage: Path) -> None:
    (footage / "list.csv").write_text("source\nnothing\n")
    assert below(footage) == ["a.mp4", "b.mp4", "day2/a.mp4", "day2/notes.txt", "list.csv"]
