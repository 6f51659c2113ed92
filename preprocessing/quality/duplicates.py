"""The same moment twice in a set: a perceptual hash of a clip's crops over time, and who stays of those that agree.

The hash survives another encoding, size or brightness. Most of its bits are about how the face moves, for every clip of
one speaker looks the same. A copy that begins elsewhere is another clip to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from shards.schema import F64, U8, Rejection

HASH_SCORES = ("look_0", "look_1", "look_2", "look_3")
"""Scores that hold the hash: whole numbers of 48 bits, which a float64 keeps exactly."""
_BETTER = ("face_px", "sharpness")
"""Of two that agree the one with more of these stays, in this order."""
TWIN_SCORES = (*HASH_SCORES, *_BETTER)
"""The scores that `twins` looks at."""
_WORD_BITS = 48
_NUM_BITS = _WORD_BITS * len(HASH_SCORES)
_SIDE, _MOMENTS = 16, 32
_STILL = 7
"""Lowest spatial frequencies of the mean picture, squared less the first: one word."""
_MOVING, _RATES = 4, 9
"""Lowest spatial and temporal frequencies of the motion: three words."""
_BUCKET_BITS = 12
"""Two hashes are compared when they agree in one of the 16 parts of so many bits: certain up to 15 different bits."""


def look_scores(frames: U8) -> dict[str, float]:
    """The hash of (T, S, S, 3) crops, as scores."""
    waves = dctn(_film(frames), axes=(0, 1, 2))
    still = waves[0, :_STILL, :_STILL].reshape(-1)[1 : _WORD_BITS + 1]
    moving = waves[1 : _RATES + 1, :_MOVING, :_MOVING].reshape(-1)
    words = (np.concatenate([still, moving]) > 0).reshape(len(HASH_SCORES), _WORD_BITS)
    return {
        name: float(sum(1 << k for k in np.flatnonzero(word))) for name, word in zip(HASH_SCORES, words, strict=True)
    }


def twins(keys: Sequence[str], scores: Sequence[Mapping[str, float]], max_differing: int) -> dict[str, Rejection]:
    """Those to leave out, by key: each differs in at most so many bits from a clip that stays.

    The larger face stays, then the sharper, then the smaller key: the order of the clips plays no part. A clip without
    a hash is nobody's twin.
    """
    order = sorted(range(len(keys)), key=lambda i: (*(-scores[i].get(n, 0.0) for n in _BETTER), keys[i]))
    ranked = [i for i in order if all(name in scores[i] for name in HASH_SCORES)]
    bits = _bits([scores[i] for i in ranked])
    nearest: dict[int, list[int]] = {}
    for a, b in _pairs(bits, max_differing):
        nearest.setdefault(b, []).append(a)
    out: dict[str, Rejection] = {}
    # By rank: whether an earlier one stays is settled before it is asked for.
    for rank in sorted(nearest):
        staying = [a for a in nearest[rank] if keys[ranked[a]] not in out]
        if staying:
            twin = min(staying)
            differing = int((bits[twin] != bits[rank]).sum())
            detail = f"it shows what clip {keys[ranked[twin]]} shows: {differing} of {_NUM_BITS} bits differ"
            out[keys[ranked[rank]]] = Rejection(
                code="duplicate", detail=detail, value=differing, threshold=max_differing
            )
    return out


def _film(frames: U8) -> F64:
    """(moments, side, side) grey: the clip at a size and length of its own."""
    small = np.stack(
        [cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for f in frames]
    )
    at = np.linspace(0, len(small) - 1, _MOMENTS)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, len(small) - 1), (at - low)[:, None, None]
    out: F64 = small[low] * (1 - part) + small[high] * part
    return out


def _bits(scores: Sequence[Mapping[str, float]]) -> NDArray[np.bool_]:
    """(N, bits)."""
    words = np.array([[int(s[name]) for name in HASH_SCORES] for s in scores], dtype=np.uint64)
    words = words.reshape(-1, len(HASH_SCORES))
    places = np.arange(_WORD_BITS, dtype=np.uint64)
    return (words[:, :, None] >> places & np.uint64(1)).astype(np.bool_).reshape(len(words), _NUM_BITS)


def _pairs(bits: NDArray[np.bool_], max_differing: int) -> Iterable[tuple[int, int]]:
    """(earlier, later) ranks that differ in at most so many bits."""
    found: set[tuple[int, int]] = set()
    weights = 1 << np.arange(_BUCKET_BITS)
    for first in range(0, _NUM_BITS, _BUCKET_BITS):
        part = bits[:, first : first + _BUCKET_BITS] @ weights
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(order, edges):
            for place, rank in enumerate(bucket[:-1]):
                others = bucket[place + 1 :]
                near = (bits[others] != bits[rank]).sum(axis=1) <= max_differing
                found |= {(int(rank), int(other)) for other in others[near]}
    return sorted(found)
