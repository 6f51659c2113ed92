"""The figures of many clips together: means and medians over all, by identity and by language, and what was aimed at.

A figure that a clip does not have (a still mouth has no correlation, a short clip no sync score) is not counted, and
each figure says of how many clips it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.evaluation.measures import Figures

Summary = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRow:
    """One clip's line of the scorecard."""

    key: str
    identity: str
    language: str | None
    split: str
    frames: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One figure that is aimed at."""

    name: str
    of: Callable[[Summary], float]
    wanted: tuple[float, float]
    """From, to."""
    least: tuple[float, float] | None = None
    """What is still a pass."""


def scorecard(rows: Sequence[ClipRow]) -> dict[str, Any]:
    """All of it; plain JSON values, None where nothing could be measured."""
    summary = summed(rows)
    return {
        "clips": len(rows),
        "identities": len({row.identity for row in rows}),
        "goals": [_told(goal, summary) for goal in GOALS],
        "summary": _finite(summary),
        "by_identity": _groups(rows, lambda row: row.identity),
        "by_language": _groups(rows, lambda row: row.language or "unknown"),
        "rows": [_row(row) for row in sorted(rows, key=lambda row: (row.identity, row.key))],
    }


def summed(rows: Sequence[ClipRow]) -> Summary:
    """Figure -> mean, median, largest, and of how many clips."""
    names = sorted({name for row in rows for name in row.figures})
    out: Summary = {}
    for name in names:
        values = np.array([v for row in rows if math.isfinite(v := row.figures.get(name, math.nan))])
        if len(values):
            found = {"mean": values.mean(), "median": np.median(values), "largest": values.max()}
            out[name] = {**{how: float(value) for how, value in found.items()}, "clips": float(len(values))}
    return out


# -- what is aimed at --------------------------------------------------------------------------------------------------


def _mean(name: str) -> Callable[[Summary], float]:
    return lambda summary: summary[name]["mean"] if name in summary else math.nan


def _share(name: str, of: str) -> Callable[[Summary], float]:
    """The mean of one figure over the mean of another: a ratio per clip would be ruled by clips that hardly move."""

    def ratio(summary: Summary) -> float:
        below = _mean(of)(summary)
        return _mean(name)(summary) / below if below > 0 else math.nan

    return ratio


def _largest(name: str) -> Callable[[Summary], float]:
    return lambda summary: summary[name]["largest"] if name in summary else math.nan


GOALS = (
    Goal(name="lip distance, of the undubbed source's", of=_share("made.lips", "undubbed.lips"), wanted=(0.0, 0.6)),
    Goal(name="lip distance, of a still neutral mouth's", of=_share("made.lips", "neutral.lips"), wanted=(0.0, 1.0)),
    Goal(
        name="correlation of the mouth's opening",
        of=_mean("made.correlation"),
        wanted=(0.6, 1.0),
        least=(0.45, 1.0),
    ),
    Goal(name="speed of the mouth's opening, of real", of=_share("made.speed", "real.speed"), wanted=(0.7, 1.3)),
    Goal(name="mouth closed under silence, share", of=_mean("silent.closed"), wanted=(0.9, 1.0)),
    Goal(name="change outside the mask, of 255", of=_largest("made.outside_change"), wanted=(0.0, 0.0)),
    Goal(name="reconstructed mouth, PSNR in dB", of=_mean("own.psnr_mouth_db"), wanted=(24.0, math.inf)),
)


def _told(goal: Goal, summary: Summary) -> dict[str, Any]:
    value = goal.of(summary)
    return {"name": goal.name, "value": _known(value), "wanted": _words(goal.wanted), "reached": _reached(goal, value)}


def _reached(goal: Goal, value: float) -> str:
    if not math.isfinite(value):
        return "not measured"
    if goal.wanted[0] <= value <= goal.wanted[1]:
        return "yes"
    if goal.least is not None and goal.least[0] <= value <= goal.least[1]:
        return f"the least ({goal.least[0]:g})"
    return "no"


def _words(bounds: tuple[float, float]) -> str:
    low, high = bounds
    if low == high:
        return f"{low:g}"
    if low <= 0:
        return f"at most {high:g}"
    return f"at least {low:g}" if high in (1.0, math.inf) else f"{low:g} to {high:g}"


# -- shapes ------------------------------------------------------------------------------------------------------------

GROUP_FIGURES = (
    "made.lips",
    "undubbed.lips",
    "neutral.lips",
    "made.correlation",
    "made.speed",
    "real.speed",
    "silent.closed",
    "own.psnr_mouth_db",
)
"""Shown of each group."""


def _groups(rows: Sequence[ClipRow], name_of: Callable[[ClipRow], str]) -> list[dict[str, Any]]:
    """The mean of the main figures, the group with most clips first."""
    groups: dict[str, list[ClipRow]] = {}
    for row in rows:
        groups.setdefault(name_of(row), []).append(row)
    told = []
    for name, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        means = summed(members)
        figures = {figure: _known(_mean(figure)(means)) for figure in GROUP_FIGURES}
        told.append({"name": name, "clips": len(members), "figures": figures})
    return told


def _row(row: ClipRow) -> dict[str, Any]:
    figures = {name: _known(value) for name, value in sorted(row.figures.items())}
    about = {"key": row.key, "identity": row.identity, "language": row.language, "split": row.split}
    return {**about, "frames": row.frames, "figures": figures}


def _finite(summary: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: {how: _known(value) for how, value in each.items()} for name, each in summary.items()}


def _known(value: float) -> float | None:
    """JSON has no NaN; four digits that count, so that two cards can be laid side by side."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
