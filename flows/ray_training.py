"""Training on Ray Train: so many processes on whatever machines Ray has, begun again when one of them is lost.

Ray starts the processes, joins them and sees that one died. Where the run stands is in its checkpoints alone: after a
loss all processes begin anew and go on from the newest, as the same command would. With a least number of workers the
run goes on with fewer while machines are missing; the clips of a step and their order are the same for any number.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from flows.workers.train import TrainingFailed, TrainJob, TrainWorker
from model.training.loop import TrainResult
from shards.errors import RequestError

_ROOT = Path(__file__).resolve().parents[1]
_ASK_S = 0.5
"""Between two looks at whether the run shall stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who trains."""

    workers: int = 1
    min_workers: int | None = None
    """With fewer than `workers` the run waits, or with so many it goes on; None: it waits for all."""
    use_gpu: bool = False
    is_own: bool = True
    """A Ray of our own on this machine; otherwise one that was there."""
    max_failures: int = 3
    look_again_s: float = 60.0
    """With `min_workers`: between two looks at whether there are machines for more."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise RequestError("one process at least trains", field="workers", value=self.workers)
        if self.min_workers is not None and not 1 <= self.min_workers <= self.workers:
            raise RequestError(f"is from 1 to {self.workers}", field="min_workers", value=self.min_workers)


class _Bell:
    """An actor that remembers whether the run shall stop: the one thing the driver tells its workers."""

    def __init__(self) -> None:
        self._rung = False

    def ring(self) -> None:
        self._rung = True

    def is_rung(self) -> bool:
        return self._rung


def train_on_ray(job: TrainJob, crew: Crew, should_stop: Callable[[], bool]) -> TrainResult:
    """The job's result, on the Ray this process is connected to."""
    bell = ray.remote(num_cpus=0)(_Bell).options(runtime_env=_environment(crew)).remote()
    with tempfile.TemporaryDirectory(prefix="dubwright-") as notes:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"job": asdict(job), "bell": bell},
            scaling_config=ScalingConfig(
                num_workers=crew.workers if crew.min_workers is None else (crew.min_workers, crew.workers),
                use_gpu=crew.use_gpu,
                elastic_resize_monitor_interval_s=crew.look_again_s,
            ),
            run_config=RunConfig(
                name="train",
                storage_path=notes,  # Ray's own notes: our checkpoints are elsewhere, and it is given none
                failure_config=FailureConfig(max_failures=crew.max_failures),
                worker_runtime_env=_environment(crew),
            ),
        )
        return _unless_stopped(trainer, bell, should_stop)


def _unless_stopped(trainer: TorchTrainer, bell: Any, should_stop: Callable[[], bool]) -> TrainResult:
    """Waits in a way that hears Ctrl-C: Ray would take it as "abort", and lose what came after the last checkpoint."""
    answers: list[Any] = []

    def fit() -> None:
        try:
            ended: Any = trainer.fit()
            answers.append(ended.return_value)
        except TrainingFailedError as error:
            answers.append(TrainingFailed(f"given up after repeated failures: {error}"))
        except Exception as error:  # noqa: BLE001  (raised again below, by the thread that waits)
            answers.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    is_told = False
    while thread.is_alive():
        thread.join(_ASK_S)
        if not is_told and should_stop():
            ray.get(bell.ring.remote())
            is_told = True
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, str):
        raise RequestError(answer)
    result: TrainResult = answer
    return result


def _work(given: dict[str, Any]) -> TrainResult | str:
    """On each worker. A wrong request is an answer: Ray would try a failure again."""
    bell = given["bell"]
    try:
        return TrainWorker().process(TrainJob(**given["job"]), lambda: bool(ray.get(bell.is_rung.remote())))
    except RequestError as error:
        return str(error)


def _environment(crew: Crew) -> dict[str, Any]:
    """What a worker's process needs to find our code; a cluster we joined was given it when we did."""
    if not crew.is_own:
        return {}
    paths = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Processes of one machine meet on loopback, and listen nowhere else.
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return {"env_vars": {"PYTHONPATH": paths, **loopback}}
