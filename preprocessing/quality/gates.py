"""Thresholds on stored scores: keep a clip, or reject it with the value, the threshold and a reason for people.

Each gate sees one clip. That two clips show the same is decided over the whole set, by `duplicates.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from preprocessing.config import QualityConfig
from shards.schema import Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One score against one threshold."""

    score: str
    threshold: str
    """Field of `QualityConfig`; what equals it is kept."""
    side: Literal["at least", "at most"]
    code: str
    detail: str
    """For people, with {value} and {limit}."""

    def fails(self, value: float, limit: float) -> bool:
        return value < limit if self.side == "at least" else value > limit


def _least(score: str, threshold: str, code: str, detail: str) -> Gate:
    return Gate(score=score, threshold=threshold, side="at least", code=code, detail=detail)


def _most(score: str, threshold: str, code: str, detail: str) -> Gate:
    return Gate(score=score, threshold=threshold, side="at most", code=code, detail=detail)


GATES = (
    _least("face_px", "min_face_px", "face_too_small", "the face is {value:.0f} px high, {limit:.0f} are needed"),
    _least("seen", "min_seen", "face_lost", "the face is seen in {value:.0%} of the frames, not {limit:.0%}"),
    _most("faces", "max_faces", "crowded", "{value:.0f} people are in the picture, at most {limit:.0f} may"),
    _most("yaw", "max_yaw_deg", "turned_away", "the head turns {value:.0f} degrees aside, at most {limit:.0f} may"),
    _most("pitch", "max_pitch_deg", "tipped", "the head turns {value:.0f} degrees up or down, at most {limit:.0f} may"),
    _least("mouth_visible", "min_mouth_visible", "mouth_hidden", "half of the mouth is {value:.2f} of the other half"),
    _least("mouth_inside", "min_mouth_inside", "mouth_cut_off", "{value:.0%} of the mouth is in the picture"),
    _least("confidence", "min_confidence", "uncertain", "the landmarks' confidence falls to {value:.2f}"),
    _least("uncovered", "min_uncovered", "covered", "at one moment the mouth is like itself by {value:.2f} only"),
    _least("lip_edges", "min_lip_edges", "mouth_covered", "the lips stand out from the skin by {value:.2f} only"),
    _least("sharpness", "min_sharpness", "blurred", "sharpness is {value:.2f}, {limit:.2f} is needed"),
    _most("silence", "max_silence", "silent", "{value:.0%} of the clip has no voice, at most {limit:.0%} may"),
    _least("loudness_lufs", "min_loudness_lufs", "too_quiet", "{value:.0f} LUFS, {limit:.0f} are needed"),
    _least(
        "speaking", "min_speaking", "not_speaking", "the mouth moves in {value:.0%} of what is said, not {limit:.0%}"
    ),
)
"""In the order in which they are asked: the first that fails names the clip."""
_OFFSET_LIMITS = (("max", "offset_s"), ("min", "confidence"))
"""Fields of `QualityConfig` about an offset, with the measure's name between."""


def judge(scores: Mapping[str, float], config: QualityConfig) -> Rejection | None:
    """The first gate the clip fails, or None to keep it. A score that was not measured is not judged."""
    for gate in GATES:
        value, limit = scores.get(gate.score), float(getattr(config, gate.threshold))
        if value is not None and gate.fails(value, limit):
            detail = gate.detail.format(value=value, limit=limit)
            return Rejection(code=gate.code, detail=detail, value=value, threshold=limit)
    return _out_of_sync(scores, config, "av") or _out_of_sync(scores, config, "sync")


def _out_of_sync(
    scores: Mapping[str, float], config: QualityConfig, measure: Literal["av", "sync"]
) -> Rejection | None:
    """An offset counts when it was found with confidence: a short clip says little about it.

    The built-in measure and the expert each have their own scores and thresholds of the same form.
    """
    offset = abs(scores.get(f"{measure}_offset_s", 0.0))
    limit, sure = (float(getattr(config, f"{name}_{measure}_{what}")) for name, what in _OFFSET_LIMITS)
    if offset <= limit or scores.get(f"{measure}_confidence", 0.0) < sure:
        return None
    by = {"av": "", "sync": " by the sync expert"}[measure]
    detail = f"sound and lips are {1000 * offset:.0f} ms apart{by}, at most {1000 * limit:.0f} may"
    return Rejection(code="out_of_sync", detail=detail, value=offset, threshold=limit)
