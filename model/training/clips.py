"""Where training gets its clips: the Protocol, a source in memory, and one over a published dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from model.training.config import TrainConfig
from shards.errors import RequestError
from shards.loader import ClipStream, clip_loader
from shards.reader import Dataset, ReaderState, Selection
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


def fitted(config: TrainConfig, clip: ClipSample) -> TrainConfig:
    """The config of a run on clips like this one: with the versions of their features, which the checkpoint will name.

    Refuses clips of another landmark layout, crop, window or feature than the model is built for.
    """
    model = config.model
    return config.model_copy(update={"model": model.model_copy(update={"condition": model.condition.recording(clip)})})


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


class DatasetClips:
    """The train split of a dataset by the elastic reader: this rank's clips of each global batch, one by one.

    Where it stands moves with the last clip of a batch, so a run that stops within one has the whole batch again.
    With `workers`, that many processes read and decode ahead.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        seed: int,
        global_batch: int = 1,
        selection: Selection | None = None,
        workers: int = 0,
    ) -> None:
        self._dataset, self._seed, self._global_batch = dataset, seed, global_batch
        self._selection, self._workers = selection, workers
        self._state = self._stream(None).state

    def train(self) -> Iterator[ClipSample]:
        for batch in clip_loader(self._stream(self._state), workers=self._workers):
            *others, last = batch.clips
            yield from others
            self._state = batch.state
            yield last

    def state(self) -> Mapping[str, Any]:
        return asdict(self._state)

    def restore(self, state: Mapping[str, Any]) -> None:
        self._state = self._stream(ReaderState.of(state)).state

    def _stream(self, state: ReaderState | None) -> ClipStream:
        return ClipStream(
            self._dataset,
            seed=self._seed,
            global_batch=self._global_batch,
            selection=self._selection,
            state=state,
        )
