"""Where training gets its clips: the Protocol, and the plainest source that fulfils it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from shards.errors import RequestError
from shards.schema import ClipSample


class ClipSource(Protocol):
    """An endless, repeatable row of clips that knows where it is."""

    def train(self) -> Iterator[ClipSample]:
        """Clips without end, from where the source stands; the same seed gives the same row."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Where it stands after the clips handed out so far; plain JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand there again: the next `train()` continues as if nothing had happened."""
        ...


class ListedClips:
    """Clips held in memory, in a new order each epoch."""

    def __init__(self, clips: Sequence[ClipSample], *, seed: int = 0) -> None:
        if not clips:
            raise RequestError("there are no clips to train on", field="clips")
        self.clips, self.seed = list(clips), seed
        self.taken = 0

    def train(self) -> Iterator[ClipSample]:
        while True:
            epoch, place = divmod(self.taken, len(self.clips))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.clips))
            for index in order[place:]:
                self.taken += 1
                yield self.clips[index]

    def state(self) -> Mapping[str, Any]:
        return {"taken": self.taken, "clips": len(self.clips), "seed": self.seed}

    def restore(self, state: Mapping[str, Any]) -> None:
        for field, mine in (("clips", len(self.clips)), ("seed", self.seed)):
            if state[field] != mine:
                raise RequestError(f"the run began with {state[field]!r}", field=f"clips.{field}", value=mine)
        self.taken = int(state["taken"])
