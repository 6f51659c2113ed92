"""Random numbers that belong to an item of the global batch, and not to the process that happens to train it.

Each is a function of (seed, stage, step, item): one process and four draw the same frames, noise and t for the same
clip, and a run that goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


def seed_of(*key: int) -> int:
    """A seed that says nothing of any other key's."""
    # With its length: to numpy, zeros at the end of a key are nothing.
    return int(np.random.SeedSequence([len(key), *key]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Draws:
    """Draws for the windows of a batch, each from a generator of its own; B comes first in what is drawn."""

    def __init__(self, keys: Iterable[Sequence[int]]) -> None:
        self._generators = [torch.Generator().manual_seed(seed_of(*key)) for key in keys]

    @classmethod
    def of(cls, generator: torch.Generator, count: int) -> Draws:
        """For `count` windows that belong to no run."""
        seeds = torch.randint(0, 2**62, (count,), generator=generator).tolist()
        return cls((seed,) for seed in seeds)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) from 0 to 1."""
        return self._each(lambda g: torch.rand(shape, generator=g))

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) of spread 1."""
        return self._each(lambda g: torch.randn(shape, generator=g))

    def whole(self, limit: int, *shape: int) -> Tensor:
        """(B, *shape) whole numbers from 0 up to, and without, `limit`."""
        return self._each(lambda g: torch.randint(0, limit, shape, generator=g))

    def _each(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator) for generator in self._generators])
