"""What a second process is worth: the same global batch at `compact`, on one process and on two, a thread each."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path

from model.training.clips import ListedClips
from model.training.config import TrainConfig, recipe
from model.training.loop import StepReport, train
from tests.support.clips import make_clip
from tests.support.ranks import on_ranks

STAGES = ("completion", "diffusion", "joint")
STEPS, WARM = 14, 4
CLIPS = 8
"""A step, of all processes together."""


def two_processes() -> str:
    """Samples a second of two processes over those of one, by stage; medians of the steps after the first few."""
    if len(os.sched_getaffinity(0)) < 2:
        return "not measured: there is one core"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        one, two = (_rates(size, folder / str(size)) for size in (1, 2))
    return ", ".join(f"{stage} {two[stage] / one[stage]:.2f}x ({one[stage]:.1f} clips/s on one)" for stage in STAGES)


def _rates(size: int, out: Path) -> dict[str, float]:
    on_ranks(size, _learn, out)
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for line in (out / "reports.jsonl").read_text().splitlines():
        told = json.loads(line)
        if told["step"] > WARM:
            seconds[told["stage"]].append(told["seconds"])
    return {stage: CLIPS / statistics.median(of_steps) for stage, of_steps in seconds.items()}


def _learn(out: Path) -> None:
    config = _config()
    condition = config.model.condition
    clips = [make_clip(seed, frames=50, size=condition.crop_px, features=condition.features) for seed in range(4)]
    reports: list[dict[str, float | str]] = []

    def keep(report: StepReport) -> None:
        reports.append({"stage": report.stage, "step": report.step, "seconds": report.seconds})

    train(config, ListedClips(clips), out, on_step=keep)
    if reports:  # the first process alone is told
        (out / "reports.jsonl").write_text("\n".join(map(json.dumps, reports)))


def _config() -> TrainConfig:
    config = recipe("compact")
    none = {name: config.stage(name).model_copy(update={"steps": 0}) for name in ("autoencoder", "refine")}
    some = {name: config.stage(name).model_copy(update={"steps": STEPS, "clips": CLIPS}) for name in STAGES}
    return config.model_copy(update={**none, **some, "checkpoint_every": 1000})


BENCHES = (("training: two processes over one", two_processes),)
