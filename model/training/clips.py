"""Where training gets its clips: the Protocol, a source in memory, and one over a published dataset."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np

from model.training.config import TrainConfig
from shards.errors import RequestError
from shards.loader import ClipStream, clip_loader
from shards.reader import Dataset, ReaderState, Selection, Share
from shards.schema import ClipSample


class ClipSource(Protocol):
    """An endless, repeatable row of clips that knows where it is, dealt to any number of processes."""

    def steps(self, clips: int, share: Share) -> Generator[list[ClipSample]]:
        """Step after step, this process's share of the next `clips` clips of the row.

        The row is the same for every number of processes and of clips a step; so is where it stands after a step.
        """
        ...

    def train(self) -> Iterator[ClipSample]:
        """The clips one by one, for one process."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Where it stands after the steps handed out so far; plain JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Stand there again: what is asked next continues as if nothing had happened."""
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

    def steps(self, clips: int, share: Share) -> Generator[list[ClipSample]]:
        while True:
            first, self.taken = self.taken, self.taken + clips
            yield [self._at(place) for place in range(first + share.rank, first + clips, share.world_size)]

    def train(self) -> Iterator[ClipSample]:
        return chain.from_iterable(self.steps(1, Share()))

    def _at(self, place: int) -> ClipSample:
        epoch, number = divmod(place, len(self.clips))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.clips))
        return self.clips[int(order[number])]

    def state(self) -> Mapping[str, Any]:
        return {"taken": self.taken, "clips": len(self.clips), "seed": self.seed}

    def restore(self, state: Mapping[str, Any]) -> None:
        for field, mine in (("clips", len(self.clips)), ("seed", self.seed)):
            if state[field] != mine:
                raise RequestError(f"the run began with {state[field]!r}", field=f"clips.{field}", value=mine)
        self.taken = int(state["taken"])


class DatasetClips:
    """The train split of a dataset by the elastic reader. With `workers`, so many processes read and decode ahead."""

    def __init__(self, dataset: Dataset, *, seed: int, selection: Selection | None = None, workers: int = 0) -> None:
        self._dataset, self._seed, self._selection, self._workers = dataset, seed, selection, workers
        self._state = self._stream(dataset.first_state(seed, 1, selection), Share()).state

    def steps(self, clips: int, share: Share) -> Generator[list[ClipSample]]:
        # Stages take different numbers of clips a step from one row: the place in it is the same for all of them.
        stream = self._stream(replace(self._state, global_batch=clips), share)
        for batch in clip_loader(stream, workers=self._workers):
            self._state = batch.state
            yield batch.clips

    def train(self) -> Iterator[ClipSample]:
        return chain.from_iterable(self.steps(1, Share()))

    def state(self) -> Mapping[str, Any]:
        return asdict(self._state)

    def restore(self, state: Mapping[str, Any]) -> None:
        self._state = self._stream(ReaderState.of(state), Share()).state

    def _stream(self, state: ReaderState, share: Share) -> ClipStream:
        return ClipStream(
            self._dataset,
            seed=self._seed,
            global_batch=state.global_batch,
            selection=self._selection,
            state=state,
            rank=share.rank,
            world_size=share.world_size,
        )
