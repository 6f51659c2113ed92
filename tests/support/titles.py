"""Titles and their commits without any media: rows whose files are a few bytes, receipts as the workers leave them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flows.manifest import TitleRow
from flows.records import Records
from flows.titles import Title, Voice
from shards.commit import Claim, Ledger, ObjectRef, Quarantine, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.schema import ClipSample, Rejection
from shards.store import open_store
from shards.writer import FragmentWriter
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


def make_title(folder: Path, *, video: bytes = b"picture", audio: bytes = b"sound", **columns: object) -> Title:
    """A title of 20 frames whose files hold these bytes; `columns` go into its row."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for column, data in (("video", video), ("audio", audio)):
        paths[column] = folder / f"{data.decode()}.{column}"
        paths[column].write_bytes(data)
    row = TitleRow.model_validate(
        {"title_id": "one", "language": "es", "output": "one.es.mp4", **paths, **columns},
    )
    return Title(
        row=row,
        info=media_info(np.zeros((4, 4, 3), dtype=np.uint8), 20),
        video_sha256=file_sha256(row.video),
        audio_sha256=file_sha256(row.audio),
    )


def make_records(folder: Path, voice: Voice = VOICE) -> Records:
    """The records of an output folder that is still empty."""
    return Records(Ledger(open_store(folder / ".dubwright")), voice, folder)


def commit_analysis(records: Records, title: Title, clips: Sequence[ClipSample] | None = None) -> Receipt:
    """As if the picture had been analysed: two stretches of one face, unless told otherwise."""
    given = [make_clip(1, frames=4), make_clip(2, frames=4)] if clips is None else clips
    return analysed(records.ledger, records.analysis(title), given)


def commit_renders(records: Records, title: Title) -> list[Receipt]:
    """As if every stretch of the title had been rendered."""
    return [rendered(records.ledger, unit) for unit in records.renders(title)]


def commit_master(records: Records, title: Title, content: bytes = b"finished film", frames: int = 8) -> Receipt:
    """As if the row had been finished: the file and its commit."""
    unit = records.master(title)
    assert unit is not None
    return mastered(records.ledger, unit, records.out, content, frames)


# -- what a worker leaves behind ---------------------------------------------------------------------------------------


def analysed(ledger: Ledger, unit: Unit, clips: Sequence[ClipSample]) -> Receipt:
    details = {"frames": 20, "shots": 1, "zero_s": "0/1"}
    claim = ledger.begin(unit, "test")
    if clips:
        return _with_clips(ledger, claim, clips, details)
    rejection = Rejection(code="no_face", detail="nobody is seen")
    return ledger.commit(
        claim,
        Receipt(
            unit_id=unit.unit_id,
            stage=unit.stage,
            objects=(_object(ledger, claim, b"no face", ".analysis"),),
            rejections=(rejection,),
            details=details,
        ),
    )


def rendered(ledger: Ledger, unit: Unit) -> Receipt:
    """The clip follows from the unit, as it must."""
    clip = make_clip(int(unit.unit_id[:6], 16), frames=4)
    return _with_clips(ledger, ledger.begin(unit, "test"), [clip], {"start_pts": 0, "rows": [[0, 4]]})


def mastered(ledger: Ledger, unit: Unit, out: Path, content: bytes, frames: int = 8) -> Receipt:
    target = out / unit.payload["output"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    details = {"size_bytes": len(content), "rendered_frames": frames, "checks": {"speech": "copied"}}
    claim = ledger.begin(unit, "test")
    ref = _object(ledger, claim, b"a jpeg", ".strip.jpg")
    return ledger.commit(claim, Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(ref,), details=details))


def _with_clips(ledger: Ledger, claim: Claim, clips: Sequence[ClipSample], details: dict[str, object]) -> Receipt:
    with tempfile.TemporaryDirectory() as folder, FragmentWriter(Path(folder, "fragment.tar")) as writer:
        for clip in clips:
            writer.add(clip)
        fragment = writer.seal()
        ref = ledger.put_object(claim, fragment.path, ".tar")
    unit = claim.unit
    return ledger.commit(
        claim,
        Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(ref,), samples=fragment.entries, details=details),
    )


def _object(ledger: Ledger, claim: Claim, content: bytes, suffix: str) -> ObjectRef:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object")
        path.write_bytes(content)
        return ledger.put_object(claim, path, suffix)


@dataclass
class Paper:
    """Dubbing's three workers without media: they leave what the real ones leave, and note down what they did.

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

    def process(self, item: Claim) -> Receipt:
        self.fails(item.unit)
        self.done.append(item.unit.stage)
        if item.unit.stage == "analyse":
            number = int(item.unit.payload["video_sha256"][:6], 16)
            return analysed(self._ledger, item.unit, [make_clip(number + n, frames=4) for n in range(2)])
        if item.unit.stage == "render":
            return rendered(self._ledger, item.unit)
        return mastered(self._ledger, item.unit, self.out, b"a finished film")

    def close(self) -> None:
        """Nothing is held."""


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
