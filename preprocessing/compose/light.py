"""Brings a generated clip to the light of its source, before it is kept.

Owns the fit and nothing of the paste. Rendered crops equal the source outside the window's mask, so a model's own
colour shift is seen only inside it: on skin away from both mouths (`mask.py`), where the two pictures show the same.
What is fitted is low-frequency: a gain, an offset and a slope over the face, a channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.compose.mask import mouth_mask, steady
from shards.crop import CropWindow
from shards.schema import F32, F64, U8, Landmarks

_CELLS = 16
"""The pictures are compared as so many cells a side: finer than that is texture, not light."""
_STEADY_FRAMES = 1.0
"""Sigma in time. Short, for a source that flickers must flicker on the new skin too, or the two come apart."""
_MIDDLE, _SPREAD = 128.0, 64.0
"""Grey levels that make the brightness a number about as large as the coordinates."""
_RIDGE = np.array([6.0, 0.2, 0.5, 0.5])
"""Cells of skin against which gain, offset and the two slopes have to prove themselves, whatever the clip's length."""
_RIDGE_IN_TIME = 2.0
"""How many times as many have to prove that one moment differs from the clip."""
_TURNS, _OUTLIER = 3, 16.0
"""Fits one after the other; a cell that the one before misses by so many grey levels counts a quarter."""
_MOST = 40.0
"""Grey levels by which a pixel is moved at most."""


def matched(generated: U8, source: U8, seen: Landmarks | None, made: Landmarks, window: CropWindow) -> U8:
    """(T, S, S, 3): `generated` in the light of `source`; a clip that has it already comes back as it is.

    Frames whose drawn face is not there were not rendered and are left alone, as is all outside the window's mask.
    """
    rows = np.flatnonzero(made.seen())
    if len(rows) == 0:
        return generated
    window_mask, basis = window.mask(generated.shape[1])[..., None], _basis(window, generated.shape[1])
    pairs = ((generated[row], source[row]) for row in rows)
    path = _Cells(pairs, _skins(seen, made, window, generated.shape[1], rows), window).fit()
    out = generated.copy()
    for row, terms in zip(rows, path, strict=True):
        change = _field(generated[row], basis, terms.astype(np.float32))
        out[row] = np.clip(np.rint(generated[row] + np.clip(change, -_MOST, _MOST) * window_mask), 0, 255)
    return out


def _skins(
    seen: Landmarks | None, made: Landmarks, window: CropWindow, size_px: int, rows: NDArray[np.intp]
) -> Iterator[F32]:
    """(S, S) where both pictures show skin, of each of these frames."""
    drawn = steady(made.points)
    shown = None if seen is None else steady(seen.points)
    for row in rows:
        own = None if shown is None else shown[row]
        yield mouth_mask(window, size_px, own, drawn[row], made.topology).skin


class _Cells:
    """A clip as cells of skin: what was generated, what is missing to the source, and how much skin it is."""

    def __init__(self, pairs: Iterable[tuple[U8, U8]], skins: Iterable[F32], window: CropWindow) -> None:
        cells = [_gathered(*pair, skin) for pair, skin in zip(pairs, skins, strict=True)]
        value, missing, share = (np.stack(part) for part in zip(*cells, strict=True))
        self._value: F64 = value
        """(T, Y, X, 3) grey levels."""
        self._missing: F64 = missing
        """(T, Y, X, 3) grey levels."""
        self._share: F64 = share
        """(T, Y, X) in [0, 1]."""
        self._basis = _basis(window, _CELLS)

    def fit(self) -> F64:
        """(T, 4, 3) terms of gain, offset and slope for the three channels."""
        sure = self._missing[self._share > 0.5]
        if len(sure) == 0:
            return np.zeros((len(self._share), 4, 3))
        shown: F32 = np.broadcast_to(np.median(sure, axis=0), self._missing.shape).astype(np.float32)
        # A hand, a collar or a jaw where skin should be: what is far from the rest counts little, at each turn less.
        for _ in range(_TURNS):
            share = self._share[..., None] / (1 + ((self._missing - shown) / _OUTLIER) ** 2) ** 2
            terms = self._solved(share)
            shown = _field(self._value, self._basis, terms.astype(np.float32))
        return terms

    def _solved(self, share: F64) -> F64:
        design = self._design()
        # a: (T, 3, 4, 4), b: (T, 3, 4), the normal equations of each frame and channel.
        weighted = design * share[..., None]
        a = np.einsum("tyxci,tyxcj->tcij", weighted, design)
        b = np.einsum("tyxci,tyxc->tci", weighted, self._missing)
        ridge = np.diag(_RIDGE)
        clip = np.linalg.solve(a.mean(axis=0) + ridge, b.mean(axis=0)[..., None])
        near_a, near_b = _in_time(a), _in_time(b)
        ridge = ridge * _RIDGE_IN_TIME
        terms = np.linalg.solve(near_a + ridge, near_b[..., None] + ridge @ clip)
        out: F64 = np.asarray(terms[..., 0], dtype=np.float64).transpose(0, 2, 1)
        return out

    def _design(self) -> F64:
        """(T, Y, X, 3, 4): what each of the four terms is worth in each cell and channel."""
        rest = np.broadcast_to(self._basis[:, :, None], (*self._value.shape, 3))
        return np.concatenate([((self._value - _MIDDLE) / _SPREAD)[..., None], rest], axis=-1)


def _gathered(generated: U8, source: U8, skin: F32) -> tuple[F64, F64, F64]:
    """(Y, X, 3) mean and missing levels, (Y, X) share of skin; averaged within the skin only: no lip may leak in."""
    a = generated.astype(np.float32)
    layers = np.concatenate([a * skin[..., None], (source - a) * skin[..., None], skin[..., None]], axis=-1)
    cells = cv2.resize(layers, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float64)
    share = np.where(cells[..., 6] > 0.1, cells[..., 6], 0.0)
    means = cells / np.maximum(cells[..., 6:], 1e-6)
    return means[..., :3], np.where(share[..., None] > 0, means[..., 3:6], 0.0), share


def _basis(window: CropWindow, size_px: int) -> F32:
    """(S, S, 3): offset and slopes, in half window sides from the middle of the mask."""
    axis = ((np.arange(size_px) + 0.5) / size_px - 0.5) * 2
    left, top, right, bottom = window.mask_box
    x, y = np.meshgrid(axis, axis + 2 * (window.centre[1] - (top + bottom) / 2) / window.side)
    x += 2 * (window.centre[0] - (left + right) / 2) / window.side
    return np.stack([np.ones_like(x), x, y], axis=-1).astype(np.float32)


def _field(rgb: U8 | F64, basis: F32, terms: F32) -> F32:
    """(..., S, S, 3) levels to add, for terms (..., 4, 3)."""
    gain = terms[..., None, None, 0, :] * np.float32(1 / _SPREAD)
    out: F32 = (rgb - np.float32(_MIDDLE)) * gain + basis @ terms[..., None, 1:, :]
    return out


def _in_time(values: F64) -> F64:
    """Mean of the neighbours in time, the clip's ends repeated."""
    flat = values.reshape(len(values), -1)
    near = cv2.GaussianBlur(flat, (1, 0), sigmaX=1.0, sigmaY=_STEADY_FRAMES, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(near, dtype=np.float64).reshape(values.shape)
