"""Objects on a worker's disk: whole or not there, fetched once, and never more of them than there is room for."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.workers import staging
from flows.workers.fragments import SourceChanged
from flows.workers.staging import StagingConfig, staged

FILMS = {f"s3://bucket/{name}.mp4": name.encode() * 10 for name in "abcd"}


class Films:
    """A bucket that counts what is fetched of it, and can be held up in the middle."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.breaks = False

    def blocks(self, key: str) -> Iterator[bytes]:
        content = FILMS[f"s3://bucket/{key}"]
        self.fetched.append(key)
        yield content[:5]
        assert self.go_on.wait(10)
        if self.breaks:
            raise ConnectionError("lost")
        yield content[5:]


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> Films:
    made = Films()
    monkeypatch.setattr(staging, "bucket_at", lambda root: made)
    return made


@pytest.fixture
def config(tmp_path: Path) -> StagingConfig:
    return StagingConfig(folder=tmp_path / "staged", most_bytes=20)


def use(name: str, config: StagingConfig) -> bytes:
    uri = f"s3://bucket/{name}.mp4"
    content = FILMS[uri]
    with staged(uri, hashlib.sha256(content).hexdigest(), len(content), config) as path:
        assert path.suffix == ".mp4"
        return path.read_bytes()


def held(config: StagingConfig) -> set[bytes]:
    return {path.read_bytes()[:1] for path in config.place().iterdir() if path.suffix == ".mp4"}


def test_an_object_is_fetched_once(films: Films, config: StagingConfig) -> None:
    assert use("a", config) == use("a", config) == b"a" * 10
    assert films.fetched == ["a.mp4"]


def test_the_least_recently_used_goes_when_there_is_no_room(films: Films, config: StagingConfig) -> None:
    for age, name in enumerate("ab"):
        use(name, config)
        path = config.place() / f"{hashlib.sha256(name.encode() * 10).hexdigest()}.mp4"
        os.utime(path, (1000 + age, 1000 + age))
    use("a", config)
    use("c", config)
    assert held(config) == {b"a", b"c"}


def test_an_object_in_use_stays_though_there_is_no_room(films: Films, config: StagingConfig) -> None:
    tight = config.model_copy(update={"most_bytes": 10})
    with staged("s3://bucket/a.mp4", hashlib.sha256(b"a" * 10).hexdigest(), 10, tight) as path:
        use("b", tight)
        assert path.read_bytes() == b"a" * 10
    use("c", tight)
    assert held(tight) == {b"c"}


def test_two_that_need_it_at_once_fetch_it_once(films: Films, config: StagingConfig) -> None:
    films.go_on.clear()
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(use("a", config))) for _ in range(3)]
    for thread in threads:
        thread.start()
    films.go_on.set()
    for thread in threads:
        thread.join(10)
    assert got == [b"a" * 10] * 3
    assert films.fetched == ["a.mp4"]


def test_a_fetch_that_breaks_leaves_no_half_file_under_the_name(films: Films, config: StagingConfig) -> None:
    films.breaks = True
    with pytest.raises(ConnectionError):
        use("a", config)
    assert held(config) == set()
    films.breaks = False
    assert use("a", config) == b"a" * 10


def test_what_killed_fetches_left_is_removed_like_the_rest(films: Films, config: StagingConfig) -> None:
    config.place().mkdir()
    (config.place() / f"{'0' * 64}.part").write_bytes(b"x" * 20)
    use("a", config)
    use("b", config)
    assert not list(config.place().glob("*.part"))


def test_an_object_that_is_another_by_now_is_refused(films: Films, config: StagingConfig) -> None:
    with pytest.raises(SourceChanged, match="run again"), staged("s3://bucket/a.mp4", "0" * 64, 10, config):
        pytest.fail("it was given")
    assert held(config) == set()
    assert not list(config.place().glob("*.part"))


def test_the_default_is_the_cache_of_whoever_runs_the_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert StagingConfig().place() == tmp_path / "dubwright" / "sources"
