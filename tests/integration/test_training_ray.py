"""Training on a real local Ray: what is lost with a worker is trained again, exactly."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flows.cluster.config import EngineConfig
from flows.cluster.rays import ENGINE_MARK
from flows.train import train_model
from flows.workers.train import METRICS, TrainJob, TrainWorker
from model.training.config import StageConfig, TrainConfig
from shards.reader import open_dataset
from shards.store import Store, open_store
from tests.support.datasets import make_dataset
from tests.support.models import nano_config

WITHIN_S = 240.0
STAGE = StageConfig(steps=20, rate=1e-3, clips=4, frames=1, warmup=1)
IDLE = STAGE.model_copy(update={"steps": 0})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """12 clips: an epoch is three steps."""
    made = open_store(tmp_path / "store")
    make_dataset(made, tmp_path)
    return made


def job(store: Store, out: Path) -> TrainJob:
    model = nano_config(16)
    exact = model.model_copy(update={"completion": model.completion.model_copy(update={"dropout": 0.0})})
    config = TrainConfig(
        model=exact, autoencoder=IDLE, completion=STAGE, diffusion=IDLE, joint=IDLE, checkpoint_every=4
    )
    return TrainJob(
        store=store.uri, dataset=open_dataset(store).info.hash, out=str(out), config=config.model_dump(mode="json")
    )


def steps_in(out: Path) -> list[dict[str, float]]:
    file = out / METRICS
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def training_processes() -> list[int]:
    """Of Rays that this test process started: those that hold the data set's reader, which are Ray Train's workers."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                mark = ENGINE_MARK.encode() + b"="
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        except OSError:
            continue  # gone meanwhile
    return found


class Killer(threading.Thread):
    """Kills one of the workers once a step past a checkpoint was told: half-way through the second epoch or later."""

    def __init__(self, out: Path, others: set[int]) -> None:
        super().__init__(daemon=True)
        self.out, self.others, self.killed = out, others, None

    def run(self) -> None:
        until = time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            if len(steps_in(self.out)) >= 6 and (mine := set(training_processes()) - self.others):
                self.killed = max(mine)
                os.kill(self.killed, signal.SIGKILL)
                return
            time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds Ray's workers in /proc")
def test_a_run_that_loses_a_worker_ends_as_one_that_lost_none(store: Store, tmp_path: Path) -> None:
    plain = TrainWorker().process(job(store, tmp_path / "plain"))
    killer = Killer(tmp_path / "ray", set(training_processes()))
    killer.start()
    result = train_model.fn(job(store, tmp_path / "ray"), EngineConfig(), "local", workers=2)
    killer.join(WITHIN_S)
    assert killer.killed is not None
    assert result.finished
    assert result.trained == plain.trained
    expected = {step["total_step"]: step["loss"] for step in steps_in(tmp_path / "plain")}
    told = steps_in(tmp_path / "ray")
    assert [step["total_step"] for step in told] != list(range(1, 21)), "nothing was trained twice: was it killed?"
    assert {step["total_step"] for step in told} == expected.keys()
    for step in told:
        assert step["loss"] == pytest.approx(expected[step["total_step"]], abs=1e-5)
