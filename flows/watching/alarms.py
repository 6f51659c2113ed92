"""What goes wrong in a training without an error, told early and by name.

Each alarm rings once when its condition comes up and again only after it has gone; nothing here stops a run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from model.sync import STUCK_AT
from model.training.loop import StepReport

_MEMORY, _RECENT = 200, 5
"""Steps: what a loss is compared with, and what is compared; one bad batch is no divergence."""
_ENOUGH = 50
"""Steps before anything is judged by them: the first ones after a start are unlike all others."""
_NEAR = 0.01
"""Share of the level within which a loss rests at it."""


class AlarmName(StrEnum):
    NOT_A_NUMBER = "not_a_number"
    DIVERGING = "diverging"
    SYNC_STUCK = "sync_stuck"
    DATA_STARVED = "data_starved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What was seen, when, and what would help."""

    name: AlarmName
    stage: str
    step: int
    message: str


class Alarms:
    """Listens to the steps of one run."""

    def __init__(
        self,
        *,
        diverging_at: float = 4.0,
        starved_at: float = 0.2,
        knows_nothing_at: Mapping[str, float] | None = None,
    ) -> None:
        """`diverging_at` is in running medians of the loss, `starved_at` a share of the time.

        `knows_nothing_at` says for a stage, or a part of the loss, which value means that nothing is learned: 0.693
        (a coin's cross-entropy) for the training of a sync expert, half its weight for a loss of (1 - cosine) / 2.
        """
        self._diverging_at, self._starved_at = diverging_at, starved_at
        self._knows_nothing_at = dict(knows_nothing_at or {"sync": STUCK_AT})
        self._ringing: set[AlarmName] = set()
        self._enter("")

    def see(self, report: StepReport) -> list[Alarm]:
        """The alarms that this step sets off."""
        if report.stage != self._stage:
            self._enter(report.stage)
        found = {
            AlarmName.NOT_A_NUMBER: self._not_a_number(report),
            AlarmName.DIVERGING: self._diverging(report.loss),
            AlarmName.SYNC_STUCK: self._stuck(report),
            AlarmName.DATA_STARVED: self._starved(report),
        }
        begun = [name for name, message in found.items() if message and name not in self._ringing]
        self._ringing = {name for name, message in found.items() if message}
        return [Alarm(name=name, stage=report.stage, step=report.step, message=str(found[name])) for name in begun]

    def _enter(self, stage: str) -> None:
        """A stage has losses of its own kind."""
        self._stage = stage
        self._losses: deque[float] = deque(maxlen=_MEMORY)
        self._times: deque[tuple[float, float]] = deque(maxlen=_ENOUGH)
        self._watched: dict[str, deque[float]] = {}

    def _not_a_number(self, report: StepReport) -> str | None:
        told = {"loss": report.loss, "gradient norm": report.grad_norm, **report.parts}
        broken = [name for name, value in told.items() if not math.isfinite(value)]
        return f"{', '.join(broken)} is not a number; lower the rate or train in fp32" if broken else None

    def _diverging(self, loss: float) -> str | None:
        if math.isfinite(loss):
            self._losses.append(loss)
        if len(self._losses) < _ENOUGH:
            return None
        losses = list(self._losses)
        usual, latest = median(losses[:-_RECENT]), fmean(losses[-_RECENT:])
        if latest <= self._diverging_at * usual:
            return None
        return f"the loss is {latest:.3g}, usually {usual:.3g}; lower the rate, or go on from an earlier checkpoint"

    def _stuck(self, report: StepReport) -> str | None:
        told = {report.stage: report.loss, **report.parts}
        for name, level in self._knows_nothing_at.items():
            if name not in told:
                continue
            seen = self._watched.setdefault(name, deque(maxlen=_MEMORY))
            seen.append(told[name])
            if len(seen) == _MEMORY and abs(median(seen) - level) <= _NEAR * level:
                return (
                    f"{name} rests at {level:.3f}, where nothing is learned; are the clips in sync, the crops aligned,"
                    " the batch at least 256?"
                )
        return None

    def _starved(self, report: StepReport) -> str | None:
        self._times.append((report.waited_s, report.seconds))
        total = sum(seconds for _, seconds in self._times)
        share = sum(waited for waited, _ in self._times) / total if total > 0 else 0.0
        if len(self._times) < _ENOUGH or share <= self._starved_at:
            return None
        return f"{100 * share:.0f} % of the time is spent waiting for data; raise `readers`, or move the store nearer"
