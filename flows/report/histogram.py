"""Where a histogram's bars stand: kept clips upwards, rejected ones downwards, thresholds across.

Geometry only; colours and text are the page's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 32
WIDTH, HEIGHT = 320, 150
_LEFT, _RIGHT, _TOP, _BASE, _DEPTH = 8.0, 312.0, 36.0, 100.0, 30.0
_GAP, _LETTER = 4, 5.6
"""Between a threshold's line and its text; a letter of the text, on average."""
_TAIL_PERCENT = 0.5
"""At either end: a few far values must not press all others into one bar."""


def histogram(
    name: str, kept: NDArray[np.float64], rejected: NDArray[np.float64], limits: Mapping[str, float]
) -> dict[str, Any]:
    """What the page draws for one score; `limits` are the thresholds on it, by the name of their knob."""
    edges = _edges(kept, rejected, list(limits.values()))
    bars = _bars("kept", kept, edges) + _bars("rejected", rejected, edges)
    return {
        "name": name,
        "width": WIDTH,
        "height": HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "base": _BASE,
        "bars": bars,
        "limits": [_limit(knob, value, edges) for knob, value in limits.items()],
        "ticks": [
            {"x": _LEFT, "anchor": "start", "text": number(edges[0])},
            {"x": _RIGHT, "anchor": "end", "text": number(edges[-1])},
        ],
    }


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value + 0.0:.3g}"


def _edges(kept: NDArray[np.float64], rejected: NDArray[np.float64], limits: Sequence[float]) -> NDArray[np.float64]:
    ends = [np.percentile(v, [_TAIL_PERCENT, 100 - _TAIL_PERCENT]) for v in (kept, rejected) if len(v)]
    low, high = min([*(e[0] for e in ends), *limits]), max([*(e[1] for e in ends), *limits])
    room = 0.0 if high > low else 0.5
    return np.linspace(low - room, high + room, BINS + 1)


def _bars(kind: str, values: NDArray[np.float64], edges: NDArray[np.float64]) -> list[dict[str, Any]]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    room = _BASE - _TOP if kind == "kept" else _DEPTH
    step = (_RIGHT - _LEFT) / BINS
    bars = []
    for i in np.flatnonzero(counts):
        height = max(1.0, room * float(counts[i]) / float(counts.max()))
        bars.append(
            {
                "kind": kind,
                "x": round(_LEFT + step * float(i) + 0.5, 1),
                # Below the ticks' text, which stands right under the line.
                "y": round(_BASE - height, 1) if kind == "kept" else _BASE + 17,
                "width": round(step - 1, 1),
                "height": round(height, 1),
                "count": int(counts[i]),
                "low": number(edges[i]),
                "high": number(edges[i + 1]),
            }
        )
    return bars


def _limit(knob: str, value: float, edges: NDArray[np.float64]) -> dict[str, Any]:
    share = (value - edges[0]) / (edges[-1] - edges[0])
    x = round(_LEFT + (_RIGHT - _LEFT) * float(share), 1)
    # The other side of a knob that holds for both has no room for the same text again.
    text = "" if knob.startswith("-") else f"{knob} {number(value)}"
    # To the right of its line, where it crosses no other, unless it would leave the plot.
    is_before = x + _GAP + _LETTER * len(text) > _RIGHT
    text_x, anchor = (x - _GAP, "end") if is_before else (x + _GAP, "start")
    return {"x": x, "text_x": text_x, "anchor": anchor, "text": text}
