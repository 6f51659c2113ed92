"""The source's own grain, put back where a generated picture is cleaner than the skin around it.

Owns the measure and the noise. Two octaves at the frame's own resolution; amplitudes are measured on skin in this very
frame and never exceeded. The noise is drawn once and moved about by the frame's number: the same frame has the same
grain, and no two neighbours have.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from shards.schema import F32

BLOCK = 6
"""Grain is measured in blocks of so many samples a side."""
_CALM = 0.1
"""At this quantile of the blocks: pores, hair and teeth are no grain."""
_TRUSTED = (4, 20)
"""Blocks up to which a measure is worth nothing, and from which on all; gradual, or grain would go on and off."""
_SKIN, _REPLACED = 0.8, 0.5
"""From these shares on a block counts as skin of the source, or as generated."""
_OCTAVES = (0.7, 1.7)
"""Sigmas, stored samples, at which the octaves end; below the last one it is no grain but a picture."""
_LEAST, _MOST = 0.25, 4.0
"""8-bit levels: what rounding alone makes of a clean picture is no grain, and beyond the other it is texture."""
_TILE = 512


def grain(source: F32, made: F32, replaced: F32, blocks: F32, *, seed: tuple[int, int], level: float) -> F32:
    """(H, W) what to add to `made`, in which `replaced` (0 to 1) of `source` is gone; zero where none is.

    `blocks` is (H // BLOCK, W // BLOCK, 2): the share that is replaced, and that is skin in both pictures. `seed` is
    the frame's and the plane's number, `level` one 8-bit grey level in stored steps.
    """
    inside, skin = blocks[..., 0] > _REPLACED, blocks[..., 1] > _SKIN
    amounts = [0.0] * len(_OCTAVES)
    trust = _trust(int(min(skin.sum(), inside.sum())))
    if trust > 0.0:
        octaves = zip(_octaves(source), _octaves(made), _calm_tiles(), strict=True)
        amounts = [
            trust * _missing(_calm(own, skin) / one, _calm(left, inside) / one, level) for own, left, one in octaves
        ]
    if not any(amounts):
        return np.zeros_like(source)
    fine, coarse = _noise(seed, source.shape)
    # Variances add up: what is left of the source's grain, (1 - r) of it, and this make the source's own.
    gone = np.clip(replaced, 0, 1)
    noise = np.asarray(cv2.addWeighted(fine, amounts[0], coarse, amounts[1], 0.0), dtype=np.float32)
    out: F32 = noise * np.sqrt(gone * (2 - gone))
    return out


def _trust(num_blocks: int) -> float:
    least, enough = _TRUSTED
    return min(max((num_blocks - least) / (enough - least), 0.0), 1.0)


def _missing(own: float, left: float, level: float) -> float:
    """Standard deviation of the grain that is lacking where `left` is left of the source's `own`."""
    return math.sqrt(max(min(own, _MOST * level) ** 2 - left**2, 0.0)) if own > _LEAST * level else 0.0


def _calm(octave: F32, chosen: NDArray[np.bool_]) -> float:
    """Mean absolute value in the calm ones of the chosen blocks."""
    rows, columns = chosen.shape
    whole = np.abs(octave[: rows * BLOCK, : columns * BLOCK])
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)[chosen]
    rank = int(_CALM * len(means))
    return float(np.partition(means, rank)[rank])


def _octaves(plane: F32) -> tuple[F32, ...]:
    """Differences of the plane and its blurs, finest first."""
    steps = [plane, *(np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), dtype=np.float32) for sigma in _OCTAVES)]
    return tuple(fine - coarse for fine, coarse in itertools.pairwise(steps))


def _noise(seed: tuple[int, int], shape: tuple[int, ...]) -> list[F32]:
    """A stretch of each octave's noise with a standard deviation of 1."""
    mixed = zlib.crc32(repr(seed).encode())
    top, left = mixed % _TILE, (mixed >> 16) % _TILE
    tiles = _tiles(1 + -(-max(shape) // _TILE))
    return [tile[top : top + shape[0], left : left + shape[1]] for tile in tiles]


@functools.lru_cache(maxsize=1)
def _calm_tiles() -> tuple[float, ...]:
    """What is measured of noise with a standard deviation of 1, an octave each."""
    blocks = np.ones((_TILE // BLOCK, _TILE // BLOCK), dtype=np.bool_)
    return tuple(_calm(tile, blocks) for tile in _tiles(1))


@functools.lru_cache(maxsize=2)
def _tiles(repeats: int) -> tuple[F32, ...]:
    """Each octave's noise, a seamless tile so many times beside and below itself."""
    noise = np.random.default_rng(0).standard_normal((_TILE, _TILE)).astype(np.float32)
    octaves = (part[16:-16, 16:-16] for part in _octaves(np.pad(noise, 16, mode="wrap")))
    shared = tuple(np.tile(part / part.std(), (repeats, repeats)) for part in octaves)
    for tile in shared:
        tile.setflags(write=False)
    return shared
