from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import CheckpointDamaged
from model.training.checkpoint import STATE, find_state
from model.training.clips import ListedClips
from model.training.config import TrainConfig
from model.training.loop import train


def test_an_empty_folder_has_no_state(train_config: TrainConfig, tmp_path: Path) -> None:
    assert find_state(tmp_path, train_config) is None


def test_a_damaged_state_is_named(train_config: TrainConfig, clips: ListedClips, tmp_path: Path) -> None:
    train(train_config, clips, tmp_path, should_stop=lambda: True)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-50])
    with pytest.raises(CheckpointDamaged, match="not a training state"):
        find_state(tmp_path, train_config)


def test_a_state_half_written_does_not_hide_the_one_before(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    train(train_config, clips, tmp_path, should_stop=lambda: True)
    (tmp_path / (STATE + ".part")).write_bytes(b"cut short")
    found = find_state(tmp_path, train_config)
    assert found is not None
    assert found.progress.stage == "autoencoder"
