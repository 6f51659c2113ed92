"""How a dubbing run gets on: each title and the whole, live on a terminal, a line now and then in a log.

On stderr: stdout is the command's answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.cluster.progress import LINE_EVERY_S, duration
from flows.title import Title
from shards.commit import Quarantine, Receipt, Unit

WEIGHTS = {"analyse": 0.15, "adapt": 0.05, "render": 0.6, "picture": 0.15, "master": 0.05}
"""Share of a title's time by stage, about; the time that is left is reckoned by it."""
SAID = {
    "analyse": "analysing",
    "adapt": "adapting",
    "render": "rendering",
    "picture": "encoding",
    "master": "finishing",
}
MOST_SHOWN = 8


@dataclass(slots=True)
class _Entry:
    """Where a title is."""

    title: Title
    stage: str | None = None
    open: set[str] = field(default_factory=set)
    num_units: int = 0
    work: float = 0.0
    """Share of it that is behind it."""
    is_over: bool = False

    def now(self) -> float:
        """Share that is done, the units of its stage included."""
        if self.is_over or self.stage is None:
            return float(self.is_over)
        done = 1 - len(self.open) / self.num_units if self.num_units else 0.0
        return self.work + WEIGHTS[self.stage] * done

    def __str__(self) -> str:
        if self.stage is None:
            return f"{self.title.row.output}: waiting"
        return f"{self.title.row.output}: {SAID[self.stage]} {self.num_units - len(self.open)}/{self.num_units}"


class Board:
    """`with Board(titles) as board:`; the run tells it what happens."""

    def __init__(
        self,
        titles: Sequence[Title],
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = {title.row.output: _Entry(title) for title in titles}
        self._of_unit: dict[str, list[_Entry]] = {}
        self._stream, self._clock = stream or sys.stderr, clock
        self._begun = self._said = clock()
        self._before: float | None = None
        self._rendered = 0
        self._live = Live(console=Console(file=self._stream), auto_refresh=False) if self._stream.isatty() else None

    # -- what the run says

    def entered(self, title: Title, stage: str, units: Sequence[Unit], is_done: Callable[[Unit], bool]) -> None:
        entry = self._entries[title.row.output]
        if entry.stage is not None:
            entry.work += WEIGHTS[entry.stage]
        entry.stage, entry.num_units = stage, len(units)
        entry.open = {unit.unit_id for unit in units if not is_done(unit)}
        for unit_id in entry.open:
            self._of_unit.setdefault(unit_id, []).append(entry)
        self._show()

    def settled(self, unit: Unit, result: Receipt | Quarantine | None) -> None:
        if isinstance(result, Receipt):
            self._rendered += sum(stop - start for start, stop in result.details.get("rows", ()))
        for entry in self._of_unit.pop(unit.unit_id, ()):
            entry.open.discard(unit.unit_id)
        self._show()

    def over(self, title: Title) -> None:
        self._entries[title.row.output].is_over = True
        self._show()

    # -- what a person sees

    def line(self) -> str:
        """`3/60 outputs, 38%, 1,240 frames drawn, 12.3 frames/s, 4 min left: a.es.mp4: rendering 3/10, ...`"""
        return "; ".join([self._overall(), *map(str, self._active()[:MOST_SHOWN])])

    def _overall(self) -> str:
        done, seconds = self._share(), max(self._clock() - self._begun, 1e-9)
        over = sum(entry.is_over for entry in self._entries.values())
        text = f"{over}/{len(self._entries)} outputs, {done:.0%}, {self._rendered:,} frames drawn"
        text += f", {self._rendered / seconds:.1f} frames/s"
        here = done - (self._before or 0.0)
        return text + (f", {duration((1 - done) * seconds / here)} left" if here > 0.01 and done < 1 else "")

    def _share(self) -> float:
        """Of the whole catalogue, longer titles counting for more."""
        frames = sum(entry.title.num_frames for entry in self._entries.values())
        return sum(entry.now() * entry.title.num_frames for entry in self._entries.values()) / max(frames, 1)

    def _active(self) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.stage is not None and not entry.is_over]

    def _show(self) -> None:
        if self._before is not None and self._clock() - self._said < LINE_EVERY_S / (4 if self._live else 1):
            return
        self._say()

    def _say(self) -> None:
        self._said = self._clock()
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)
        else:
            self._stream.write(self.line() + "\n")
            self._stream.flush()

    def _drawn(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for entry in self._active()[:MOST_SHOWN]:
            filled = round(20 * entry.now())
            table.add_row(Text("█" * filled + "·" * (20 - filled), style="cyan"), Text(str(entry)))
        return Group(Text(self._overall(), style="bold"), table)

    def begin(self) -> None:
        """All titles have said where they stand: what is done by then says nothing of this run's speed."""
        self._before, self._begun = self._share(), self._clock()

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._say()
        if self._live is not None:
            self._live.stop()
