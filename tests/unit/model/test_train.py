from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from model.pipeline import DubbingPipeline
from model.train import clips_in, main
from shards.codec import encode_clip
from shards.commit import Ledger
from shards.pack import PackConfig, finalize
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import commit_clips, make_plan


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


def test_the_command_trains_on_the_clips_of_a_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    ledger, plan = Ledger(store), make_plan(1)
    ledger.write_plan(plan)
    commit_clips(ledger, "unit-0", [make_clip(seed, frames=26, size=64) for seed in range(2)], tmp_path)
    finalize(ledger, plan, PackConfig(target_bytes=1_000_000, val_share=0.0, test_share=0.0))
    out = tmp_path / "out"
    assert main(["--store", store.uri, "--out", str(out), "--share", "1e-6"]) == 0
    assert DubbingPipeline.from_pretrained(out).trained["joint"] == 1


def test_torchrun_joins_processes_into_one_training(tmp_path: Path) -> None:
    """The launcher itself, on a free port of loopback."""
    write_tar(tmp_path / "a.tar", range(2))
    command = ["--clips", str(tmp_path), "--out", str(tmp_path / "out"), "--share", "1e-6"]
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
    ]
    ended = subprocess.run(
        [sys.executable, *launcher, "-m", "model.train", *command],
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stderr.count("done: ") == 1
    assert DubbingPipeline.from_pretrained(tmp_path / "out").trained["joint"] == 1
