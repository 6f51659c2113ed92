"""TensorBoard's event files of a run: losses, speed, memory, validation and its pictures. Look: tensorboard --logdir.

A run that goes on from an earlier checkpoint takes back what was drawn after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from flows.watching.alarms import Alarm
from model.training.loop import StepReport
from shards.schema import U8

EVERY = 10
"""Steps: a curve of a hundred thousand steps needs no more, and the files stay small."""


class Board:
    """Writes into a folder; opened by the first thing there is to draw."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def step(self, report: StepReport) -> None:
        if report.total_step % EVERY and report.step not in (1, report.steps):
            return
        scalars = {
            f"{report.stage}/loss": report.loss,
            **{f"{report.stage}/{name}": value for name, value in report.parts.items()},
            "run/rate": report.rate,
            "run/gradient norm": report.grad_norm,
            "run/clips a second": report.samples_per_s,
            "run/share of waiting for data": report.waited_s / max(report.seconds, 1e-9),
            "run/peak memory, GB": report.peak_bytes / 1e9,
        }
        self._scalars(scalars, report.total_step)

    def validation(self, metrics: Mapping[str, float], strips: Mapping[str, U8], step: int) -> None:
        self._scalars({f"validation/{name}": value for name, value in metrics.items()}, step)
        writer = self._opened(step)
        for name, strip in strips.items():
            writer.add_image(f"source, truth, generated/{name}", strip, step, dataformats="HWC")
        writer.flush()

    def alarm(self, alarm: Alarm, step: int) -> None:
        writer = self._opened(step)
        writer.add_text(f"warning/{alarm.name}", f"{alarm.stage}, step {alarm.step}: {alarm.message}", step)
        writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        writer = self._opened(step)
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def _opened(self, step: int) -> SummaryWriter:
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        return self._writer
