"""Titles and their commits without any film: rows whose pictures are a few bytes, receipts as the workers leave them.

Every picture shows one person in two shots of ten frames, who speaks in both, unless told otherwise.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from flows import dub
from flows.casting import UNITS
from flows.dub import Catalogue
from flows.dubbing.config import DubConfig
from flows.records import Records
from flows.rows import TitleRow
from flows.title import Title, Voice
from preprocessing.analysis import decode_analysis, encode_analysis
from preprocessing.faces.base import Analysis
from preprocessing.pieces import pieces_of
from shards.commit import Claim, Ledger, ObjectRef, Quarantine, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.schema import Rejection
from shards.store import open_store
from shards.writer import FragmentWriter
from tests.support.cast import ANN, listened, pictures, sound
from tests.support.clips import make_clip
from tests.support.fakes import media_info

VOICE = Voice(
    checkpoint="/nowhere",
    digest="d" * 64,
    crop_px=64,
    window="lower_face",
    topology="mediapipe131",
    features=("mel",),
    description="a voice for tests",
)
FRAMES, SHOT = 20, 10
A_STRIP = cv2.imencode(".jpg", np.full((32, 96, 3), 128, dtype=np.uint8))[1].tobytes()


def make_title(folder: Path, *, video: bytes = b"picture", line: int = 0, **columns: object) -> Title:
    """A title of 20 frames; its picture holds these bytes, its speech is that line, `columns` go into its row."""
    folder.mkdir(parents=True, exist_ok=True)
    film = folder / f"{video.decode()}.video"
    film.write_bytes(video)
    row = TitleRow.model_validate(
        {
            "title_id": "one",
            "language": "es",
            "output": "one.es.mp4",
            "video": film,
            "audio": sound(folder / f"line{line}.wav", FRAMES / 25, [(0.0, 1.0, line)]),
            **columns,
        },
    )
    return Title(
        row=row,
        info=media_info(np.zeros((4, 4, 3), dtype=np.uint8), FRAMES),
        video_sha256=file_sha256(row.video),
        audio_sha256=file_sha256(row.audio),
    )


def make_records(folder: Path, voice: Voice = VOICE, config: DubConfig | None = None) -> Records:
    """The records of an output folder that is still empty."""
    return Records(Ledger(open_store(folder / ".dubwright")), {None: voice}, folder, config or DubConfig())


def commit_analysis(records: Records, title: Title, analysis: Analysis | None = None) -> Receipt:
    """As if the picture had been analysed."""
    return analysed(records.ledger, records.analysis(title), analysis or two_shots())


def commit_renders(records: Records, title: Title) -> list[Receipt]:
    """As if every clip of the title had been rendered."""
    return [rendered(records.ledger, unit) for unit in records.renders(title)]


def commit_pictures(records: Records, title: Title) -> list[Receipt]:
    """As if every chunk of the picture had been encoded."""
    return [encoded(records.ledger, unit) for unit in records.pictures(title)]


def commit_master(records: Records, title: Title, content: bytes = b"finished film") -> Receipt:
    """As if the row had been finished: the file and its commit."""
    for unit in records.pictures(title):
        if records.ledger.receipt(unit.unit_id) is None:
            encoded(records.ledger, unit)
    unit = records.master(title)
    assert unit is not None
    return mastered(records.ledger, unit, records.out, content)


# -- what a worker leaves behind ---------------------------------------------------------------------------------------


@functools.cache
def two_shots() -> Analysis:
    seen = pictures(((ANN,), SHOT), ((ANN,), FRAMES - SHOT))
    return listened(seen, {number: [(0, FRAMES)] for number in range(len(seen.tracks))})


@functools.cache
def nobody() -> Analysis:
    return pictures(((), FRAMES))


def analysed(ledger: Ledger, unit: Unit, analysis: Analysis) -> Receipt:
    claim, sha256 = ledger.begin(unit, "test"), unit.payload["video_sha256"]
    told = _object(ledger, claim, encode_analysis(analysis), ".analysis")
    clips = [
        dataclasses.replace(
            make_clip(place, frames=piece.stop - piece.start),
            key=piece.key(sha256, analysis.times),
            identity=f"{sha256[:12]}/{piece.aligned.identity}",
        )
        for place, piece in enumerate(pieces_of(analysis.tracks, UNITS))
    ]
    details = {"frames": len(analysis.times), "shots": len(analysis.shots)}
    if clips:
        return _with_clips(ledger, claim, clips, details, told)
    receipt = Receipt(
        unit_id=unit.unit_id, stage=unit.stage, objects=(told,), rejections=analysis.rejections, details=details
    )
    return ledger.commit(claim, receipt)


def rendered(ledger: Ledger, unit: Unit) -> Receipt:
    """The clip, drawn in every row that was asked for."""
    payload = unit.payload
    analysis = decode_analysis(ledger.store.read(payload["analysis"]))
    start = analysis.tracks[payload["track"]].track.start + payload["first"]
    seed = int(unit.unit_id[:6], 16)
    clip = dataclasses.replace(make_clip(seed, frames=payload["rows"][-1][1]), key=payload["clip"]["key"])
    details = {"start_pts": int(analysis.times.pts[start]), "rows": payload["rows"], "kept": []}
    return _with_clips(ledger, ledger.begin(unit, "test"), [clip], details)


def adapted(ledger: Ledger, unit: Unit) -> Receipt:
    """Nothing was gained."""
    reason = Rejection(code="not_adapted", detail="it was no better")
    return ledger.commit(
        ledger.begin(unit, "test"), Receipt(unit_id=unit.unit_id, stage=unit.stage, rejections=(reason,))
    )


def encoded(ledger: Ledger, unit: Unit) -> Receipt:
    claim = ledger.begin(unit, "test")
    piece = _object(ledger, claim, unit.unit_id.encode(), ".mov")
    details = {"frames": unit.payload["stop"] - unit.payload["start"], "seams": []}
    return ledger.commit(claim, Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(piece,), details=details))


def mastered(ledger: Ledger, unit: Unit, out: Path, content: bytes) -> Receipt:
    target = out / unit.payload["output"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    drawn = sum(stop - start for start, stop in unit.payload["generated"])
    details = {"size_bytes": len(content), "rendered_frames": drawn, "checks": {"speech": "copied"}}
    claim = ledger.begin(unit, "test")
    ref = _object(ledger, claim, A_STRIP, ".strip.jpg")
    return ledger.commit(claim, Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(ref,), details=details))


def _with_clips(ledger: Ledger, claim: Claim, clips: list[Any], details: dict[str, Any], *more: ObjectRef) -> Receipt:
    with tempfile.TemporaryDirectory() as folder, FragmentWriter(Path(folder, "fragment.tar")) as writer:
        for clip in clips:
            writer.add(clip)
        fragment = writer.seal()
        ref = ledger.put_object(claim, fragment.path, ".tar")
    unit = claim.unit
    receipt = Receipt(
        unit_id=unit.unit_id, stage=unit.stage, objects=(ref, *more), samples=fragment.entries, details=details
    )
    return ledger.commit(claim, receipt)


def _object(ledger: Ledger, claim: Claim, content: bytes, suffix: str) -> ObjectRef:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object")
        path.write_bytes(content)
        return ledger.put_object(claim, path, suffix)


@dataclass
class Paper:
    """Dubbing's workers without media: they leave what the real ones leave, and note down what they did.

    `fails` is asked before each unit, and raises what the unit is to fail with.
    """

    out: Path
    fails: Callable[[Unit], None] = lambda unit: None
    done: list[str] = field(default_factory=list)
    """Stage of every unit that went well."""

    def worker(self, store_uri: str, *_: object) -> Paper:
        """Stands in for a worker's class."""
        self._ledger = Ledger(open_store(store_uri, create=False))
        return self

    def setup(self) -> None:
        """Nothing is loaded."""

    def process_batch(self, items: list[Claim]) -> list[Receipt | Exception]:
        return [self.process(item) for item in items]

    def process(self, item: Claim) -> Receipt:
        unit = item.unit
        self.fails(unit)
        self.done.append(unit.stage)
        if unit.stage == "analyse":
            return analysed(self._ledger, unit, two_shots())
        if unit.stage == "master":
            return mastered(self._ledger, unit, self.out, b"a finished film")
        made = {"adapt": adapted, "render": rendered, "picture": encoded}
        return made[unit.stage](self._ledger, unit)

    def close(self) -> None:
        """Nothing is held."""


def planned(*titles: Title) -> Catalogue:
    """A catalogue of these titles, as the plan leaves it."""
    return Catalogue(path=Path("catalogue.csv"), titles=titles, voice=VOICE)


def use(monkeypatch: pytest.MonkeyPatch, paper: Paper) -> Paper:
    """Puts it in the place of every worker of the dubbing flow."""
    for name in ("AnalyseWorker", "AdaptWorker", "RenderWorker", "PictureWorker", "MasterWorker"):
        monkeypatch.setattr(dub, name, paper.worker)
    return paper


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def give_up(ledger: Ledger, unit: Unit, message: str = "the encoder crashed") -> Quarantine | Receipt:
    """As if every try had failed."""
    return ledger.decide(
        ledger.begin(unit, "test"),
        Quarantine(
            unit_id=unit.unit_id,
            error_class="MediaToolError",
            message=message,
            stderr_tail="",
            reproduce="dubwright ...",
            attempts=3,
        ),
    )


def reject(ledger: Ledger, unit: Unit, code: str = "truncated") -> Receipt:
    """As if the footage had been looked at and could not be used."""
    rejection = Rejection(code=code, detail="the file ends early")
    receipt = Receipt(unit_id=unit.unit_id, stage=unit.stage, rejections=(rejection,))
    return ledger.commit(ledger.begin(unit, "test"), receipt)


def changed(title: Title, **columns: object) -> Title:
    """The title with other values in its row."""
    return dataclasses.replace(title, row=title.row.model_copy(update=columns))
