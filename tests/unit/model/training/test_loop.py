from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.errors import CheckpointMismatch, NonFinite
from model.pipeline import DubbingPipeline
from model.training.clips import ListedClips
from model.training.config import STAGE_NAMES, RefineConfig, TrainConfig
from model.training.loop import StepReport, TrainResult, train
from model.training.world import World
from shards.errors import RequestError
from tests.support.clips import make_clip
from tests.support.states import state_in
from tests.unit.model.conftest import fresh_clips, nano_training


class StopAfter:
    """Asks to stop once so many steps were reported."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def report(self, report: StepReport) -> None:
        self.left -= 1

    def asked(self) -> bool:
        return self.left <= 0


def test_all_stages_run_and_leave_a_model(train_config: TrainConfig, clips: ListedClips, tmp_path: Path) -> None:
    reports: list[StepReport] = []
    result = train(train_config, clips, tmp_path, on_step=reports.append)
    assert result.finished
    assert [r.stage for r in reports] == [name for name in STAGE_NAMES for _ in range(3)]
    assert [r.total_step for r in reports] == list(range(1, 16))
    assert reports[0].rate == pytest.approx(0.5e-3)  # half-way through a warm-up of two steps
    for report in reports:
        assert report.seconds == pytest.approx(report.waited_s + report.computed_s)
        assert report.samples_per_s == pytest.approx(train_config.stage(report.stage).clips / report.seconds)
        assert report.loss == pytest.approx(sum(report.parts.values()))
        assert report.grad_norm > 0
        assert report.peak_bytes > 50 << 20
    pipe = DubbingPipeline.from_pretrained(tmp_path)
    assert pipe.trained == dict.fromkeys(STAGE_NAMES, 3)
    assert pipe.digest == result.digest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The run that is never interrupted."""
    return train(nano_training(), fresh_clips(), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stops", [[3], [5, 2], [11], [13]])
def test_a_run_stopped_and_continued_equals_an_uninterrupted_one(
    train_config: TrainConfig, tmp_path: Path, whole: TrainResult, stops: list[int]
) -> None:
    for steps in stops:
        stop = StopAfter(steps)
        part = train(train_config, fresh_clips(), tmp_path, on_step=stop.report, should_stop=stop.asked)
        assert not part.finished
    rest = train(train_config, fresh_clips(), tmp_path)
    assert rest.finished
    assert rest.digest == whole.digest
    a, b = (load_file(state_in(folder)) for folder in (whole.folder, tmp_path))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_killed_after_a_checkpoint_continues_from_it(
    train_config: TrainConfig, whole: TrainResult, tmp_path: Path
) -> None:
    config = train_config.model_copy(update={"checkpoint_every": 2})

    def die(report: StepReport) -> None:
        if report.total_step == 9:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(config, fresh_clips(), tmp_path, on_step=die)
    assert train(config, fresh_clips(), tmp_path).digest == whole.digest


def test_control_c_saves_and_stops(train_config: TrainConfig, clips: ListedClips, tmp_path: Path) -> None:
    def interrupt(report: StepReport) -> None:
        if report.total_step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    result = train(train_config, clips, tmp_path, on_step=interrupt)
    assert not result.finished
    assert result.trained == {"autoencoder": 2}
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_is_a_no_op(train_config: TrainConfig, tmp_path: Path) -> None:
    first = train(train_config, fresh_clips(), tmp_path)
    reports: list[StepReport] = []
    again = train(train_config, fresh_clips(), tmp_path, on_step=reports.append)
    assert (again.finished, again.digest, reports) == (True, first.digest, [])


def test_another_config_is_refused_by_name(train_config: TrainConfig, tmp_path: Path) -> None:
    train(train_config, fresh_clips(), tmp_path, should_stop=lambda: True)
    other = train_config.model_copy(update={"grad_clip": 2.0})
    with pytest.raises(CheckpointMismatch, match="grad_clip"):
        train(other, fresh_clips(), tmp_path)


def test_a_stage_not_yet_done_may_be_made_longer(train_config: TrainConfig, tmp_path: Path) -> None:
    stop = StopAfter(4)
    train(train_config, fresh_clips(), tmp_path, on_step=stop.report, should_stop=stop.asked)
    joint = train_config.joint.model_copy(update={"steps": 4})
    assert train(train_config.model_copy(update={"joint": joint}), fresh_clips(), tmp_path).trained["joint"] == 4
    longer = train_config.model_copy(
        update={"joint": joint, "autoencoder": train_config.autoencoder.model_copy(update={"steps": 9})}
    )
    with pytest.raises(CheckpointMismatch, match=r"autoencoder\.steps"):
        train(longer, fresh_clips(), tmp_path)


def test_a_finished_run_may_be_given_a_stage_it_never_began(train_config: TrainConfig, tmp_path: Path) -> None:
    before = train_config.model_copy(update={"refine": RefineConfig()})
    assert train(before, fresh_clips(), tmp_path).trained == dict.fromkeys(STAGE_NAMES[:-1], 3)
    after = train(train_config, fresh_clips(), tmp_path)
    assert after.trained == dict.fromkeys(STAGE_NAMES, 3)
    other = train_config.refine.model_copy(update={"rate": 0.5})
    with pytest.raises(CheckpointMismatch, match=r"refine\.rate"):
        train(train_config.model_copy(update={"refine": other}), fresh_clips(), tmp_path)


def test_what_a_late_stage_lacks_is_found_out_before_the_first_step(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    refine = train_config.refine.model_copy(update={"expert": str(tmp_path / "nowhere")})
    with pytest.raises(RequestError, match="no sync expert here"):
        train(train_config.model_copy(update={"refine": refine}), clips, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checkpointing_may_change_within_a_run_and_changes_no_weight(
    train_config: TrainConfig, tmp_path: Path, whole: TrainResult
) -> None:
    stop = StopAfter(8)
    train(train_config, fresh_clips(), tmp_path, on_step=stop.report, should_stop=stop.asked)
    rest = train(train_config.model_copy(update={"checkpointing": True}), fresh_clips(), tmp_path)
    a, b = (load_file(folder / "model.safetensors") for folder in (whole.folder, rest.folder))
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, msg=name)


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(train_config: TrainConfig, tmp_path: Path) -> None:
    exploding = train_config.model_copy(
        update={"completion": train_config.completion.model_copy(update={"rate": 1e30, "warmup": 0})}
    )
    with pytest.raises(NonFinite, match=r"stage completion, step [12].*points=") as caught:
        train(exploding, fresh_clips(), tmp_path)
    assert caught.value.stage == "completion"


def test_the_callers_random_numbers_are_left_alone(train_config: TrainConfig, tmp_path: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(train_config, fresh_clips(), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_it_learns_a_clip(train_config: TrainConfig, tmp_path: Path) -> None:
    stage = train_config.completion.model_copy(update={"steps": 60, "rate": 5e-3, "clips": 4, "warmup": 5})
    idle = train_config.autoencoder.model_copy(update={"steps": 0})
    config = train_config.model_copy(
        update={
            "autoencoder": stage,
            "completion": stage,
            "diffusion": stage,
            "joint": idle,
            "refine": train_config.refine.model_copy(update={"steps": 0}),
        }
    )
    losses: dict[str, list[float]] = {}
    train(
        config,
        ListedClips([make_clip(1, frames=20, size=32)]),
        tmp_path,
        on_step=lambda r: losses.setdefault(r.stage, []).append(r.loss),
    )
    for stage_name, values in losses.items():
        first, last = sum(values[:15]), sum(values[-15:])
        assert last < 0.9 * first, f"{stage_name} does not learn: {first:.3f} -> {last:.3f}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_half_precision_computes_nearly_the_same_and_keeps_whole_weights(
    precision: str, train_config: TrainConfig, tmp_path: Path
) -> None:
    losses: list[float] = []
    config = train_config.model_copy(update={"precision": precision})
    train(config, fresh_clips(), tmp_path, on_step=lambda r: losses.append(r.loss))
    exact: list[float] = []
    train(train_config, fresh_clips(), tmp_path / "exact", on_step=lambda r: exact.append(r.loss))
    assert losses == pytest.approx(exact, rel=0.05)
    assert (losses == exact) == (precision == "fp32")
    assert {value.dtype for value in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}


def test_too_few_clips_for_the_processes_or_their_parts_are_refused_for_every_stage_at_once(
    train_config: TrainConfig, clips: ListedClips, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"`autoencoder\.clips`: 3 processes need 3 clips a step at least"):
        train(train_config, clips, tmp_path, world=World(size=3))
    late = train_config.joint.model_copy(update={"accumulate": 2})
    with pytest.raises(RequestError, match=r"`joint\.clips`: 2 processes, in 2 parts each, need 4"):
        train(train_config.model_copy(update={"joint": late}), clips, tmp_path, world=World(size=2))


def test_a_run_without_any_steps_is_refused(train_config: TrainConfig, clips: ListedClips, tmp_path: Path) -> None:
    idle = {name: train_config.stage(name).model_copy(update={"steps": 0}) for name in STAGE_NAMES}
    with pytest.raises(RequestError, match="no stage has any steps"):
        train(train_config.model_copy(update=idle), clips, tmp_path)
