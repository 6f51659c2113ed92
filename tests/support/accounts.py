"""Titles, analyses, castings and reports without any media or store: what the account and the report are made of."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from flows.casting import Cast, Part
from flows.dubbing.account import account
from flows.rows import TitleRow
from flows.title import Title
from preprocessing.faces.base import AlignedTrack, Analysis, Shot, Track
from preprocessing.faces.stretches import span_of
from preprocessing.pieces import Piece
from shards.commit import ObjectRef, Receipt, SampleEntry, Unit
from shards.schema import FrameTimes, Rejection
from tests.support.fakes import media_info
from tests.support.lips import landmarks, transform

NO_OBJECT = ObjectRef(sha256="0" * 64, size_bytes=1, path="objects/00/0.tar")


def told_title(
    frames: int = 100, *, rate: Fraction = Fraction(25), start_timecode: str | None = None, **columns: object
) -> Title:
    """A title of so many frames; its files are never looked at."""
    info = media_info(np.zeros((4, 4, 3), dtype=np.uint8), frames)
    assert info.video is not None
    row = {"title_id": "one", "language": "es", "output": "one.es.mp4", "video": "/a.mp4", "audio": "/a.wav"}
    return Title(
        row=TitleRow.model_validate(row | columns),
        info=dataclasses.replace(info, video=dataclasses.replace(info.video, frame_rate=rate)),
        video_sha256="0" * 64,
        audio_sha256="1" * 64,
        start_timecode=start_timecode,
    )


def told_analysis(shots: Sequence[tuple[int, int]], faces: Sequence[tuple[int, int, int, str]]) -> Analysis:
    """At 25 frames a second; a face is (shot, start, stop, identity)."""
    cuts = tuple(Shot(index=n, start=start, stop=stop) for n, (start, stop) in enumerate(shots))
    tracks = []
    for shot, start, stop, identity in faces:
        track = Track(shot=cuts[shot], start=start, landmarks=landmarks(np.full(stop - start, 0.1)))
        tracks.append(AlignedTrack(track=track, transform=transform(stop - start), identity=identity))
    return Analysis(
        width=64,
        height=48,
        times=FrameTimes(pts=np.arange(cuts[-1].stop if cuts else 0, dtype=np.int64) * 40, base=Fraction(1, 1000)),
        shots=cuts,
        tracks=tuple(tracks),
        rejections=(),
        landmark_backend="none@0",
    )


def analysed_receipt(*rejections: Rejection) -> Receipt:
    return Receipt(unit_id="analysis", stage="analyse", objects=(NO_OBJECT,), rejections=rejections)


def told_cast(
    analysis: Analysis,
    rows: Sequence[tuple[int, int, int]] = (),
    left: Sequence[Rejection] = (),
    problems: Sequence[str] = (),
) -> Cast:
    """A part is (track, first row, last row + 1)."""
    parts = []
    for number, first, stop in rows:
        aligned = analysis.tracks[number]
        piece = Piece(number=number, aligned=aligned, start=aligned.track.start, stop=aligned.track.stop)
        entry = sample_entry(aligned.identity)
        parts.append(Part(entry=entry, piece=piece, rows=((first, stop),), sounds=()))
    return Cast(parts=tuple(parts), left=list(left), problems=tuple(problems))


def sample_entry(identity: str, scores: Mapping[str, float] | None = None) -> SampleEntry:
    return SampleEntry(
        key="0" * 32,
        offset=0,
        size_bytes=1,
        identity=identity,
        language=None,
        duration_s=1.0,
        num_frames=25,
        scores=scores or {},
    )


def render_unit(track: int, rows: Sequence[tuple[int, int]], *, first: int = 0) -> Unit:
    payload = {"track": track, "first": first, "rows": [list(each) for each in rows]}
    return Unit(unit_id=f"render-{track}-{first}", stage="render", payload=payload)


def rendered(
    unit: Unit,
    scores: Mapping[str, float] | None = None,
    *,
    rows: Sequence[tuple[int, int]] | None = None,
    silent: Sequence[tuple[int, int]] = (),
) -> tuple[Unit, Receipt]:
    """The unit and its receipt; all of its rows were drawn unless told otherwise."""
    kept = [{"rows": [list(each) for each in silent], "code": "silent_closed", "detail": "nothing is said"}]
    details: dict[str, Any] = {
        "start_pts": 0,
        "rows": unit.payload["rows"] if rows is None else [list(each) for each in rows],
        "kept": kept if silent else [],
    }
    samples = (sample_entry("somebody", scores),)
    return unit, Receipt(unit_id=unit.unit_id, stage="render", objects=(NO_OBJECT,), samples=samples, details=details)


GOOD = {
    "made_av_offset_s": 0.02,
    "made_av_corr": 0.4,
    "made_av_confidence": 0.5,
    "source_av_offset_s": 0.0,
    "source_av_corr": 0.45,
    "source_av_confidence": 0.5,
    "identity": 0.99,
    "flicker_inside": 1.1,
    "flicker_outside": 1.0,
    "sharpness_ratio": 0.9,
    "change": 3.0,
}
"""Scores of a render nobody has to look at."""


FAILED = {
    "status": "failed_input",
    "reason": "analyse: truncated: the file ends early",
    "shots": [],
    "flags": [],
    "left_alone": [],
    "checks": {},
    "loudness": {},
    "coverage": None,
    "rendered_frames": 0,
}
"""What a row has that came to nothing."""


def told_row(**changes: Any) -> dict[str, Any]:
    """A row of the report as a run writes it: a title of 100 frames in two shots, the first of them dubbed."""
    analysis = told_analysis([(0, 40), (40, 100)], [(0, 0, 40, "person-0")])
    title = told_title(start_timecode="01:00:00:00")
    left = [Rejection(code="no_face", detail="no face was found here", span=span_of(analysis.times, 40, 100))]
    renders = [rendered(render_unit(0, [(0, 40)]), GOOD)]
    told = account(title, analysis, analysed_receipt(*left), told_cast(analysis, [(0, 0, 40)]), renders, {})
    return {
        "title_id": "one",
        "language": "es",
        "output": "one.es.mp4",
        "video": "/films/one.mp4",
        "status": "succeeded",
        "reason": None,
        "frames": 100,
        "fps": "25",
        "duration_s": 4.0,
        "rendered_frames": 40,
        "checks": {"speech": "copied"},
        "loudness": {"speech_lufs": -23.1, "source_lufs": -22.4},
        "adapted": None,
        "meta": {},
        **told,
        **changes,
    }


def told_flag(severity: str = "Issue", **changes: Any) -> dict[str, Any]:
    where = {"start": 10, "stop": 20, "tc_in": "01:00:00:10", "tc_out": "01:00:00:20", "shot": 0}
    return {"code": "sync_low", "severity": severity, **where, "detail": "lips and speech do not fit", **changes}


def told_report(*rows: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a run that came to these rows."""
    given = list(rows) or [told_row()]
    return {
        "catalogue": "catalogue.csv",
        "model": "tiny (64 px), untrained",
        "checkpoint": "d" * 64,
        "titles": dict(sorted(Counter(row["status"] for row in given).items())),
        "outputs": [],
        "rows": given,
        "seconds": 1.5,
    }


def strip(width: int = 720, height: int = 240, grey: int = 200) -> bytes:
    """A picture strip of one colour, JPEG."""
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), grey, np.uint8))
    assert done
    return bytes(data)
