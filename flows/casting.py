"""Casting: which faces speak the new sound, in which frames; and of every other frame of a face, the one reason why it
is left as it is.

By default the dub follows the source: whose mouth moved with the original sound has the turn (`preprocessing/speakers`
decides that). `segments` and `speaker_map` say otherwise where they are given. Names of people are resolved in
`speaker_names.py`; what becomes of a frame that is cast (a closed mouth may stay the source's) is the render worker's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing

from flows.hearing import Sound, Speeches
from flows.speaker_names import LookAt, identities_of, look_at
from flows.title import Title
from preprocessing.config import ClipConfig
from preprocessing.faces.base import Analysis, Shot
from preprocessing.faces.stretches import span_of
from preprocessing.pieces import Piece, pieces_of
from preprocessing.speakers.choose import NOBODY, shot_turns
from shards.commit import Receipt, SampleEntry
from shards.schema import F64, Rejection

MAX_UNIT_FRAMES = 250
"""The longest stretch rendered, retried and resumed as one."""
UNITS = ClipConfig(max_frames=MAX_UNIT_FRAMES, min_frames=1, jpeg_quality=98)
"""How a picture to be dubbed is cut into clips: every frame, at its own time."""
BRIDGED_S = 0.25
"""Shorter gaps between two turns of a face are dubbed as well: there and back would take longer to fade."""
REASONS = {
    "off": "`speaker_mode` is off",
    "interlaced": "the picture is interlaced, two moments in each frame; deinterlace it to have it dubbed",
    "outside_range": "it lies before `start_tc` or after `end_tc`",
    "excluded": "it lies in `exclude_ranges`",
    "not_seen": "the face is not seen",
    "unmapped_speaker": "no speaker of `speaker_map` or `segments` is known to be this face",
    "not_largest": "a larger face was taken to speak",
    "other_speaker": "somebody else has the turn",
    "not_speaking": "this face does not speak here: the voice is off screen, or there is none",
}
"""Why a face is left as it is; the first that holds is the one that is told."""
CAST = ""
"""In place of a reason: the frame is dubbed."""
Why = NDArray[np.str_]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A clip in which a face speaks."""

    entry: SampleEntry
    piece: Piece
    rows: tuple[tuple[int, int], ...]
    """Half-open row ranges of the clip in which it is dubbed."""
    sounds: tuple[Sound, ...]
    """What the face hears; nothing is silence."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cast:
    """Who speaks in a row."""

    parts: tuple[Part, ...]
    left: list[Rejection]
    """Every other stretch of every face, and why; in order of time."""
    problems: tuple[str, ...]
    """What the row asks of people who are not in this title."""


def cast_of(title: Title, analysis: Analysis, receipt: Receipt, speeches: Speeches, *, looks: LookAt = look_at) -> Cast:
    """The row's parts in the clips of its analysis; `receipt` is the analysis unit's."""
    casting = _Casting(title, analysis, speeches, looks)
    why = casting.decided()
    entries, parts = {entry.key: entry for entry in receipt.samples}, []
    for piece in pieces_of(analysis.tracks, UNITS):
        rows = runs(why[piece.number][piece.rows()] == CAST)
        entry = entries.get(piece.key(title.video_sha256, analysis.times))
        if rows and entry is not None:
            sounds = casting.sounds(piece.aligned.identity)
            parts.append(Part(entry=entry, piece=piece, rows=tuple(rows), sounds=sounds))
    return Cast(parts=tuple(parts), left=list(_left(analysis, why)), problems=casting.problems)


def runs(flags: Mask) -> list[tuple[int, int]]:
    """The half-open ranges in which `flags` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _left(analysis: Analysis, why: Sequence[Why]) -> Iterator[Rejection]:
    found = []
    for aligned, reasons in zip(analysis.tracks, why, strict=True):
        start = aligned.track.start
        for code in set(reasons.tolist()) - {CAST}:
            for a, b in runs(reasons == code):
                detail = f"{aligned.identity}: {REASONS[code]}"
                found.append(Rejection(code=code, detail=detail, span=span_of(analysis.times, start + a, start + b)))
    yield from sorted(found, key=lambda r: (r.span.start.pts if r.span else 0, r.detail))


@dataclass(slots=True)
class _Turn:
    """A segment, on the title's clock."""

    start_s: Fraction
    end_s: Fraction
    sound: Sound


@dataclass(slots=True)
class _Casting:
    """One row's decision, while it is made."""

    title: Title
    analysis: Analysis
    speeches: Speeches
    looks: LookAt
    problems: tuple[str, ...] = ()
    _at: F64 = field(init=False)
    """(N,) seconds of every frame on the title's clock."""
    _turns: dict[str, list[_Turn]] = field(init=False, default_factory=dict)
    """Identity -> its segments."""
    _mapped: frozenset[str] | None = field(init=False, default=None)
    """Identities that may speak; None: any."""

    def decided(self) -> list[Why]:
        """(T,) per track: a reason, or CAST."""
        times = self.analysis.times
        self._at = times.seconds() - float(times.at(0).seconds) if len(times) else np.empty(0)
        why = [np.full(len(t.track.landmarks), CAST, dtype="U16") for t in self.analysis.tracks]
        if self.title.row.speaker_mode != "off" and not self._is_interlaced:
            spoken = self._spoken()
            self._name_people(spoken)
            for shot, tracks in self._shots():
                self._decide_shot(shot, tracks, why, spoken)
        self._overrule(why)
        return why

    @property
    def _is_interlaced(self) -> bool:
        return self.title.info.video is not None and self.title.info.video.is_interlaced

    def sounds(self, identity: str) -> tuple[Sound, ...]:
        """What this face hears: its segments, or all of the row's sound."""
        if self.title.row.segments:
            return tuple(turn.sound for turn in self._turns.get(identity, ()))
        return (self._sound(),)

    # -- what the row says

    def _sound(self, audio: str | None = None, start_s: Fraction | None = None, end_s: Fraction | None = None) -> Sound:
        """The row's own track, or a stem of it: both begin with `audio_offset_ms`."""
        row = self.title.row
        return Sound(
            audio=audio or str(row.audio.resolve()),
            sha256=self.speeches.sha256(Path(audio)) if audio else self.title.audio_sha256,
            stream=None if audio else row.audio_stream,
            offset_ms=row.audio_offset_ms,
            start_s=start_s,
            end_s=end_s,
        )

    def _name_people(self, spoken: Sequence[Mask]) -> None:
        row = self.title.row
        named = identities_of(row, self.analysis, self._heard_with(spoken), self.looks)
        self.problems = named.problems
        if row.speaker_map or row.speaker_mode == "map":
            self._mapped = frozenset(named.identities.values())
        for segment in row.segments:
            if segment.speaker in named.identities:
                start_s, end_s = self.title.seconds(segment.start), self.title.seconds(segment.end)
                audio = str(segment.audio.resolve()) if segment.audio else None
                turn = _Turn(start_s, end_s, self._sound(audio, start_s, end_s))
                self._turns.setdefault(named.identities[segment.speaker], []).append(turn)

    def _heard_with(self, spoken: Sequence[Mask]) -> dict[str, dict[str, float]]:
        """Speaker -> identity -> frames in which that face speaks in the source during that speaker's segments."""
        votes: dict[str, dict[str, float]] = {}
        for segment in self.title.row.segments:
            inside = self._between(self.title.seconds(segment.start), self.title.seconds(segment.end))
            ballot = votes.setdefault(segment.speaker, {})
            for aligned, mask in zip(self.analysis.tracks, spoken, strict=True):
                track = aligned.track
                frames = float((mask & inside[track.start : track.stop]).sum())
                ballot[aligned.identity] = ballot.get(aligned.identity, 0.0) + frames
        return votes

    # -- what the source says

    def _shots(self) -> Iterator[tuple[Shot, list[int]]]:
        for shot in self.analysis.shots:
            tracks = [n for n, t in enumerate(self.analysis.tracks) if t.track.shot.index == shot.index]
            if tracks:
                yield shot, tracks

    def _is_voiced(self, start: int = 0, stop: int | None = None) -> bool:
        heard = self.analysis.heard
        return heard is not None and bool((heard.voice[start:stop] > 0).any())

    def _spoken(self) -> list[Mask]:
        """(T,) per track: in these frames it has the turn in the source."""
        spoken = [np.zeros(len(t.track.landmarks), dtype=bool) for t in self.analysis.tracks]
        if not self._is_voiced():
            return spoken
        for shot, tracks in self._shots():
            chosen = shot_turns(self.analysis, shot, tracks)
            for place, number in enumerate(tracks):
                track = self.analysis.tracks[number].track
                spoken[number] = chosen[track.start - shot.start : track.stop - shot.start] == place
        return spoken

    # -- the decision

    def _decide_shot(self, shot: Shot, tracks: list[int], why: list[Why], spoken: list[Mask]) -> None:
        may = [n for n in tracks if self._mapped is None or self.analysis.tracks[n].identity in self._mapped]
        for number in set(tracks) - set(may):
            why[number][:] = "unmapped_speaker"
        row = self.title.row
        if row.segments:
            self._decide_by_segments(may, why, spoken)
        elif row.speaker_mode == "largest" or not self._is_voiced():
            self._decide_by_size(may, why)
        else:
            self._decide_by_turns(shot, tracks, may, why, spoken)

    def _decide_by_segments(self, may: list[int], why: list[Why], spoken: list[Mask]) -> None:
        """In its own segments; and where it speaks in the source, so that no mouth moves to a line that is gone."""
        for number in may:
            aligned = self.analysis.tracks[number]
            frames = slice(aligned.track.start, aligned.track.stop)
            if aligned.identity not in self._turns:
                why[number][:] = "unmapped_speaker"
                continue
            mine = spoken[number].copy()
            others = np.zeros(len(mine), dtype=bool)
            for identity, turns in self._turns.items():
                for turn in turns:
                    inside = self._between(turn.start_s, turn.end_s)[frames]
                    mine, others = (mine | inside, others) if identity == aligned.identity else (mine, others | inside)
            why[number][:] = np.where(self._bridged(mine), CAST, np.where(others, "other_speaker", "not_speaking"))

    def _decide_by_size(self, may: list[int], why: list[Why]) -> None:
        """The person with the most picture in the shot."""
        amount: dict[str, float] = {}
        for number in may:
            aligned = self.analysis.tracks[number]
            size = float((1 / aligned.transform.scale()).sum())
            amount[aligned.identity] = amount.get(aligned.identity, 0.0) + size
        for number in may:
            if self.analysis.tracks[number].identity != max(amount, key=lambda name: (amount[name], name)):
                why[number][:] = "not_largest"

    def _decide_by_turns(
        self, shot: Shot, tracks: list[int], may: list[int], why: list[Why], spoken: list[Mask]
    ) -> None:
        people = {self.analysis.tracks[n].identity for n in tracks}
        if len(people) == 1:
            if not self._alone_speaks(shot, tracks, spoken):
                for number in may:
                    why[number][:] = "not_speaking"
            return
        by_frame = np.full(shot.stop - shot.start, NOBODY)
        for number in tracks:
            start = self.analysis.tracks[number].track.start - shot.start
            by_frame[start : start + len(spoken[number])][spoken[number]] = number
        for number in may:
            start = self.analysis.tracks[number].track.start - shot.start
            turn = by_frame[start : start + len(spoken[number])]
            mine = self._bridged(turn == number)
            why[number][:] = np.where(mine, CAST, np.where(turn == NOBODY, "not_speaking", "other_speaker"))

    def _alone_speaks(self, shot: Shot, tracks: list[int], spoken: list[Mask]) -> bool:
        """A person alone in the shot, who speaks anywhere in it; or nobody is heard in it, and it is one who speaks in
        this title: then the new line may reach into a pause of the old one."""
        if any(spoken[number].any() for number in tracks):
            return True
        name = self.analysis.tracks[tracks[0]].identity
        speaks = any(s.any() for s, t in zip(spoken, self.analysis.tracks, strict=True) if t.identity == name)
        return speaks and not self._is_voiced(shot.start, shot.stop)

    def _overrule(self, why: list[Why]) -> None:
        """What holds whoever speaks; the later of these is told before the earlier."""
        row, every = self.title.row, np.ones(len(self._at), dtype=bool)
        excluded, outside = ~every, ~every
        for start, end in row.excluded:
            excluded |= self._between(self.title.seconds(start), self.title.seconds(end))
        if row.start is not None:
            outside |= ~self._between(self.title.seconds(row.start), None)
        if row.end is not None:
            outside |= ~self._between(Fraction(0), self.title.seconds(row.end))
        for aligned, reasons in zip(self.analysis.tracks, why, strict=True):
            frames = slice(aligned.track.start, aligned.track.stop)
            reasons[~aligned.track.landmarks.seen()] = "not_seen"
            reasons[excluded[frames]] = "excluded"
            reasons[outside[frames]] = "outside_range"
            if self._is_interlaced:
                reasons[:] = "interlaced"
            if row.speaker_mode == "off":
                reasons[:] = "off"

    def _between(self, start_s: Fraction, end_s: Fraction | None) -> Mask:
        """(N,) frames that are shown from `start_s` on and before `end_s`; a microsecond forgives binary fractions."""
        inside = self._at >= float(start_s) - 1e-6
        return inside if end_s is None else inside & (self._at < float(end_s) - 1e-6)

    def _bridged(self, mine: Mask) -> Mask:
        step = float(np.median(np.diff(self._at))) if len(self._at) > 1 else BRIDGED_S
        width = max(1, round(BRIDGED_S / step))
        padded = np.pad(mine, width)
        out: Mask = binary_closing(padded, np.ones(width + 1, dtype=bool))[width:-width]
        return out
