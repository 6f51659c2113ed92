"""What each rejection code means and what would change it, for people. The codes are the media room's own.

Of a threshold both are told by its gate and its setting, so a gate that is added is explained as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from preprocessing.config import QualityConfig
from preprocessing.quality.gates import GATES
from shards.schema import Rejection


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, explained."""

    meaning: str
    remedy: str


_MEND = "nothing here: mend, re-mux or re-encode the file"
_QUALITY = "clips.quality."
_REASONS = {
    # -- the file was not read
    "no_permission": Reason("this program may not read it", "the permissions of the file or its folder"),
    "link_outside": Reason("a link that leads out of the folder", "name what it leads to as a source"),
    "link_folder": Reason("a link to a folder", "name the folder as a source"),
    "dead_link": Reason("a link that leads nowhere", "mend or remove the link"),
    "not_a_file": Reason("a pipe, socket or device", "take it out of the sources"),
    "unreadable_name": Reason("the name is not UTF-8", "rename the file"),
    "vanished": Reason("the file went while it was looked at", "run again"),
    "being_written": Reason("the file changed while it was looked at", "run again when it is complete"),
    # -- the file cannot be used at all
    "empty_file": Reason("the file has no bytes", _MEND),
    "not_media": Reason("neither picture nor sound was found in the file", "take it out of the sources"),
    "truncated": Reason("the file ends before its contents do", _MEND),
    "unreadable": Reason("the picture or the sound cannot be decoded", _MEND),
    "bad_timestamps": Reason("the file does not say clearly when its frames are shown", _MEND),
    "frame_count": Reason("the file holds more pictures than it says", _MEND),
    "mirrored": Reason("the player is asked to mirror the picture", _MEND),
    "tilted": Reason("the player is asked to turn the picture by an angle that is no quarter turn", _MEND),
    "no_video": Reason("there is no moving picture", "take it out of the sources"),
    "no_audio": Reason("there is no sound to learn from", "clips.on_missing_speech: keep"),
    # -- no clip can be cut from it
    "no_face": Reason("no face was found", "clips.faces.min_height_px, where faces are there but small"),
    "too_short": Reason("the face is followed for too few frames", "clips.clip.min_frames"),
}
_BESIDE_GATES = {
    "face_too_small": Reason(
        "the face is too low in the source", f"{_QUALITY}min_face_px, or clips.faces.min_height_px where none was cut"
    ),
    "out_of_sync": Reason("sound and lips are apart", f"{_QUALITY}max_av_offset_s or {_QUALITY}min_av_confidence"),
    "duplicate": Reason("another clip that shows the same was taken", f"{_QUALITY}max_twin_bits"),
}
"""Decided by more, or in more places, than one gate."""
_UNKNOWN = Reason("the example says what was found", "the example says what was needed")


def reason_of(code: str, example: Rejection | None) -> Reason:
    """The code's meaning and remedy, with the limit that held; a code that is not listed is told by its example."""
    reason = _BESIDE_GATES.get(code) or _of_gate(code)
    # Of a file that cannot be used nothing was measured: one code may be in both.
    if reason is None or (code in _REASONS and (example is None or example.threshold is None)):
        reason = _REASONS.get(code, _UNKNOWN)
    if example is None or example.threshold is None:
        return reason
    return Reason(reason.meaning, f"{reason.remedy}; the limit was {example.threshold:g}")


def _of_gate(code: str) -> Reason | None:
    gate = next((gate for gate in GATES if gate.code == code), None)
    if gate is None:
        return None
    found = "too low" if gate.side == "at least" else "too high"
    description = QualityConfig.model_fields[gate.threshold].description
    return Reason(f"{gate.score} is {found}: {description}", f"{_QUALITY}{gate.threshold}")
