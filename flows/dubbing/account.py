"""The account of a dubbed title: shot by shot what was done, why not more, how well, and what to look at.

Plain values, made from the analysis, the casting and the records of the renders; nothing is measured here. Which scores
are flags is `flags.py`'s, the report's pages and files are `flows/report`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from flows.casting import Cast
from flows.dubbing.flags import (
    BROKEN,
    SEVERITIES,
    TOLD,
    FlagConfig,
    Raised,
    file_flags,
    shot_flags,
    title_flags,
)
from flows.dubbing.timecode import Timecodes, frames_of
from flows.title import Title
from preprocessing.faces.base import Analysis, Shot
from shards.commit import Quarantine, Receipt, Unit
from shards.schema import I64

Status = Literal["succeeded", "succeeded_with_flags", "needs_review"]
Mask = NDArray[np.bool_]
_T = TypeVar("_T")
_ByShot = defaultdict[int, _T]
"""Shot index -> what there is in it."""
NOT_RENDERED = "not_rendered"
_MEANS = {
    "sync": "made_av_corr",
    "source_sync": "source_av_corr",
    "identity": "identity",
    "flicker_inside": "flicker_inside",
    "flicker_outside": "flicker_outside",
    "sharpness": "sharpness_ratio",
}
"""A shot's score -> the renders' whose mean it is, each render counted by its frames."""


def account(
    title: Title,
    analysis: Analysis,
    analysed: Receipt,
    cast: Cast,
    renders: Sequence[tuple[Unit, Receipt | Quarantine | None]],
    details: Mapping[str, Any],
    flags: FlagConfig | None = None,
) -> dict[str, Any]:
    """What became of the title's frames, and what to look at.

    `details` are of the stages that make the file. Read of them, where they are there: `chunks` [{start, stop, object}]
    (no object: copied from the source), `seams` [{start, stop, contrast}], `speech_cut_s` and `notes`.
    """
    work = _Account(title=title, analysis=analysis, config=flags or FlagConfig())
    work.take_reasons(analysed, cast)
    work.take_renders(renders)
    work.take_details(details)
    shots = [work.shot(shot) for shot in analysis.shots]
    asked = work.wanted & ~work.silent
    return {
        "shots": shots,
        "flags": work.flags(shots, cast.problems, details),
        "coverage": round(float((work.dubbed & asked).sum() / asked.sum()), 4) if asked.any() else None,
        "left_alone": [reason.told(work) for reason in sorted(work.reasons, key=lambda r: (r.start, r.stop, r.code))],
    }


def with_file_flags(told: Mapping[str, Any], title: Title, details: Mapping[str, Any]) -> dict[str, Any]:
    """The account with what the finished file's receipt says, which is not known while it is planned."""
    clock, stop = Timecodes.of(title), title.num_frames
    flags = [_flag(raised, 0, stop, clock.at(0), clock.at(stop), None) for raised in file_flags(details)]
    known = [(flag["code"], flag["detail"]) for flag in told["flags"]]
    return {**told, "flags": _ordered([*told["flags"], *(f for f in flags if (f["code"], f["detail"]) not in known)])}


def status_of(flags: Sequence[Mapping[str, Any]]) -> tuple[Status, str | None]:
    """Of a finished title, and why: its gravest flags."""
    for severity, status in (("Blocker", "needs_review"), ("Issue", "succeeded_with_flags")):
        if found := [flag for flag in flags if flag["severity"] == severity]:
            more = f", and {len(found) - 1} more of this severity" if len(found) > 1 else ""
            return status, f"{found[0]['tc_in']}: {found[0]['detail']}{more}"  # type: ignore[return-value]
    return "succeeded", None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reason:
    """A stretch of one face, or of the picture, that was left as it was."""

    code: str
    detail: str
    start: int
    stop: int

    def told(self, work: _Account) -> dict[str, Any]:
        where = {"start": self.start, "stop": self.stop, "tc_in": work.tc(self.start), "tc_out": work.tc(self.stop)}
        return {"code": self.code, "detail": self.detail, **where}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Render:
    """A clip that was drawn."""

    frames: int
    scores: Mapping[str, float]


@dataclass(slots=True, kw_only=True)
class _Account:
    """A title's account while it is made."""

    title: Title
    analysis: Analysis
    config: FlagConfig
    reasons: list[_Reason] = field(default_factory=list)
    nowhere: list[tuple[str, str]] = field(default_factory=list)
    """(code, detail) that are about the whole title."""
    people: _ByShot[set[str]] = field(default_factory=lambda: defaultdict(set))
    reasons_in: _ByShot[list[_Reason]] = field(default_factory=lambda: defaultdict(list))
    renders_in: _ByShot[list[_Render]] = field(default_factory=lambda: defaultdict(list))
    seams_in: _ByShot[list[float]] = field(default_factory=lambda: defaultdict(list))
    dubbed: Mask = field(init=False)
    wanted: Mask = field(init=False)
    """(N,) a face was cast to speak."""
    silent: Mask = field(init=False)
    """(N,) of those, left closed because nothing is said."""
    copied: Mask = field(init=False)
    clock: Timecodes = field(init=False)
    starts: I64 = field(init=False)
    """(shots,) first frames."""

    def __post_init__(self) -> None:
        self.clock = Timecodes.of(self.title)
        self.starts = np.array([shot.start for shot in self.analysis.shots], dtype=np.int64)
        for aligned in self.analysis.tracks:
            self.people[aligned.track.shot.index].add(aligned.identity)
        self.dubbed, self.wanted, self.silent, self.copied = np.zeros((4, len(self.analysis.times)), dtype=bool)

    def tc(self, frame: int) -> str:
        return self.clock.at(frame, self.analysis.times)

    # -- what is known

    def take_reasons(self, analysed: Receipt, cast: Cast) -> None:
        for rejection in (*analysed.rejections, *cast.left):
            if rejection.span is None:
                self.nowhere.append((rejection.code, rejection.detail))
                continue
            start, stop = frames_of(self.analysis.times, rejection.span.start.seconds, rejection.span.end.seconds)
            self._leave(rejection.code, rejection.detail, start, stop)
        for part in cast.parts:
            for start, stop in part.rows:
                self.wanted[part.piece.start + start : part.piece.start + stop] = True

    def take_renders(self, renders: Iterable[tuple[Unit, Receipt | Quarantine | None]]) -> None:
        for unit, result in renders:
            track = self.analysis.tracks[unit.payload["track"]].track
            first = track.start + unit.payload["first"]
            if not isinstance(result, Receipt) or not result.is_kept:
                why = _why_not(result)
                for start, stop in unit.payload["rows"]:
                    self._leave(NOT_RENDERED, why, first + start, first + stop)
                continue
            for start, stop in result.details["rows"]:
                self.dubbed[first + start : first + stop] = True
            for kept in result.details.get("kept", ()):
                for start, stop in kept["rows"]:
                    self._leave(kept["code"], kept["detail"], first + start, first + stop)
                    self.silent[first + start : first + stop] = True
            frames = sum(stop - start for start, stop in result.details["rows"])
            scores = result.samples[0].scores if result.samples else {}
            if frames:
                self.renders_in[track.shot.index].append(_Render(frames=frames, scores=scores))

    def take_details(self, details: Mapping[str, Any]) -> None:
        for chunk in details.get("chunks", ()):
            if chunk.get("object") is None:
                self.copied[chunk["start"] : chunk["stop"]] = True
        for seam in details.get("seams", ()):
            for shot in self._shots(seam["start"], seam["stop"]):
                self.seams_in[shot.index].append(float(seam["contrast"]))

    def _leave(self, code: str, detail: str, start: int, stop: int) -> None:
        reason = _Reason(code=code, detail=detail, start=start, stop=stop)
        self.reasons.append(reason)
        for shot in self._shots(start, stop):
            self.reasons_in[shot.index].append(reason)

    def _shots(self, start: int, stop: int) -> tuple[Shot, ...]:
        """Those that frames [start, stop) are in."""
        first, last = np.searchsorted(self.starts, [start, stop - 1], side="right")
        return self.analysis.shots[max(int(first) - 1, 0) : int(last)] if start < stop else ()

    # -- what is told

    def shot(self, shot: Shot) -> dict[str, Any]:
        frames = slice(shot.start, shot.stop)
        dubbed = int(self.dubbed[frames].sum())
        told = {
            "index": shot.index,
            "start": shot.start,
            "stop": shot.stop,
            "tc_in": self.tc(shot.start),
            "tc_out": self.tc(shot.stop),
            "decision": _decision(dubbed, shot.stop - shot.start, bool(self.copied[frames].all())),
            "reasons": self._reasons_in(shot),
            "faces": len(self.people[shot.index]),
            "dubbed_frames": dubbed,
            **self._scores_in(shot),
        }
        found = {raised[0] for raised, _ in self._raised(told)}
        return {**told, "flags": sorted(found)}

    def _reasons_in(self, shot: Shot) -> list[dict[str, Any]]:
        """By code, the commonest first."""
        found: dict[str, tuple[dict[str, None], Mask]] = {}
        for reason in self.reasons_in[shot.index]:
            start, stop = max(reason.start, shot.start), min(reason.stop, shot.stop)
            if start < stop:
                details, where = found.setdefault(reason.code, ({}, np.zeros(shot.stop - shot.start, dtype=bool)))
                details[reason.detail] = None
                where[start - shot.start : stop - shot.start] = True
        told = []
        for code, (details, where) in found.items():
            first, last = np.flatnonzero(where)[[0, -1]] + shot.start
            place = {"start": int(first), "stop": int(last) + 1}
            told.append({"code": code, "detail": "; ".join(details), "frames": int(where.sum()), **place})
        return sorted(told, key=lambda reason: (-reason["frames"], reason["code"]))

    def _scores_in(self, shot: Shot) -> dict[str, float | None]:
        renders = self.renders_in[shot.index]
        told = {name: _mean(renders, score) for name, score in _MEANS.items()}
        surest = max(renders, key=lambda r: r.scores.get("made_av_confidence", -1.0), default=None)
        made = surest.scores if surest is not None else {}
        return {
            **told,
            "sync_offset_s": made.get("made_av_offset_s"),
            "sync_confidence": made.get("made_av_confidence"),
            "source_sync_confidence": _mean(renders, "source_av_confidence"),
            "change": _mean(renders, "change"),
            "seam": max(self.seams_in[shot.index], default=None),
        }

    def _raised(self, shot: Mapping[str, Any]) -> Iterator[tuple[Raised, Mapping[str, Any]]]:
        """What is raised in a shot, and what it is about: some of its frames, or all."""
        for reason in shot["reasons"]:
            as_were = f"{reason['frames']} frames are as they were: {reason['detail']}"
            if reason["code"] == NOT_RENDERED:
                yield (NOT_RENDERED, "Blocker", as_were), reason
            elif reason["code"] in BROKEN:
                yield ("picture_broke_off", "Blocker", reason["detail"]), reason
            elif reason["code"] in TOLD:
                yield (reason["code"], "FYI", as_were), reason
        for raised in shot_flags(shot, float(self.clock.rate), self.config):
            yield raised, shot

    def flags(
        self, shots: Sequence[Mapping[str, Any]], problems: Sequence[str], details: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        whole = 0, len(self.dubbed), self.tc(0), self.tc(len(self.dubbed))
        mode = self.title.row.speaker_mode
        raised = [
            *title_flags(int(self.dubbed.sum()), mode, problems, self.nowhere),
            *file_flags(details),
        ]
        flags = [_flag(each, *whole, None) for each in raised]
        for shot in shots:
            for each, about in self._raised(shot):
                start, stop = about["start"], about["stop"]
                flags.append(_flag(each, start, stop, self.tc(start), self.tc(stop), shot["index"]))
        return _ordered(flags)


def _why_not(result: Receipt | Quarantine | None) -> str:
    if result is None:
        return "it was not rendered yet; run the same command again"
    if isinstance(result, Quarantine):
        return f"{result.error_class}: {result.message}"
    return "; ".join(f"{r.code}: {r.detail}" for r in result.rejections)


def _decision(dubbed: int, frames: int, is_copied: bool) -> str:
    if dubbed:
        return "dubbed" if dubbed == frames else "partly"
    return "copied" if is_copied else "left"


def _mean(renders: Sequence[_Render], score: str) -> float | None:
    known = [(render.frames, render.scores[score]) for render in renders if score in render.scores]
    if not known:
        return None
    return round(sum(frames * value for frames, value in known) / sum(frames for frames, _ in known), 4)


def _flag(raised: Raised, start: int, stop: int, tc_in: str, tc_out: str, shot: int | None) -> dict[str, Any]:
    code, severity, detail = raised
    where = {"start": start, "stop": stop, "tc_in": tc_in, "tc_out": tc_out, "shot": shot}
    return {"code": code, "severity": severity, **where, "detail": detail}


def _ordered(flags: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The gravest first, then as they come in the title."""
    return sorted(flags, key=lambda flag: (SEVERITIES.index(flag["severity"]), flag["start"], flag["code"]))
