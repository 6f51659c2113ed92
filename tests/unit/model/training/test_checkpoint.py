from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.errors import CheckpointDamaged, CheckpointMismatch
from model.training import shelf as shelves
from model.training.checkpoint import SavedState, find_state
from model.training.clips import ListedClips
from model.training.config import TrainConfig
from model.training.loop import StepReport, train
from model.training.shelf import Shelf
from shards.errors import RequestError
from shards.remote import Bucket
from tests.support import s3
from tests.support.states import state_in
from tests.unit.model.conftest import fresh_clips


def run_until(config: TrainConfig, clips: ListedClips, out: Path | str, step: int) -> None:
    """A run that ends by itself after this step."""
    reports: list[StepReport] = []
    train(config, clips, out, on_step=reports.append, should_stop=lambda: len(reports) >= step)


@pytest.fixture
def often(train_config: TrainConfig) -> TrainConfig:
    """A checkpoint after each step."""
    return train_config.model_copy(update={"checkpoint_every": 1})


def stands_at(out: Path | str, config: TrainConfig) -> int | None:
    found = find_state(Shelf(out), config)
    return found and found.progress.total


def test_an_empty_folder_has_no_state_and_looking_makes_none(train_config: TrainConfig, tmp_path: Path) -> None:
    assert find_state(Shelf(tmp_path / "out"), train_config) is None
    assert not (tmp_path / "out").exists()


def test_the_last_few_are_kept(often: TrainConfig, clips: ListedClips, tmp_path: Path) -> None:
    run_until(often, clips, tmp_path, 5)
    assert Shelf(tmp_path).steps() == [4, 5]
    assert sorted(path.name for path in (tmp_path / "states").iterdir() if any(path.iterdir())) == [
        "000000004",
        "000000005",
    ]
    assert not list(tmp_path.glob(".writing-*"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-50])


def flip(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(-50, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-50, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))


def lose(file: Path) -> None:
    file.unlink()


def scribble(file: Path) -> None:
    (file.parent / "manifest.json").write_text("{")


@pytest.mark.parametrize("damage", [cut, flip, lose, scribble])
def test_of_a_damaged_newest_one_the_one_before_is_used_and_that_is_said(
    damage: Callable[[Path], None],
    often: TrainConfig,
    clips: ListedClips,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_until(often, clips, tmp_path, 3)
    damage(state_in(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert stands_at(tmp_path, often) == 2
    assert "the checkpoint of step 3 is damaged, the one before it is used" in caplog.text


def test_a_run_that_went_on_from_the_one_before_leaves_the_damaged_one_behind(
    often: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    run_until(often, clips, tmp_path, 5)
    flip(state_in(tmp_path))
    run_until(often.model_copy(update={"checkpoint_every": 100}), clips, tmp_path, 0)
    assert Shelf(tmp_path).steps() == [4]


def test_where_none_is_whole_nothing_is_begun_over_it(often: TrainConfig, clips: ListedClips, tmp_path: Path) -> None:
    run_until(often, clips, tmp_path, 3)
    for folder in (tmp_path / "states").iterdir():
        for file in folder.glob("*.safetensors"):
            flip(file)
    with pytest.raises(CheckpointDamaged, match="no checkpoint here is whole"):
        train(often, clips, tmp_path)


def test_a_state_that_is_being_written_does_not_hide_the_one_before(
    often: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    """Killed before the manifest, which commits."""
    run_until(often, clips, tmp_path, 2)
    unfinished = tmp_path / "states" / "000000009"
    shutil.copytree(state_in(tmp_path).parent, unfinished)
    (unfinished / "manifest.json").unlink()
    assert stands_at(tmp_path, often) == 2
    run_until(often, clips, tmp_path, 1)
    assert Shelf(tmp_path).steps() == [2, 3]


def test_a_state_of_another_run_is_refused_before_its_tensors_are_read(
    often: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    run_until(often, clips, tmp_path, 2)
    flip(state_in(tmp_path))
    with pytest.raises(CheckpointMismatch, match="seed"):
        find_state(Shelf(tmp_path), often.model_copy(update={"seed": 9}))


def test_a_run_of_the_first_release_is_continued_from_its_single_file(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    run_until(train_config, clips, tmp_path, 2)
    state_in(tmp_path).rename(tmp_path / "training.safetensors")
    shutil.rmtree(tmp_path / "states")
    assert stands_at(tmp_path, train_config) == 2


def test_a_file_of_other_bytes_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"cut short")
    with pytest.raises(CheckpointDamaged, match="not a training state"):
        SavedState.read(tmp_path / "x")


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="`--out`: is a file"):
        Shelf(tmp_path / "file")


def test_a_disk_that_will_be_full_is_refused_before_the_first_step(
    often: TrainConfig, clips: ListedClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    reports: list[StepReport] = []
    with pytest.raises(RequestError, match="GB are free; make room, or lower keep_last"):
        train(often, clips, tmp_path, on_step=reports.append)
    assert reports == []


# -- in a bucket -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address in a bucket of a real server of S3's protocol."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.new_bucket()}/runs/one"


def test_a_run_into_a_bucket_stops_and_continues_as_one_into_a_folder(
    often: TrainConfig, bucket: str, tmp_path: Path
) -> None:
    whole = train(often, fresh_clips(), tmp_path / "whole")
    run_until(often, fresh_clips(), bucket, 4)
    assert Shelf(bucket).steps() == [3, 4]
    rest = train(often, fresh_clips(), bucket)
    assert (rest.finished, rest.digest, rest.folder) == (True, whole.digest, bucket)
    place = Bucket(bucket)
    for name in ("model.safetensors", "config.json"):
        assert place.read(name) == (tmp_path / "whole" / name).read_bytes()


def test_a_damaged_state_in_a_bucket_is_known_by_its_digest(
    often: TrainConfig, clips: ListedClips, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_until(often, clips, bucket, 3)
    place = Bucket(bucket)
    [path] = [entry.path for entry in place.entries("states/000000003") if entry.path.endswith(".safetensors")]
    data = bytearray(place.read(path))
    data[-50] ^= 1
    place.write(path, bytes(data))
    with caplog.at_level(logging.WARNING):
        assert stands_at(bucket, often) == 2
    assert "its bytes are not those that were written" in caplog.text
