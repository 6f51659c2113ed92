"""How a face moves over time: mouth by the phonemes of a line, lids, brows and head by chance.

Owns: `FaceMotion`, a continuous function of time, so that any frame rate, also a variable one, samples the *same*
motion; and the making of one from a line and a seed. Pixels are `warp.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from preprocessing.sample.speech import SpokenLine
from preprocessing.sample.visemes import REST, MouthTarget, targets_of
from shards.schema import F64

KNOT_HZ = 200
"""Curves are kept at this rate and read between knots by a straight line: far finer than any frame rate."""

_LEAD_S = 0.06  # lips are on their way before the sound is heard
_SMOOTH_S = 0.035  # standard deviation: about the time constant of lips
_JAW_SMOOTH_S = 0.045
_CLOSED_AT_LEAST_S = 0.05  # longer than a frame at 25 fps, so a bilabial is always seen closed
_CLOSING_S = 0.07

_CURVES = (
    "opening", "width", "rounding", "lift", "press", "blink", "brow",
    "head_x", "head_y", "roll", "scale", "yaw", "pitch",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePose:
    """A face at one moment. Lengths in eye units (1 = between the eye centres), angles in radians."""

    opening: float = 0.0
    """0 lips touching .. 1 as wide as speech goes."""
    width: float = 0.0
    rounding: float = 0.0
    lift: float = 0.0
    press: float = 0.0
    """0 .. 1: lips pressed together, thinner to look at."""
    blink: float = 0.0
    """0 open .. 1 shut."""
    brow: float = 0.0
    """0 .. 1 raised."""
    head_x: float = 0.0
    head_y: float = 0.0
    roll: float = 0.0
    scale: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceMotion:
    """The whole motion of one title."""

    duration_s: float
    knots: F64
    """(K, 13) the curves in the order of `_CURVES`, at `KNOT_HZ` from time 0."""

    def at(self, time_s: float) -> FacePose:
        """The pose at a moment; beyond the ends the first or last one."""
        place = float(np.clip(time_s * KNOT_HZ, 0, len(self.knots) - 1))
        before = min(int(place), len(self.knots) - 2)
        share = place - before
        row = (1 - share) * self.knots[before] + share * self.knots[before + 1]
        return FacePose(**dict(zip(_CURVES, row.tolist(), strict=True)))

    def opening(self, time_s: float) -> float:
        return self.at(time_s).opening

    def width(self, time_s: float) -> float:
        return self.at(time_s).width

    def rounding(self, time_s: float) -> float:
        return self.at(time_s).rounding

    def blink(self, time_s: float) -> float:
        return self.at(time_s).blink


def motion_for(line: SpokenLine | None, duration_s: float, seed: int) -> FaceMotion:
    """The motion of a face that says `line` from time 0, or keeps silent. The seed moves head and lids, never lips."""
    num_knots = int(np.ceil(duration_s * KNOT_HZ)) + 2
    times = np.arange(num_knots) / KNOT_HZ
    curves = _mouth(line, times) if line is not None else {k: np.zeros(num_knots) for k in _CURVES[:5]}
    chance = np.random.default_rng([seed, 0x5A3]).spawn(3)
    curves["blink"] = _blinks(times, chance[0])
    curves["brow"] = _brows(curves["opening"], times, chance[1])
    curves |= _head(curves["opening"], times, chance[2])
    return FaceMotion(duration_s=duration_s, knots=np.stack([curves[name] for name in _CURVES], axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aim:
    """A target and the stretch of time it belongs to."""

    target: MouthTarget
    start_s: float
    end_s: float


def _aims(line: SpokenLine) -> Iterator[_Aim]:
    """Every phoneme's targets in equal parts of its time."""
    for phoneme in line.phonemes:
        targets = targets_of(phoneme.symbol)
        bounds = np.linspace(phoneme.start_s, phoneme.end_s, len(targets) + 1)
        for target, (start, end) in zip(targets, itertools.pairwise(bounds), strict=True):
            yield _Aim(target=target, start_s=float(start), end_s=float(end))


def _mouth(line: SpokenLine, times: F64) -> dict[str, F64]:
    """Targets -> smooth curves, by a firmness-weighted moving average: coarticulation in its simplest form."""
    aims = list(_aims(line))
    # One second before and after, so that the averages do not see the ends of the line as the ends of the world.
    pad = KNOT_HZ
    grid = (np.arange(len(times) + 2 * pad) - pad) / KNOT_HZ
    names = ("opening", "width", "rounding", "lift")
    wanted = {n: np.full(len(grid), getattr(REST, n)) for n in names}
    firmness = np.full(len(grid), REST.firmness)
    for aim in aims:
        here = (grid + _LEAD_S >= aim.start_s) & (grid + _LEAD_S < aim.end_s)
        for name in names:
            wanted[name][here] = getattr(aim.target, name)
        firmness[here] = aim.target.firmness
    sigma = {"opening": _JAW_SMOOTH_S}
    smooth = {n: _average(wanted[n], firmness, sigma.get(n, _SMOOTH_S)) for n in names}
    closure = _closure(aims, grid)
    smooth["opening"] = np.maximum(smooth["opening"], 0) * (1 - closure)
    smooth["press"] = gaussian_filter1d(np.clip(closure * 1.6 - 0.6, 0, 1), 0.01 * KNOT_HZ)
    smooth["lift"] = smooth["lift"] * (1 - closure)
    return {n: curve[pad : pad + len(times)] for n, curve in smooth.items()}


def _average(wanted: F64, firmness: F64, sigma_s: float) -> F64:
    weight = gaussian_filter1d(firmness, sigma_s * KNOT_HZ)
    out: F64 = gaussian_filter1d(wanted * firmness, sigma_s * KNOT_HZ) / weight
    return out


def _closure(aims: list[_Aim], grid: F64) -> F64:
    """How shut the lips are held: a plateau during each bilabial, with raised-cosine sides."""
    out = np.zeros(len(grid))
    for aim in aims:
        if aim.target.closure == 0:
            continue
        middle, half = (aim.start_s + aim.end_s) / 2, max(aim.end_s - aim.start_s, _CLOSED_AT_LEAST_S) / 2
        beyond = np.clip((np.abs(grid - (middle - 0.01)) - half) / _CLOSING_S, 0, 1)
        out = np.maximum(out, aim.target.closure * (0.5 + 0.5 * np.cos(np.pi * beyond)))
    return out


def _blinks(times: F64, rng: np.random.Generator) -> F64:
    """A blink every two to five seconds: down in 80 ms, up in 160 ms."""
    out = np.zeros(len(times))
    when = float(rng.uniform(0.7, 2.2))
    while when < times[-1]:
        since = times - when
        down, up = np.clip(since / 0.08, 0, 1), np.clip((since - 0.11) / 0.16, 0, 1)
        lid = _ease(down) - _ease(up)
        out = np.maximum(out, lid)
        when += float(rng.uniform(2.0, 5.0))
    return out


def _brows(opening: F64, times: F64, rng: np.random.Generator) -> F64:
    """Brows rise a little where the speech is wide open, and drift."""
    stress = gaussian_filter1d(opening, 0.25 * KNOT_HZ)
    out: F64 = np.clip(0.8 * stress + 0.2 * _drift(times, rng, 0.35), 0, 1)
    return out


def _head(opening: F64, times: F64, rng: np.random.Generator) -> dict[str, F64]:
    """Slow drift in every direction, and a small nod with the rhythm of the speech."""
    nod = gaussian_filter1d(opening, 0.18 * KNOT_HZ) - gaussian_filter1d(opening, 0.8 * KNOT_HZ)
    return {
        "head_x": 0.035 * _drift(times, rng, 0.3),
        "head_y": 0.02 * _drift(times, rng, 0.3) + 0.05 * nod,
        "roll": np.radians(1.3) * _drift(times, rng, 0.25),
        "scale": 1 + 0.012 * _drift(times, rng, 0.15),
        "yaw": np.radians(3.5) * _drift(times, rng, 0.25),
        "pitch": np.radians(2.0) * _drift(times, rng, 0.3) + 0.12 * nod,
    }


def _drift(times: F64, rng: np.random.Generator, rate_hz: float) -> F64:
    """A smooth wander in about [-1, 1]: a few sines of unrelated rates."""
    rates = rate_hz * np.array([0.5, 0.83, 1.37]) * rng.uniform(0.85, 1.15, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    weights = np.array([0.5, 0.35, 0.15])
    out: F64 = weights @ np.sin(2 * np.pi * rates[:, None] * times[None, :] + phases[:, None])
    return out


def _ease(share: NDArray[np.float64]) -> F64:
    """0 .. 1 with no jerk at either end."""
    return share * share * (3 - 2 * share)
