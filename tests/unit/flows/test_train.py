"""The training flow's phases, each called as a plain function; the job itself is the model room's."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows import train
from flows.cluster.config import EngineConfig
from flows.cluster.progress import Progress
from flows.ray_training import Crew
from flows.train import dry_run, plan_training, train_model
from flows.units import Stopped
from flows.workers.train import METRICS, TrainingFailed, TrainJob, TrainWorker
from model.errors import CheckpointMismatch
from model.training.config import StageConfig, TrainConfig
from model.training.loop import TrainResult
from shards.errors import RequestError
from shards.pack import PackConfig
from shards.reader import open_dataset
from shards.store import Store, open_store
from tests.support.datasets import make_dataset
from tests.support.models import nano_config

QUICK = EngineConfig(backoff_s=0, max_attempts=3)
STAGE = StageConfig(steps=1, rate=1e-3, clips=1, frames=1, warmup=1)
CONFIG = TrainConfig(
    model=nano_config(16), autoencoder=STAGE, completion=STAGE, diffusion=STAGE, joint=STAGE, checkpoint_every=100
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A published dataset of 12 clips of 16 px."""
    made = open_store(tmp_path / "store")
    make_dataset(made, tmp_path)
    return made


def job(store: Store, out: Path) -> TrainJob:
    return TrainJob(
        store=store.uri, dataset=open_dataset(store).info.hash, out=str(out), config=CONFIG.model_dump(mode="json")
    )


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_dataset_that_fits_the_model_is_opened(store: Store, tmp_path: Path) -> None:
    assert len(plan_training.fn(store.uri, None, CONFIG, str(tmp_path / "model")).keys("train")) == 12


def test_a_dataset_of_another_crop_size_is_refused_before_training(store: Store, tmp_path: Path) -> None:
    other = CONFIG.model_copy(update={"model": nano_config(32)})
    with pytest.raises(RequestError, match="32"):
        plan_training.fn(store.uri, None, other, str(tmp_path / "model"))


def test_a_store_that_is_none_or_has_no_such_dataset_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no store here"):
        plan_training.fn(str(tmp_path / "absent"), None, CONFIG, str(tmp_path / "model"))
    assert not (tmp_path / "absent").exists()
    with pytest.raises(RequestError, match="no such dataset"):
        plan_training.fn(store.uri, "0" * 64, CONFIG, str(tmp_path / "model"))


def test_the_checkpoint_will_name_the_versions_of_the_features_it_is_trained_on(store: Store, tmp_path: Path) -> None:
    plan = dry_run(store.uri, str(tmp_path / "model"), "compact", None, CONFIG)
    assert plan["config"]["model"]["condition"]["feature_versions"] == ["test-1"]
    # As the worker is given it.
    assert TrainConfig.model_validate(plan["config"]).model.condition.feature_versions == ("test-1",)


def test_a_dry_run_tells_the_steps_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    plan = dry_run(store.uri, str(tmp_path / "model"), "compact", None, CONFIG)
    assert (plan["clips"], plan["preset"]) == (12, "nano")
    assert plan["steps"] == {"autoencoder": 1, "completion": 1, "diffusion": 1, "joint": 1, "refine": 0}
    assert not (tmp_path / "model").exists()


def test_an_unknown_preset_is_refused_with_the_ones_there_are(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="did you mean 'compact'"):
        dry_run(store.uri, str(tmp_path / "model"), "compakt", None, None)


def test_an_out_that_is_a_file_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="`--out`: is a file"):
        plan_training.fn(store.uri, None, CONFIG, str(tmp_path / "file"))


def test_a_dataset_that_holds_nobody_out_is_told_and_cannot_be_validated_on(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = str(tmp_path / "model")
    plan_training.fn(store.uri, None, CONFIG, out)
    assert "holds no identity out: all 3 are for training" in caplog.text
    with pytest.raises(RequestError, match="`validate_every`"):
        plan_training.fn(store.uri, None, CONFIG.model_copy(update={"validate_every": 10}), out)


def test_a_dataset_with_people_held_out_is_no_reason_for_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = open_store(tmp_path / "store")
    make_dataset(made, tmp_path, config=PackConfig(target_bytes=100_000, val_share=0.4, test_share=0.0))
    plan_training.fn(made.uri, None, CONFIG.model_copy(update={"validate_every": 10}), str(tmp_path / "model"))
    assert "holds no identity out" not in caplog.text


def test_a_place_with_a_run_of_another_preset_or_dataset_is_refused_before_training(
    store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    config = train.as_fitted(open_dataset(store), CONFIG).model_dump(mode="json")
    TrainWorker().process(dataclasses.replace(job(store, out), config=config))
    plan_training.fn(store.uri, None, CONFIG, str(out))
    wider = CONFIG.model_copy(update={"model": nano_config(16).model_copy(update={"name": "other"})})
    with pytest.raises(CheckpointMismatch, match=r"`model\.name`"):
        plan_training.fn(store.uri, None, wider, str(out))
    other = open_store(tmp_path / "other")
    make_dataset(other, tmp_path / "other", num_units=3)
    with pytest.raises(RequestError, match=f"began with dataset {open_dataset(store).info.hash}"):
        plan_training.fn(other.uri, None, CONFIG, str(out))


# -- the work ----------------------------------------------------------------------------------------------------------


@dataclass
class Learner:
    """Stands in for the worker: fails as often as it is told, then returns."""

    failures: list[Exception] = field(default_factory=list)
    finished: bool = True
    calls: int = 0

    def __call__(self) -> Learner:
        return self

    def setup(self) -> None:
        """Nothing is loaded."""

    def process(self, item: TrainJob) -> TrainResult:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return TrainResult(folder=Path(item.out), finished=self.finished, trained={}, digest="d", seconds=0.0)

    def close(self) -> None:
        """Nothing is held."""


def trained(learner: Learner, monkeypatch: pytest.MonkeyPatch, store: Store, out: Path) -> TrainResult:
    monkeypatch.setattr(train, "TrainWorker", learner)
    result: TrainResult = train_model.fn(job(store, out), QUICK, "none")
    return result


def test_a_job_that_dies_is_begun_again(monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path) -> None:
    learner = Learner([RuntimeError("the driver crashed"), RuntimeError("again")])
    assert trained(learner, monkeypatch, store, tmp_path).finished
    assert learner.calls == 3


def test_a_job_that_keeps_dying_is_given_up_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFailed, match="RuntimeError: it is broken"):
        trained(Learner([RuntimeError("it is broken")] * 3), monkeypatch, store, tmp_path)


def test_a_wrong_request_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path) -> None:
    learner = Learner([RequestError("another dataset", field="dataset_hash")])
    with pytest.raises(RequestError, match="another dataset"):
        trained(learner, monkeypatch, store, tmp_path)
    assert learner.calls == 1


def test_a_training_that_heard_ctrl_c_itself_is_a_stop_not_a_success(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        trained(Learner(finished=False), monkeypatch, store, tmp_path)


def test_several_processes_without_ray_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="torchrun"):
        train_model.fn(job(store, tmp_path), QUICK, "none", workers=2)


def test_a_crew_is_of_at_least_one_and_shrinks_to_no_less() -> None:
    with pytest.raises(RequestError, match="one process at least"):
        Crew(workers=0)
    with pytest.raises(RequestError, match="from 1 to 2"):
        Crew(workers=2, min_workers=3)


# -- the worker --------------------------------------------------------------------------------------------------------


def test_the_worker_trains_and_tells_each_step_beside_the_checkpoint(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "model"
    result = TrainWorker().process(job(store, out))
    assert result.finished
    steps = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    assert [step["stage"] for step in steps] == ["autoencoder", "completion", "diffusion", "joint"]
    assert (out / "model.safetensors").is_file()


# -- progress ----------------------------------------------------------------------------------------------------------


def test_progress_counts_every_whole_line_from_where_the_file_stood(tmp_path: Path) -> None:
    path, over = tmp_path / METRICS, threading.Event()
    before = path.write_text('{"stage": "autoencoder"}\n')
    with path.open("a") as stream:
        rows = [("completion", 1), ("completion", 2), ("completion", 2), ("joint", 3)]  # the second one twice
        stream.writelines(json.dumps({"stage": stage, "total_step": step}) + "\n" for stage, step in rows)
        stream.write('{"stage": "half a li')
    progress = Progress("train", stream=io.StringIO())
    over.set()
    train._follow(path, before, progress, over)
    assert progress.counts == {"completion": 2, "joint": 1}


def test_progress_of_a_job_that_never_wrote_is_nothing(tmp_path: Path) -> None:
    over, progress = threading.Event(), Progress("train", stream=io.StringIO())
    over.set()
    train._follow(tmp_path / METRICS, 0, progress, over)
    assert not progress.counts


def test_steps_that_are_done_while_it_is_watched_are_counted_to_the_last(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    out.mkdir()
    (out / METRICS).write_text('{"stage": "an earlier run"}\n')
    with train._watched(job(store, out)), (out / METRICS).open("a") as stream:
        stream.writelines(json.dumps({"stage": "joint", "total_step": step}) + "\n" for step in range(1, 5))
    assert "train 4/4 (100%)" in capsys.readouterr().err.splitlines()[-1]
