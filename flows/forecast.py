"""What a dry run tells of the work ahead: frames, faces to draw, time, rows that need nothing.

Everything is read from the probes and from the store's own records. What is not known yet is told as the most it may
be, or not at all, and said so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from flows.casting import MAX_UNIT_FRAMES
from flows.pace import at_once, paces
from flows.title import Title
from shards.commit import Ledger, Receipt, Unit

Work = dict[str, tuple[int, int]]
"""Stage -> (frames, units) to be done."""


class Known(Protocol):
    """What the records of a run say of its titles."""

    @property
    def ledger(self) -> Ledger: ...

    def analysed(self, title: Title) -> Receipt | None: ...

    def renders(self, title: Title) -> Sequence[Unit]: ...

    def is_current(self, title: Title) -> bool: ...


def forecast(titles: Sequence[Title], known: Known | None) -> dict[str, Any]:
    """The figures of a dry run; `known` is None where nothing was ever done for this output."""
    current = frozenset(t.row.output for t in titles if known is not None and known.is_current(t))
    pending = [title for title in titles if title.row.output not in current]
    seen, unseen = list[Title](), list[Title]()
    for title in pending:
        (unseen if known is None or known.analysed(title) is None else seen).append(title)
    units = _to_render(known, seen) if known is not None else []
    face_frames = sum(map(_rows, units)) + sum(map(most_face_frames, unseen))
    work = _work(pending, unseen, len(units), face_frames)
    seconds, said = _seconds(known, work)
    return {
        "titles": len({title.row.title_id for title in titles}),
        "outputs": len(titles),
        "frames": sum(title.num_frames for title in titles),
        "frames_to_do": sum(title.num_frames for title in pending),
        "face_frames": face_frames,
        "face_frames_said": _said(pending, unseen),
        "units": sum(count for _, count in work.values()),
        "estimated_seconds": seconds,
        "estimate_said": said,
        "up_to_date": len(current),
        "rows": [_row(title, is_current=title.row.output in current) for title in titles],
    }


def _row(title: Title, *, is_current: bool) -> dict[str, Any]:
    return {
        "title_id": title.row.title_id,
        "language": title.row.language,
        "output": title.row.output,
        "frames": title.num_frames,
        "duration_s": round(float(title.info.duration_s), 3),
        "is_up_to_date": is_current,
    }


def most_face_frames(title: Title) -> int:
    """Before anybody has looked: one face that speaks in every frame of the part that is to be dubbed."""
    row, video = title.row, title.info.video
    if row.speaker_mode == "off" or video is None:
        return 0
    first = title.seconds(row.start) * video.frame_rate if row.start else 0
    last = title.seconds(row.end) * video.frame_rate if row.end else title.num_frames
    return max(0, min(round(last), title.num_frames) - round(first))


def _to_render(known: Known, titles: Sequence[Title]) -> list[Unit]:
    """The clips that nobody drew or gave up yet; what rows share is counted once."""
    units = {unit.unit_id: unit for title in titles for unit in known.renders(title)}
    return [unit for unit in units.values() if known.ledger.decision(unit.unit_id) is None]


def _rows(unit: Unit) -> int:
    return sum(stop - start for start, stop in unit.payload["rows"])


def _pieces(title: Title) -> int:
    return -(-title.num_frames // MAX_UNIT_FRAMES)


def _said(pending: Sequence[Title], unseen: Sequence[Title]) -> str:
    if not pending:
        return "nothing is to be done"
    if not unseen:
        return "counted: every picture is analysed"
    of = f"{len(unseen)} of {len(pending)} outputs wait for the analysis of their picture"
    return f"at most, if one speaks at a time: {of}"


def _work(pending: Sequence[Title], unseen: Sequence[Title], clips: int, face_frames: int) -> Work:
    """What each stage has to do; chunks and clips that are not planned yet are counted as the longest ones."""
    frames, pictures = sum(title.num_frames for title in pending), _pictures(unseen)
    clips += sum(map(_pieces, unseen))
    work = {
        "analyse": (sum(pictures), len(pictures)),
        "render": (face_frames, clips if face_frames else 0),
        "picture": (frames, sum(map(_pieces, pending))),
        "master": (frames, len(pending)),
    }
    return {stage: amount for stage, amount in work.items() if amount[1]}


def _pictures(titles: Sequence[Title]) -> list[int]:
    """Frames of each distinct picture."""
    return list({title.video_sha256: title.num_frames for title in titles}.values())


def _seconds(known: Known | None, work: Work) -> tuple[float | None, str]:
    """How long it takes, or None and why nobody can tell."""
    if not work:
        return 0.0, "nothing is to be done"
    if known is None:
        return None, "nothing was done here yet that could be measured"
    measured = paces(known.ledger, work)
    if unmeasured := [stage for stage in work if stage not in measured]:
        return None, f"nothing was measured here yet of: {', '.join(unmeasured)}"
    seconds = sum(measured[stage].seconds_for(*amount) for stage, amount in work.items())
    units = sum(count for _, count in work.values())
    return at_once(seconds, units), "from what the latest units took, on the cores of this machine"
