"""The batches of one stage, made one step ahead of the one that is trained on.

Which windows of a clip are taken is a function of (seed, stage, step, item), and so is the generator that later draws
for each window. What a process gets is its share of the step's clips, cut into the parts it works off one by one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.batch import ClipBatch, collate, windows
from model.training.clips import ClipSource
from model.training.config import STAGE_NAMES, TrainConfig
from model.training.draws import Draws
from shards.ahead import read_ahead
from shards.reader import Share
from shards.schema import ClipSample

WITH_COMPLETION = ("completion", "joint", "refine")
"""Stages that train it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """A step's work."""

    parts: list[tuple[ClipBatch, Draws]]
    """In main memory."""
    source: dict[str, Any]
    """Where the clip source stands after this step."""


class Feed:
    """A stage's steps from `first` to its last."""

    def __init__(
        self, clips: ClipSource, config: TrainConfig, stage: str, share: Share, *, first: int, source: Mapping[str, Any]
    ) -> None:
        self.clips, self.config, self.stage, self.share = clips, config, stage, share
        self.settings = config.stage(stage)
        if source:
            clips.restore(source)
        self._drawn = clips.steps(self.settings.clips, share)
        self._made: Generator[Fed] = read_ahead(self._make, range(first, self.settings.steps), depth=1)

    def take(self) -> Fed:
        """The next step's."""
        return next(self._made)

    def close(self) -> None:
        """Nothing more is read."""
        self._made.close()
        self._drawn.close()  # or processes that read ahead would live as long as this object

    def whole_batches(self) -> Iterator[ClipBatch]:
        """Batches of all processes together, after the last step; every process reads them all."""
        alone = Share()
        for step, drawn in enumerate(self.clips.steps(self.settings.clips, alone), start=self.settings.steps):
            items = enumerate(drawn)
            yield collate([window for item, clip in items for window in self._windows(clip, step, item)])

    def _make(self, step: int) -> Fed:
        drawn = next(self._drawn)
        source = dict(self.clips.state())
        # The clips of all processes are dealt like cards: this one's are every so many'th of the step's.
        items = [self.share.rank + place * self.share.world_size for place in range(len(drawn))]
        cut = np.array_split(np.arange(len(drawn)), min(self.settings.accumulate, len(drawn)))
        parts = [self._part(step, [(items[i], drawn[i]) for i in places]) for places in cut]
        return Fed(parts=parts, source=source)

    def _part(self, step: int, clips: list[tuple[int, ClipSample]]) -> tuple[ClipBatch, Draws]:
        keys = [(*self._key(step, item), 1, window) for item, _ in clips for window in range(self.settings.windows)]
        return collate([window for item, clip in clips for window in self._windows(clip, step, item)]), Draws(keys)

    def _windows(self, clip: ClipSample, step: int, item: int) -> list[ClipBatch]:
        rng = np.random.default_rng([*self._key(step, item), 0])
        length = self.config.model.completion.window_frames
        other_pose = self.config.other_pose if self.stage in WITH_COMPLETION else 0.0
        return windows(clip, length, rng, self.config.model, self.settings.windows, other_pose=other_pose)

    def _key(self, step: int, item: int) -> tuple[int, int, int, int]:
        return self.config.seed, STAGE_NAMES.index(self.stage), step, item
