"""Training on a real local Ray: what is lost with a worker is trained again, exactly."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cluster.config import EngineConfig
from flows.cluster.engine import open_engine
from flows.cluster.rays import ENGINE_MARK
from flows.ray_training import Crew, train_on_ray
from flows.train import train_model
from flows.workers.train import METRICS, TrainJob, TrainWorker
from model.training.config import StageConfig, TrainConfig
from shards.errors import RequestError
from shards.reader import open_dataset
from shards.store import Store, open_store
from tests.support.datasets import make_dataset
from tests.support.models import nano_config
from tests.support.nodes import add_node, several_nodes

# Ray deprecates settings of its own, and sets them.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")]

WITHIN_S = 240.0
STAGE = StageConfig(steps=20, rate=1e-3, clips=4, frames=1, warmup=1)
IDLE = STAGE.model_copy(update={"steps": 0})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """12 clips: an epoch is three steps."""
    made = open_store(tmp_path / "store")
    make_dataset(made, tmp_path)
    return made


def job(store: Store, out: Path, steps: int = 20, rate: float = STAGE.rate) -> TrainJob:
    model, stage = nano_config(16), STAGE.model_copy(update={"steps": steps, "rate": rate})
    exact = model.model_copy(update={"completion": model.completion.model_copy(update={"dropout": 0.0})})
    config = TrainConfig(
        model=exact, autoencoder=IDLE, completion=stage, diffusion=IDLE, joint=IDLE, checkpoint_every=4
    )
    return TrainJob(
        store=store.uri, dataset=open_dataset(store).info.hash, out=str(out), config=config.model_dump(mode="json")
    )


def steps_in(out: Path) -> list[dict[str, float]]:
    file = out / METRICS
    lines = file.read_bytes().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def training_processes(mark: bytes = ENGINE_MARK.encode() + b"=") -> list[int]:
    """Ray Train's workers, of Rays that this test process started: their environment carries the mark."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            is_worker = folder.name.isdigit() and b"RayTrainWorker" in (folder / "cmdline").read_bytes()
            if is_worker and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # gone meanwhile
    return found


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not until():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


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


def test_a_run_that_is_stopped_saves_its_last_step_and_a_wrong_request_is_not_tried_again(
    store: Store, tmp_path: Path
) -> None:
    out, until = tmp_path / "ray", time.monotonic() + WITHIN_S
    asked = job(store, out, steps=100_000)

    def should_stop() -> bool:
        return len(steps_in(out)) >= 5 or time.monotonic() > until

    other = dataclasses.replace(asked, config={**asked.config, "grad_clip": 9.0})
    with open_engine("local", num_cpus=2):
        stopped = train_on_ray(asked, Crew(), should_stop)
        with pytest.raises(RequestError, match="grad_clip"):
            train_on_ray(other, Crew(), lambda: False)
    assert not stopped.finished
    done = stopped.trained["completion"]
    assert done == len(steps_in(out)) >= 5
    rest = TrainWorker().process(asked, lambda: len(steps_in(out)) >= done + 2)
    assert [step["total_step"] for step in steps_in(out)] == list(range(1, done + 3))
    assert rest.trained["completion"] == done + 2


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds Ray's workers in /proc")
def test_a_run_goes_on_with_fewer_when_a_node_is_lost_and_with_more_when_one_comes(
    store: Store, tmp_path: Path
) -> None:
    # So slowly that hundreds of steps do not make rounding grow: then a step's loss says which clips it was given.
    slowly: dict[str, Any] = {"steps": 400, "rate": 1e-7}
    TrainWorker().process(job(store, tmp_path / "plain", **slowly))
    others = set(training_processes(b""))

    def seen(until_step: int, crew: int) -> bool:
        return len(steps_in(out)) >= until_step and len(set(training_processes(b"")) - others) == crew

    out, done = tmp_path / "ray", threading.Event()
    with several_nodes(2, num_cpus=1) as nodes, open_engine("auto"):
        answers: list[Any] = []
        crew = Crew(workers=2, min_workers=1, is_own=False, look_again_s=2.0)
        asked = job(store, out, **slowly)
        thread = threading.Thread(target=lambda: answers.append(train_on_ray(asked, crew, done.is_set)), daemon=True)
        thread.start()
        wait(lambda: seen(6, 2))
        nodes.remove_node(max(nodes.worker_nodes, key=str), allow_graceful=False)
        trained = len(steps_in(out))
        wait(lambda: seen(trained + 6, 1))
        add_node(nodes, num_cpus=1)
        trained = len(steps_in(out))
        wait(lambda: seen(trained + 6, 2))
        thread.join(WITHIN_S)
    (result,) = answers
    assert result.finished
    expected = {step["total_step"]: step["loss"] for step in steps_in(tmp_path / "plain")}
    told = steps_in(out)
    assert {step["total_step"] for step in told} == expected.keys()
    for step in told:
        assert step["loss"] == pytest.approx(expected[step["total_step"]], abs=1e-5)
