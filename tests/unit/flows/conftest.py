"""One short title taken through dubbing's three workers, once for all the files that look at a part of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.dub import RECORDS
from flows.manifest import TitleRow
from flows.records import Records
from flows.titles import Title, analysis_config
from flows.voice import read_voice
from flows.workers.analyse import AnalyseWorker
from flows.workers.master import MasterWorker
from flows.workers.render import RenderWorker
from preprocessing.media.probe import probe
from shards.commit import Ledger, Receipt, Unit
from shards.fingerprint import file_sha256
from shards.store import open_store
from tests.support.datasets import done_by
from tests.support.lavfi import sine
from tests.support.models import nano_checkpoint
from tests.support.synthetic import talking_title

SIZE = (256, 256)


@dataclass(frozen=True)
class Thread:
    """A title and what the workers made of it."""

    records: Records
    title: Title
    analysed: Receipt
    rendered: list[Receipt]
    mastered: Receipt

    @property
    def output(self) -> Path:
        return self.records.out / self.title.row.output

    def worker(self, stage: str) -> Any:
        """One that is not set up yet."""
        uri, voice = self.records.ledger.store.uri, self.records.voice
        makers: dict[str, Callable[[], Any]] = {
            "analyse": functools.partial(AnalyseWorker, uri, analysis_config(voice).model_dump(mode="json")),
            "render": functools.partial(RenderWorker, uri, voice.checkpoint),
            "master": functools.partial(MasterWorker, uri, str(self.records.out)),
        }
        return makers[stage]()


def worked_off(worker: Any, units: list[Unit]) -> list[Receipt]:
    """Sets the worker up, does the units, and puts it away."""
    worker.setup()
    try:
        return [done_by(worker, unit) for unit in units]
    finally:
        worker.close()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small nets are slower on many threads, and sums are the same everywhere on one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nano_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def thread(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Thread:
    """Analyse, render, master: one second of a talking face, to say a tone."""
    folder = tmp_path_factory.mktemp("thread")
    video = talking_title(folder, seconds=1.0, size=SIZE).video
    audio = sine(folder / "speech.wav", seconds=1.0)
    row = TitleRow.model_validate(
        {"title_id": "one", "video": video, "audio": audio, "language": "es", "output": "films/one.es.mp4"}
    )
    info = probe(video)
    title = Title(row=row, info=info, video_sha256=file_sha256(video), audio_sha256=file_sha256(audio))
    records = Records(Ledger(open_store(folder / "out" / RECORDS)), read_voice(str(checkpoint)), folder / "out")
    made = Thread(records, title, None, [], None)  # type: ignore[arg-type]
    (analysed,) = worked_off(made.worker("analyse"), [records.analysis(title)])
    rendered = worked_off(made.worker("render"), records.renders(title))
    (mastered,) = worked_off(made.worker("master"), [records.master(title)])  # type: ignore[list-item]
    return Thread(records, title, analysed, rendered, mastered)
