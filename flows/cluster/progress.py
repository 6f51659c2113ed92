"""Shows how far a run is: a live bar on a terminal, plain lines in a log. On stderr: stdout is the command's answer."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_S = 2.0
"""Lines in a log come no faster than this."""
BEFORE = "done before"
"""The category of what an earlier run did: it counts as done, and says nothing about this run's speed."""


class Progress:
    """Counts items by what became of them.

    `with Progress("sources", makes="clips") as progress: progress.total(120); progress.advance("kept")`
    """

    def __init__(
        self,
        name: str,
        *,
        makes: str = "",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._name, self._makes, self._clock = name, makes, clock
        self._made = 0
        self._total: int | None = None
        self._stream = stream or sys.stderr
        self._begun = self._said = clock()
        self._bar = self._live() if self._stream.isatty() else None
        self._task = self._bar.add_task(name, total=None, detail="") if self._bar else None

    def total(self, number: int) -> None:
        """How many there will be; unknown until said."""
        self._total = number
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=number)

    def advance(self, category: str, number: int = 1) -> None:
        """Books `number` items under a category, such as kept, rejected, quarantined."""
        if not number:
            return
        self.counts[category] += number
        if self._bar is not None and self._task is not None:
            if category == BEFORE:
                # Sets the bar's own clock back to now as well.
                self._bar.reset(self._task, total=self._total, completed=self.counts.total())
                number = 0
            self._bar.update(self._task, advance=number, detail=self._detail())
        elif self._clock() - self._said >= LINE_EVERY_S:
            self._say(self.line())

    def made(self, number: int) -> None:
        """Counts what came of an item, such as the clips of a source. Call before `advance`, which shows it."""
        self._made += number

    def line(self) -> str:
        """`sources 30/120 (25%), 3.0/s, 30 s left: kept 28, rejected 2; 96 clips, 9.6/s`"""
        done, seconds = self.counts.total(), max(self._clock() - self._begun, 1e-9)
        rate = (done - self.counts[BEFORE]) / seconds
        text = f"{self._name} {done}"
        if self._total is not None:
            text += f"/{self._total}"
            text += f" ({done / self._total:.0%})" if self._total else ""
        text += f", {rate:.1f}/s"
        if self._total is not None and rate > 0 and done < self._total:
            text += f", {duration((self._total - done) / rate)} left"
        return text + (f": {self._detail()}" if done else "")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._say(f"{self.line()} - {duration(self._clock() - self._begun)}")

    def _live(self) -> RichProgress:
        return RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=Console(file=self._stream),
        )

    def _detail(self) -> str:
        counts = ", ".join(f"{category} {number}" for category, number in self.counts.items() if number)
        if not self._makes:
            return counts
        rate = self._made / max(self._clock() - self._begun, 1e-9)
        return f"{counts}; {self._made} {self._makes}, {rate:.1f}/s"

    def _say(self, text: str) -> None:
        self._said = self._clock()
        self._stream.write(text + "\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """A duration for people: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
