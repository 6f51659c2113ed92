from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from model.pipeline import DubbingPipeline
from model.train import clips_in, main
from shards.codec import encode_clip
from tests.support.clips import make_clip


def write_tar(path: Path, seeds: range) -> None:
    with tarfile.open(path, "w") as tar:
        for seed in seeds:
            clip = make_clip(seed, frames=26, size=64)
            for extension, data in encode_clip(clip).items():
                info = tarfile.TarInfo(f"{clip.key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def test_clips_are_read_from_tars_in_order(tmp_path: Path) -> None:
    write_tar(tmp_path / "b.tar", range(2, 3))
    write_tar(tmp_path / "a.tar", range(2))
    assert [clip.key for clip in clips_in(tmp_path)] == [make_clip(seed).key for seed in range(3)]


def test_the_command_trains_a_model(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", range(2))
    assert main(["--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--share", "1e-6"]) == 0
    assert DubbingPipeline.from_pretrained(tmp_path / "out").trained["joint"] == 1


def test_a_folder_without_clips_is_a_wrong_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["--clips", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no tars of clips" in caplog.text
