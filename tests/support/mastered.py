"""A title whose mouths were rendered by nobody: a small film, clips placed in it, and the units that finish it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flows.dubbing.config import DubConfig
from flows.mastering import STRUCTURE, PicturePlan, master_unit, picture_plan, picture_units
from flows.rows import TitleRow
from flows.title import Title
from flows.workers.fragments import write_fragment
from flows.workers.master import MasterWorker
from flows.workers.picture import PictureWorker
from preprocessing.faces.base import Analysis, Shot
from preprocessing.media.encode import EncodeConfig
from preprocessing.media.gops import Structure, read_structure
from preprocessing.media.probe import probe_with_times
from shards.commit import Ledger, Receipt, Unit
from shards.crop import crop_window
from shards.fingerprint import file_sha256
from shards.schema import ClipSample, CropTransform, FrameTimes, Landmarks, MediaTime, Span
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import claim, done_by
from tests.support.lavfi import sine, video
from tests.support.pasting import face
from tests.support.titles import VOICE

CROP_PX = 32
QUICK = EncodeConfig(preset="veryfast")


@dataclass(frozen=True)
class Drawn:
    """A rendered clip: whose face it is, and in which frames [start, stop) of the film."""

    start: int
    stop: int
    face: str = "person-0"
    seed: int = 1
    rows: tuple[tuple[int, int], ...] | None = None
    """None: all of them."""


@dataclass
class Film:
    """The title, and what the stages before left in the store."""

    title: Title
    analysis: Analysis
    analysed: Receipt
    rendered: list[Receipt]
    ledger: Ledger
    out: Path
    config: DubConfig = field(default_factory=lambda: DubConfig(encode=QUICK))

    @classmethod
    def made(
        cls, folder: Path, *drawn: Drawn, source: Path | None = None, cuts: Sequence[int] = (), **columns: Any
    ) -> Film:
        """Four seconds of film in groups of 12 frames, unless it is given."""
        folder.mkdir(parents=True, exist_ok=True)
        source = source or video(folder / "film.mp4", size="128x96", seconds=4, sound=True)
        speech = columns.pop("audio", None) or sine(folder / "speech.m4a", seconds=4)
        row = {"title_id": "one", "language": "es", "output": "one.es.mp4", "video": source, "audio": speech}
        info, times = probe_with_times(source)
        assert times is not None
        title = Title(
            row=TitleRow.model_validate(row | columns),
            info=info,
            video_sha256=file_sha256(source),
            audio_sha256=file_sha256(speech),
        )
        ledger = Ledger(open_store(folder / "out" / ".dubwright"))
        bounds = [0, *cuts, len(times)]
        shots = [Shot(index=n, start=a, stop=b) for n, (a, b) in enumerate(itertools.pairwise(bounds))]
        analysis = Analysis(
            width=128,
            height=96,
            times=times,
            shots=tuple(shots),
            tracks=(),
            rejections=(),
            landmark_backend="by hand@1",
        )
        originals = [_clip(d, times, is_rendered=False) for d in drawn]
        structure = read_structure(source, info, times)
        analysed = _committed(ledger, folder, "analysis", originals, {STRUCTURE: structure.plain()})
        film = cls(title, analysis, analysed, [], ledger, folder / "out")
        return film.drawn(folder, *drawn)

    def drawn(self, folder: Path, *drawn: Drawn) -> Film:
        """The same film with these clips rendered."""
        rendered = []
        for number, each in enumerate(drawn):
            clip, rows = _clip(each, self.analysis.times, is_rendered=True), each.rows or ((0, each.stop - each.start),)
            details = {"start_pts": clip.provenance.span.start.pts, "rows": [list(r) for r in rows]}
            rendered.append(_committed(self.ledger, folder, f"render-{number}-{each.seed}", [clip], details))
        return dataclasses.replace(self, rendered=rendered)

    def asking(self, **columns: Any) -> Film:
        """The same film with other columns in its row."""
        row = TitleRow.model_validate(self.title.row.model_dump(exclude={"number"}) | columns)
        return dataclasses.replace(self, title=dataclasses.replace(self.title, row=row))

    @property
    def plan(self) -> PicturePlan:
        return picture_plan(self.title, self.analysis, self.analysed, self.rendered)

    @property
    def structure(self) -> Structure:
        return Structure.of(self.analysed.details[STRUCTURE])

    def units(self) -> list[Unit]:
        return picture_units(self.title, self.analysis, self.analysed, self.rendered, self.config.encode)

    def picture_worker(self) -> PictureWorker:
        worker = PictureWorker(self.ledger.store.uri, self.config.encode.model_dump(mode="json"))
        worker.setup()
        return worker

    def encoded(self) -> list[Receipt]:
        """The commits of the chunks, made where they are not there."""
        worker = self.picture_worker()
        return [self.ledger.receipt(unit.unit_id) or done_by(worker, unit) for unit in self.units()]

    def master(self, edition: int = 0) -> Unit:
        return master_unit(
            self.title,
            VOICE,
            self.analysis,
            self.analysed,
            self.rendered,
            self.encoded(),
            self.config,
            edition=edition,
        )

    def finished(self) -> Receipt:
        """The whole way; the file lies in `out`."""
        worker = MasterWorker(self.ledger.store.uri, str(self.out))
        worker.setup()
        return done_by(worker, self.master())


def _clip(drawn: Drawn, times: FrameTimes, *, is_rendered: bool) -> ClipSample:
    """A grey face in the source, a coloured one with its jaw down when it was rendered."""
    count, base = drawn.stop - drawn.start, times.base
    clip = make_clip(drawn.seed if is_rendered else 0, frames=count, size=CROP_PX, identity=drawn.face)
    points = np.repeat(face(CROP_PX, jaw_down=0.3 if is_rendered else 0.0)[None], count, axis=0)
    # Half a crop px a source px, so the crop covers 64 x 64 px of the film.
    left = 10.0 if drawn.face == "person-0" else 60.0
    matrix = np.array([[0.5, 0.0, -0.5 * left], [0.0, 0.5, -0.5 * 16]])
    bounds = (int(times.pts[drawn.start]), int(times.pts[drawn.stop - 1]))
    span = Span(start=MediaTime(pts=bounds[0], base=base), end=MediaTime(pts=bounds[1] + 1, base=base))
    return dataclasses.replace(
        clip,
        key=f"{drawn.start:08x}{int(drawn.face[-1]):08x}".rjust(32, "0"),
        landmarks=Landmarks(
            points=points.astype(np.float32),
            confidence=np.ones(count, dtype=np.float32),
            topology_name="mediapipe131",
            space="crop",
        ),
        transform=CropTransform(
            matrices=np.repeat(matrix[None], count, axis=0), size_px=CROP_PX, window=crop_window("lower_face")
        ),
        provenance=dataclasses.replace(clip.provenance, span=span),
    )


def _committed(
    ledger: Ledger, folder: Path, unit_id: str, clips: Sequence[ClipSample], details: dict[str, Any]
) -> Receipt:
    attempt, objects = claim(ledger, unit_id), []
    fragment, _ = write_fragment(clips, folder / f"{unit_id}.tar", jpeg_quality=98) if clips else (None, [])
    if fragment is not None:
        objects.append(ledger.put_object(attempt, fragment.path, ".tar"))
    else:
        empty = folder / "empty.analysis"
        empty.write_bytes(b"nobody is seen")
        objects.append(ledger.put_object(attempt, empty, ".analysis"))
    receipt = Receipt(
        unit_id=unit_id,
        stage="test",
        objects=tuple(objects),
        samples=fragment.entries if fragment is not None else (),
        details=details,
    )
    return ledger.commit(attempt, receipt)
