"""What stands behind the training loop's two doors: event files, pictures, tables and warnings.

The loop knows none of it: it calls `on_step` and `on_validation`. Everything lies in a local folder, so a run whose
checkpoints go to a bucket is watched from the machine it runs on.

    tensorboard/        event files
    validation/{step}/  pictures and tables
    warnings.jsonl      an alarm a line
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from flows.evaluation.config import EvaluationConfig
from flows.watching.alarms import Alarm, AlarmName, Alarms
from flows.watching.board import Board
from flows.watching.validation import CHEAP, TABLE, Validation
from model.networks import Networks
from model.training.loop import StepReport
from shards.schema import ClipSample

log = logging.getLogger(__name__)

TENSORBOARD, VALIDATION, WARNINGS = "tensorboard", "validation", "warnings.jsonl"


class TrainingWatch:
    """One per run, on the process that reports (rank 0)."""

    def __init__(
        self,
        folder: Path,
        clips: Sequence[ClipSample] = (),
        *,
        alarms: Alarms | None = None,
        config: EvaluationConfig = CHEAP,
    ) -> None:
        """`clips` are held out; without any, `on_validation` has nothing to tell."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._alarms, self._board = folder, alarms or Alarms(), Board(folder / TENSORBOARD)
        self._validation = Validation(clips, folder / VALIDATION, config) if clips else None
        self._last: StepReport | None = None

    def on_step(self, report: StepReport) -> None:
        self._last = report
        self._board.step(report)
        for alarm in self._alarms.see(report):
            self._ring(alarm, report.total_step)

    def on_validation(self, step: int, networks: Networks) -> Mapping[str, float]:
        """The means of the figures, by name; see `flows/evaluation/measures.py`. Among them `lips_share`."""
        if self._validation is None:
            return {}
        found = self._validation.run(step, networks)
        self._board.validation(found.metrics, found.strips, step)
        if found.broken is not None:
            stage, at = (self._last.stage, self._last.step) if self._last else ("", step)
            self._ring(Alarm(name=AlarmName.NOT_A_NUMBER, stage=stage, step=at, message=found.broken), step)
        return found.metrics

    def close(self) -> None:
        self._board.close()
        if self._validation is not None:
            self._validation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ring(self, alarm: Alarm, total_step: int) -> None:
        log.warning("%s: stage %s, step %d: %s", alarm.name, alarm.stage, alarm.step, alarm.message)
        self._board.alarm(alarm, total_step)
        with (self._folder / WARNINGS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(alarm)) + "\n")


def told(folder: Path) -> str:
    """Markdown of where a run stands: its newest validation, then its warnings. For an artifact, or for people."""
    tables = sorted((folder / VALIDATION).glob(f"*/{TABLE}"))
    text = tables[-1].read_text(encoding="utf-8") if tables else "Not validated yet.\n"
    warnings = folder / WARNINGS
    if not warnings.is_file():
        return text + "\nNo warnings.\n"
    rows = [json.loads(line) for line in warnings.read_text(encoding="utf-8").splitlines()]
    listed = [f"- **{row['name']}**, {row['stage']} step {row['step']}: {row['message']}" for row in rows]
    return "\n".join([text, "Warnings:", "", *listed]) + "\n"
