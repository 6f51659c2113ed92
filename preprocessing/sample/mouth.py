"""What is seen between open lips: the dark of the mouth, teeth, tongue.

Owns: painting the inside of the mouth from curves alone, pixel by pixel with soft edges. Upper teeth hang on the skull
and move with the head only, lower teeth and tongue ride on the jaw; the lips merely uncover them. Where the lips are
is `warp.py`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shards.schema import F64

_CAVITY = np.array([92.0, 36.0, 32.0])
_THROAT = np.array([40.0, 13.0, 12.0])
_TEETH = np.array([232.0, 214.0, 190.0])
_TONGUE = np.array([168.0, 84.0, 80.0])
_SHADOW = np.array([0.85, 1.05, 1.15])  # exponents: shade inside a mouth is warm

# Edges of the teeth from the middle outwards, eye units: incisors, canine, premolars turning away from the camera.
_TOOTH_EDGES = np.array([0.0, 0.128, 0.228, 0.318, 0.388, 0.445])
_TEETH_DEPTH = 0.052  # how far the upper teeth reach below the line of the closed lips, eye units


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenMouth:
    """The mouth's inside in one frame, on a patch of pixels. All (h, w), eye units, head standing still."""

    x: F64
    y: F64
    """0 at the line of the lips at rest, downwards."""
    upper: F64
    """y of the upper lip's inner edge at each pixel's x."""
    lower: F64
    jaw_drop: float
    rounding: float
    half_width: float
    """Of the open mouth now."""
    unit_px: float
    """Picture pixels per eye unit: edges are one pixel soft."""
    lip: F64
    """(3,) colour of the lips' inside."""
    light: F64
    """(3,) brightness and cast of the portrait's light, about 1."""


def paint(mouth: OpenMouth) -> F64:
    """(h, w, 3) RGB in 0..255; what lies outside the lips is painted too and left to the caller's mask."""
    from_upper, from_lower = mouth.y - mouth.upper, mouth.lower - mouth.y
    t = np.clip(mouth.x / mouth.half_width, -1, 1)
    below = np.clip(from_upper / np.maximum(mouth.lower - mouth.upper, 1e-3), 0, 1)
    picture = _mix(_CAVITY, _THROAT, 1 - (2 * below - 0.9) ** 2)
    picture = _over(picture, *_tongue(mouth))
    picture = _over(picture, *_lower_teeth(mouth, t))
    picture = _over(picture, *_upper_teeth(mouth, from_upper))
    # The wet inner rim of the lower lip, and shade where the lips stand over what is behind them.
    rim = 0.85 * np.exp(-((np.maximum(from_lower, 0) / 0.02) ** 2))
    picture = _over(picture, np.broadcast_to(mouth.lip * 0.62, picture.shape), rim)
    shade = 0.55 + 0.45 * _rise(from_upper, 0.0, 0.045)
    shade = shade * (0.7 + 0.3 * _rise(from_lower, 0.0, 0.03)) * (1 - 0.62 * np.abs(t) ** 3)
    # Little light comes through a slit, and pushed-out lips take more of it.
    shade = shade * (0.5 + 0.5 * _rise(mouth.lower - mouth.upper, 0.0, 0.07)) * (1 - 0.5 * mouth.rounding)
    out: F64 = picture * shade[..., None] ** _SHADOW * mouth.light
    return out


def _upper_teeth(mouth: OpenMouth, from_upper: F64) -> tuple[F64, F64]:
    place, width = _tooth(np.abs(mouth.x))
    # The arch turns upwards to the sides, and every tooth has a rounded edge; the second one is a little shorter.
    lateral = np.exp(-(((np.abs(mouth.x) - 0.178) / 0.04) ** 4))
    edge = _TEETH_DEPTH - 0.26 * mouth.x**2 - 0.012 * place**4 - 0.007 * lateral
    gap = np.exp(-(((1 - np.abs(place)) * width / 2 / 0.007) ** 2))
    round_light = 1 - 0.55 * np.clip(np.abs(mouth.x) / 0.42, 0, 1) ** 1.6 - 0.1 * place**2
    colour = _TEETH * (round_light * (1 - 0.3 * gap))[..., None]
    return colour, _edge((edge - mouth.y) * mouth.unit_px) * _rise(from_upper, -0.02, 0.004)


def _lower_teeth(mouth: OpenMouth, t: F64) -> tuple[F64, F64]:
    place, width = _tooth(np.abs(mouth.x) / 0.72)
    top = mouth.jaw_drop - 0.012 + 0.16 * mouth.x**2 + 0.006 * place**4
    gap = np.exp(-(((1 - np.abs(place)) * width / 2 / 0.009) ** 2))
    colour = _TEETH * (0.62 * (1 - 0.7 * np.abs(t) ** 2) * (1 - 0.3 * gap))[..., None]
    return colour, 0.8 * _edge((mouth.y - top) * mouth.unit_px)


def _tongue(mouth: OpenMouth) -> tuple[F64, F64]:
    """A soft mound behind the lower teeth; it stays low, so it is seen only in open vowels."""
    high = 0.62 * mouth.jaw_drop
    radius = np.hypot(mouth.x / 0.3, (mouth.y - high - 0.15) / 0.15)
    groove = 1 - 0.18 * np.exp(-((mouth.x / 0.03) ** 2))
    colour = _TONGUE * (0.85 * groove * (0.62 + 0.38 * _rise(mouth.y, high, high + 0.09)))[..., None]
    return colour, 1 - _rise(radius, 0.8, 1.05)


def _tooth(distance: F64) -> tuple[F64, F64]:
    """(place across its tooth from -1 to 1, width of that tooth) at a distance from the middle."""
    index = np.clip(np.searchsorted(_TOOTH_EDGES, distance, side="right") - 1, 0, len(_TOOTH_EDGES) - 2)
    left, right = _TOOTH_EDGES[index], _TOOTH_EDGES[index + 1]
    return np.clip((2 * distance - left - right) / (right - left), -1, 1), right - left


def _over(under: F64, colour: F64, alpha: F64) -> F64:
    out: F64 = under + alpha[..., None] * (colour - under)
    return out


def _mix(first: F64, second: F64, share: F64) -> F64:
    out: F64 = first + np.clip(share, 0, 1)[..., None] * (second - first)
    return out


def _edge(distance_px: F64) -> F64:
    """Coverage of a pixel by what lies on the positive side."""
    out: F64 = np.clip(distance_px + 0.5, 0, 1)
    return out


def _rise(value: F64, start: float, end: float) -> F64:
    share = np.clip((value - start) / (end - start), 0, 1)
    out: F64 = share * share * (3 - 2 * share)
    return out
