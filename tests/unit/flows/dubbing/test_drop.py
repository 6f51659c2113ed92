"""A watched place: which catalogues are complete, what is fetched from a bucket for them, what is put back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.dubbing.drop import catalogues, deliver
from flows.sources import remote
from shards.errors import RequestError
from shards.remote import Bucket
from tests.support.s3 import environment, new_bucket


def write(path: Path, text: str = "title_id\n", *, at_s: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at_s, at_s))
    return path


def names(place: Path | str, work: Path, now: float = 1000.0) -> list[str]:
    return [dropped.name for dropped in catalogues(str(place), work, settle_s=60.0, clock=lambda: now)]


def test_a_folders_catalogues_are_the_lists_at_its_top_and_those_named_so_below(tmp_path: Path) -> None:
    for name in ("spring.csv", "winter.jsonl", "deep/Catalogue.parquet", "deep/segments.csv", ".hidden/catalogue.csv"):
        write(tmp_path / name)
    write(tmp_path / "film.mp4")
    assert names(tmp_path, tmp_path / "work") == ["spring", "winter", "deep/Catalogue"]


def test_a_catalogue_that_was_just_written_waits_until_it_has_settled(tmp_path: Path) -> None:
    write(tmp_path / "fresh.csv", at_s=950.0)
    assert names(tmp_path, tmp_path, now=1000.0) == []
    assert names(tmp_path, tmp_path, now=1011.0) == ["fresh"]


def test_a_place_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder to watch"):
        names(tmp_path / "nowhere", tmp_path)


# -- a bucket of a real S3 server --------------------------------------------------------------------------------------


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    remote.bucket_at.cache_clear()
    yield f"s3://{new_bucket()}"
    remote.bucket_at.cache_clear()


@pytest.fixture
def bucket(root: str) -> Bucket:
    made = Bucket(root)
    objects = {
        "drop/spring.csv": b"title_id,video,audio,segments\none,films/a.mp4,es.wav,turns.csv\n",
        "drop/films/a.mp4": b"picture",
        "drop/films/other.mp4": b"nobody asked for this one",
        "drop/es.wav": b"sound",
        "drop/turns.csv": b"start,end,speaker,audio\n0,1,ana,ana.wav\n",
        "drop/ana.wav": b"stem",
    }
    for key, content in objects.items():
        made.write(key, content)
    return made


def test_of_a_bucket_what_a_catalogue_and_its_lists_name_is_fetched_and_nothing_else(
    root: str, bucket: Bucket, tmp_path: Path
) -> None:
    found = catalogues(f"{root}/drop", tmp_path, settle_s=0)
    # The turns lie at the top as well: as a catalogue they are refused by name, and stop no other.
    assert [dropped.name for dropped in found] == ["spring", "turns"]
    inbox = tmp_path / "inbox"
    assert {path.relative_to(inbox).as_posix() for path in inbox.rglob("*") if path.is_file()} == {
        ".stamps.json", "spring.csv", "films/a.mp4", "es.wav", "turns.csv", "ana.wav",
    }  # fmt: skip
    assert (inbox / "films" / "a.mp4").read_bytes() == b"picture"


def test_an_object_is_fetched_again_only_when_it_was_put_anew(root: str, bucket: Bucket, tmp_path: Path) -> None:
    catalogues(f"{root}/drop", tmp_path, settle_s=0)
    film, sound = tmp_path / "inbox" / "films" / "a.mp4", tmp_path / "inbox" / "es.wav"
    before = film.stat().st_ino, sound.stat().st_ino
    bucket.write("drop/films/a.mp4", b"another cut")
    catalogues(f"{root}/drop", tmp_path, settle_s=0)
    assert film.read_bytes() == b"another cut"
    assert (film.stat().st_ino == before[0], sound.stat().st_ino == before[1]) == (False, True)


def test_what_is_finished_is_put_once_and_the_runs_own_records_stay_here(
    root: str, bucket: Bucket, tmp_path: Path
) -> None:
    write(tmp_path / "a.es.mp4", "film")
    write(tmp_path / "report.html", "page")
    write(tmp_path / ".dubwright" / "commits" / "x.json", "{}")
    to = f"{root}/finished/spring"
    assert deliver(tmp_path, to) == [f"{to}/a.es.mp4", f"{to}/report.html"]
    assert deliver(tmp_path, to) == []
    assert [entry.path for entry in bucket.entries("finished")] == [
        "finished/spring/a.es.mp4",
        "finished/spring/report.html",
    ]
    write(tmp_path / "a.es.mp4", "a longer film")
    bucket.delete("finished/spring/report.html")
    assert deliver(tmp_path, to) == [f"{to}/a.es.mp4", f"{to}/report.html"]
    assert bucket.read("finished/spring/a.es.mp4") == b"a longer film"
