"""Thresholds on stored scores: keep a clip, or reject it with the value, the threshold and a reason for people."""

from __future__ import annotations

from collections.abc import Mapping

from preprocessing.config import QualityConfig
from shards.schema import Rejection


def judge(scores: Mapping[str, float], config: QualityConfig) -> Rejection | None:
    """The first gate the clip fails, or None to keep it. A score that was not measured is not judged."""
    lowest = (
        ("face_px", config.min_face_px, "face_too_small", "the face is {value:.0f} px high, {limit:.0f} are needed"),
        ("sharpness", config.min_sharpness, "blurred", "sharpness is {value:.1f}, {limit:.1f} is needed"),
        ("seen", config.min_seen, "face_lost", "the face is seen in {value:.0%} of the frames, not {limit:.0%}"),
    )
    for name, limit, code, detail in lowest:
        value = scores.get(name)
        if value is not None and value < limit:
            return Rejection(code=code, detail=detail.format(value=value, limit=limit), value=value, threshold=limit)
    silence, limit = scores.get("silence"), config.max_silence
    if silence is not None and silence > limit:
        detail = f"{silence:.0%} of the clip has no voice, at most {limit:.0%} may"
        return Rejection(code="silent", detail=detail, value=silence, threshold=limit)
    return None
