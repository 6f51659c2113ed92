"""A row of the report in figures: what the overview, the results table and the page's head tell of an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

MEANS = ("sync", "source_sync", "identity", "flicker_inside", "flicker_outside", "sharpness")
DECISIONS = ("dubbed", "partly", "left", "copied")
_COUNTS = {"blockers": "Blocker", "issues": "Issue", "fyis": "FYI"}


def figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers; None where nothing was measured."""
    shots, flags = row["shots"], row["flags"]
    seams = [shot["seam"] for shot in shots if shot["seam"] is not None]
    return {
        **{name: sum(flag["severity"] == severity for flag in flags) for name, severity in _COUNTS.items()},
        "shots": len(shots),
        **{f"shots_{name}": sum(shot["decision"] == name for shot in shots) for name in DECISIONS},
        "dubbed_frames": row["rendered_frames"],
        "coverage": row.get("coverage"),
        **{name: _mean(shots, name) for name in MEANS},
        "seam": max(seams, default=None),
        "speech_lufs": row["loudness"].get("speech_lufs"),
        "source_lufs": row["loudness"].get("source_lufs"),
    }


def frame_rate(row: Mapping[str, Any]) -> float | None:
    """Frames a second of the picture, however it is written."""
    return float(Fraction(str(row["fps"]))) if row["fps"] else None


def _mean(shots: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Over the shots in which it was measured, each counted by its dubbed frames."""
    known = [(shot["dubbed_frames"], shot[name]) for shot in shots if shot[name] is not None and shot["dubbed_frames"]]
    if not known:
        return None
    return float(sum(frames * value for frames, value in known) / sum(frames for frames, _ in known))
