"""How long renderers may run: `--max-gpu-hours`. Counts every renderer from its start to its end, busy or not, since
that is what a device is paid by; without devices a renderer counts as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class Budget:
    """The hours of renderers used so far, against what they may use."""

    def __init__(
        self, hours: float | None, *, per_worker: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_s = None if hours is None else hours * 3600.0
        self._share, self._clock = per_worker or 1.0, clock
        self._workers, self._since, self._used_s = 0, clock(), 0.0

    def held(self, workers: Mapping[str, int]) -> None:
        """Hears how many workers there are by stage, whenever that changes."""
        self._used_s, self._since = self.used_s, self._clock()
        self._workers = workers.get("render", 0)

    @property
    def used_s(self) -> float:
        return self._used_s + self._workers * self._share * (self._clock() - self._since)

    @property
    def is_used_up(self) -> bool:
        return self._most_s is not None and self.used_s >= self._most_s
