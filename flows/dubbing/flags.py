"""Flags: what somebody should look at before a title goes out, how badly, and where.

    Blocker   not to be delivered: part of the title is missing, or is not dubbed for a reason that is not the footage's
    Issue     to be judged by a person
    FYI       nothing to do: what was left as it was, and what was put into the file otherwise than it was delivered

Owns the rules and their thresholds. Scores are stored with the renders, so a threshold moves without rendering again.
What is flagged is put together by `account.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["FYI", "Issue", "Blocker"]
SEVERITIES: tuple[Severity, ...] = ("Blocker", "Issue", "FYI")
"""The gravest first."""
Raised = tuple[str, Severity, str]
"""Code, severity, detail."""
BROKEN = {"truncated", "unreadable", "frame_count", "bad_timestamps"}
"""Codes of pictures that break off."""
TOLD = {
    "no_face",
    "face_too_small",
    "too_short",
    "not_seen",
    "unmapped_speaker",
    "silent_closed",
    "own_sound",
    "interlaced",
}
"""Reasons that are told as FYI; the others are what the row asked for, or who has the turn."""


class FlagConfig(BaseModel):
    """From where on a score is a flag. A threshold that is moved takes effect on what was rendered before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_sync_share: float = Field(
        0.4, ge=0, le=1, description="of the source's own correlation of lips and sound; with less the dub is off"
    )
    least_sync_confidence: float = Field(
        0.2, ge=0, description="from which a measure of sync is believed, the source's and the dub's alike"
    )
    max_offset_frames: float = Field(2.0, ge=0, description="between lips and new speech, either way")
    max_seam: float = Field(
        6.0,
        ge=1,
        description="slope of brightness across the border of the new mouth over the source's; up to 4.8 no seam was"
        " seen in ten real clips, since a chin that moves counts as one",
    )
    least_identity: float = Field(0.85, ge=-1, le=1, description="likeness of the made lower face to the source's")
    max_flicker: float = Field(1.6, ge=1, description="of what is generated, over the source's, inside or outside")
    least_sharpness: float = Field(0.5, ge=0, description="fine detail over the source's; below is told as FYI")


def shot_flags(shot: Mapping[str, Any], rate: float, config: FlagConfig) -> Iterator[Raised]:
    """What a shot's scores say; a score that is None was not measured and says nothing."""
    yield from _sync_flags(shot, rate, config)
    if (seam := shot["seam"]) is not None and seam > config.max_seam:
        yield "seam_visible", "Issue", f"the border of the new mouth stands out: {seam:.2f} (up to {config.max_seam:g})"
    if (identity := shot["identity"]) is not None and identity < config.least_identity:
        yield "identity_low", "Issue", f"likeness to the person is {identity:.2f}, {config.least_identity:g} is asked"
    for where, said in (("inside", "the mouth"), ("outside", "the skin around the mouth")):
        if (flicker := shot[f"flicker_{where}"]) is not None and flicker > config.max_flicker:
            yield "flicker_high", "Issue", f"{said} flickers {flicker:.1f} times as much as in the source"
    if (sharpness := shot["sharpness"]) is not None and sharpness < config.least_sharpness:
        yield "soft", "FYI", f"the new mouth has {sharpness:.0%} of the source's fine detail"


def _sync_flags(shot: Mapping[str, Any], rate: float, config: FlagConfig) -> Iterator[Raised]:
    own, made, offset_s = shot["source_sync"], shot["sync"], shot["sync_offset_s"]
    is_own_sure, is_sure = (
        (shot[name] or 0.0) >= config.least_sync_confidence for name in ("source_sync_confidence", "sync_confidence")
    )
    # A source whose own lips and sound do not fit tells nothing of what can be reached.
    if is_own_sure and own is not None and made is not None and made < config.least_sync_share * own:
        yield "sync_low", "Issue", f"lips and new speech fit at {made:.2f}, the source's own at {own:.2f}"
    if is_sure and offset_s is not None and abs(offset_s) * rate > config.max_offset_frames:
        late = "after" if offset_s > 0 else "before"
        yield "sync_offset", "Issue", f"the new speech is heard {abs(offset_s) * rate:.1f} frames {late} the lips"


def title_flags(
    dubbed_frames: int, mode: str, problems: Sequence[str], rejections: Sequence[tuple[str, str]]
) -> Iterator[Raised]:
    """What is said of a title as a whole; `rejections` are (code, detail) without a place."""
    if dubbed_frames == 0:
        severity: Severity = "FYI" if mode == "off" else "Issue"
        yield "nothing_changed", severity, "no frame was changed" + (": `speaker_mode` is off" if mode == "off" else "")
    for problem in problems:
        yield "speaker_unknown", "Issue", problem
    for code, detail in rejections:
        if code in BROKEN:
            yield "picture_broke_off", "Blocker", f"{code}: {detail}"
        elif code in TOLD:
            yield code, "FYI", detail


def file_flags(details: Mapping[str, Any]) -> Iterator[Raised]:
    """What the stages that made the file say of it."""
    if (cut_s := details.get("speech_cut_s")) is not None and cut_s > 0:
        yield "speech_cut", "Issue", f"the speech is {cut_s:.3f} s longer than the picture; its end is cut"
    for note in details.get("notes", ()):
        yield "note", "FYI", note
