"""A title whose people speak, as far as adapting looks: an analysis that was heard, and the commit of its clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from flows.casting import UNITS
from flows.rows import TitleRow
from flows.title import Title
from preprocessing.faces.base import AlignedTrack, Analysis, Heard, Shot, Track
from preprocessing.faces.stretches import span_of
from preprocessing.pieces import pieces_of
from shards.commit import Ledger, Receipt
from shards.fingerprint import fingerprint
from shards.schema import F32, ClipSample, FrameTimes, Landmarks
from tests.support.clips import make_clip, make_transform
from tests.support.datasets import commit_clips
from tests.support.fakes import media_info

SHOT = 50
"""Frames: two seconds at 25 fps."""
SIZE_PX = 32


@dataclass(frozen=True)
class Spoken:
    """What is known of the title."""

    title: Title
    analysis: Analysis
    receipt: Receipt


def spoken_title(
    ledger: Ledger,
    folder: Path,
    shots: int = 5,
    *,
    voice: float = 1.0,
    speaking: Sequence[F32] | None = None,
    identities: Sequence[str] = (),
) -> Spoken:
    """So many shots of two seconds, each of one face that speaks all the time, unless told otherwise.

    `folder` is an empty one for its files; another name is another title.
    """
    title = _title(folder, shots * SHOT)
    people = [*identities, *["person-0"] * shots][:shots]
    tracks = tuple(_track(number, person) for number, person in enumerate(people))
    given = [np.ones(SHOT, np.float32)] * shots if speaking is None else speaking
    analysis = Analysis(
        width=64,
        height=64,
        times=FrameTimes(pts=np.arange(shots * SHOT, dtype=np.int64), base=Fraction(1, 25)),
        shots=tuple(aligned.track.shot for aligned in tracks),
        tracks=tracks,
        rejections=(),
        landmark_backend="fake@1",
        heard=Heard(voice=np.full(shots * SHOT, voice, np.float32), speaking=tuple(given)),
    )
    clips = _clips(title, analysis)
    return Spoken(title, analysis, commit_clips(ledger, f"analysis-{title.video_sha256}", clips, folder))


def _title(folder: Path, frames: int) -> Title:
    folder.mkdir()
    files = {}
    for column in ("video", "audio"):
        files[column] = folder / column
        files[column].write_bytes(b"read by nobody")
    row = {"title_id": "one", "language": "es", "output": "one.es.mp4", **files}
    return Title(
        row=TitleRow.model_validate(row),
        info=media_info(np.zeros((4, 4, 3), dtype=np.uint8), frames),
        video_sha256=fingerprint("video", folder.name),
        audio_sha256=fingerprint("audio", folder.name),
    )


def _track(number: int, identity: str) -> AlignedTrack:
    start = number * SHOT
    landmarks = Landmarks(
        points=np.zeros((SHOT, 131, 2), np.float32),
        confidence=np.ones(SHOT, np.float32),
        topology_name="mediapipe131",
        space="source",
    )
    return AlignedTrack(
        track=Track(shot=Shot(index=number, start=start, stop=start + SHOT), start=start, landmarks=landmarks),
        transform=make_transform(np.random.default_rng(number), SHOT, SIZE_PX, "lower_face"),
        identity=identity,
    )


def _clips(title: Title, analysis: Analysis) -> list[ClipSample]:
    found = []
    for piece in pieces_of(analysis.tracks, UNITS):
        made = make_clip(piece.number, SHOT, SIZE_PX, piece.aligned.identity)
        found.append(
            dataclasses.replace(
                made,
                key=piece.key(title.video_sha256, analysis.times),
                transform=piece.aligned.transform,
                provenance=dataclasses.replace(
                    made.provenance,
                    source_sha256=title.video_sha256,
                    span=span_of(analysis.times, piece.start, piece.stop),
                ),
            )
        )
    return found
