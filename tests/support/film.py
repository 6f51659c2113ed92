"""A short film, analysed by the real worker, and the units that render it: what the tests of both workers look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.hearing import Speeches
from flows.rows import TitleRow
from flows.title import Title, Voice
from flows.titles import analysis_config, analysis_unit, render_units
from flows.voice import read_voice
from flows.workers.analyse import AnalyseWorker
from flows.workers.render import RenderWorker
from preprocessing.analysis import decode_analysis
from preprocessing.faces.base import Analysis
from preprocessing.media.probe import probe
from preprocessing.media.tools import file_url
from shards.commit import Ledger, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.store import open_store
from tests.support.cast import sound
from tests.support.datasets import done_by
from tests.support.lavfi import make
from tests.support.synthetic import talking_title


@dataclass(frozen=True)
class Film:
    """A picture and what its analysis left in a store."""

    ledger: Ledger
    video: Path
    receipt: Receipt
    analysis: Analysis
    voice: Voice
    folder: Path
    """For speech that tests make."""

    def title(self, audio: Path, **columns: object) -> Title:
        row = TitleRow.model_validate(
            {"title_id": "one", "language": "es", "output": "one.es.mp4", "video": self.video, "audio": audio} | columns
        )
        return Title(
            row=row, info=probe(self.video), video_sha256=file_sha256(self.video), audio_sha256=file_sha256(audio)
        )

    def speech(self, *lines: tuple[float, float, int], seconds: float = 2.0) -> Path:
        """A file that says these lines: (from, to, seed)."""
        name = "-".join(f"{a}_{b}_{seed}" for a, b, seed in lines) or "silence"
        return sound(self.folder / f"{name}.wav", seconds, lines)

    def units(self, audio: Path, **columns: object) -> list[Unit]:
        title = self.title(audio, **columns)
        return render_units(title, self.voice, self.analysis, self.receipt, Speeches())

    @contextmanager
    def render_worker(self) -> Iterator[RenderWorker]:
        made = RenderWorker(self.ledger.store.uri, self.voice.checkpoint)
        made.setup()
        try:
            yield made
        finally:
            made.close()


def two_people(folder: Path) -> Path:
    """Two seconds in which the left one speaks, then two in which the right one does; one shot, one sound track."""
    folder.mkdir(parents=True, exist_ok=True)

    def half(name: str, *, line: str = "hello.en", silent: bool = False) -> Path:
        return talking_title(folder, seconds=2.0, size=(256, 256), line=line, silent=silent, name=name).video

    parts = [half("a"), half("b", silent=True), half("c", silent=True), half("d", line="morning.en")]
    inputs = [argument for part in parts for argument in ("-i", file_url(part))]
    graph = (
        "[0:v][1:v]concat=n=2:v=1[l];[2:v][3:v]concat=n=2:v=1[r];[l][r]hstack[v];"
        "[0:a]apad,atrim=end=2[a0];[3:a]apad,atrim=end=2[a1];[a0][a1]concat=n=2:v=0:a=1[a]"
    )
    coding = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-threads", "1")
    return make(folder / "two.mp4", *inputs, "-filter_complex", graph, "-map", "[v]", "-map", "[a]", *coding)


def analysed_film(video: Path, folder: Path, checkpoint: Path) -> Film:
    """The film, as the analysing worker leaves it for this model."""
    ledger, voice = Ledger(open_store(folder / "store")), read_voice(str(checkpoint))
    config = analysis_config(voice)
    audio = sound(folder / "any.wav", 1.0)
    any_row: dict[str, Any] = {"title_id": "one", "language": "es", "output": "one.mp4", "video": video, "audio": audio}
    title = Title(
        row=TitleRow.model_validate(any_row),
        info=probe(video),
        video_sha256=file_sha256(video),
        audio_sha256=file_sha256(audio),
    )
    worker = AnalyseWorker(ledger.store.uri, config.model_dump(mode="json"))
    worker.setup()
    try:
        receipt = done_by(worker, analysis_unit(title, config))
    finally:
        worker.close()
    analysis = decode_analysis(ledger.store.read(receipt.objects[-1].path))
    return Film(ledger=ledger, video=video, receipt=receipt, analysis=analysis, voice=voice, folder=folder)
