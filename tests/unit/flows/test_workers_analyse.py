"""Dubbing's first worker: crops and analysis of a picture, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.titles import analysis_config
from flows.workers import analyse
from flows.workers.analyse import ANALYSIS_SUFFIX, AnalyseWorker
from flows.workers.fragments import SourceChanged, clip_address, read_clip
from preprocessing.analysis import decode_analysis
from preprocessing.errors import Unusable
from shards.commit import Unit
from shards.errors import WrongStore
from shards.fingerprint import file_sha256
from shards.store import open_store
from tests.support.datasets import done_by
from tests.support.lavfi import video
from tests.support.titles import VOICE
from tests.unit.flows.conftest import Thread


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnalyseWorker]:
    store = open_store(tmp_path_factory.mktemp("analyse") / "store")
    made = AnalyseWorker(store.uri, analysis_config(VOICE).model_dump(mode="json"))
    made.setup()
    yield made
    made.close()


def unit_for(path: Path) -> Unit:
    sha256 = file_sha256(path)
    return Unit(
        unit_id=sha256,
        stage="analyse",
        payload={"video": str(path), "video_sha256": sha256, "code_version": "test"},
    )


def test_every_frame_with_a_face_is_in_a_clip_on_the_titles_own_clock(thread: Thread) -> None:
    store, receipt = thread.records.ledger.store, thread.analysed
    assert dict(receipt.details) == {"frames": 25, "shots": 1, "zero_s": "0/1"}
    (entry,) = receipt.samples
    clip = read_clip(store, clip_address(receipt, entry))
    assert clip.frames.shape == (25, 32, 32, 3)
    assert clip.landmarks.seen().all()


def test_the_analysis_is_kept_beside_the_crops(thread: Thread) -> None:
    tar, analysis = thread.analysed.objects
    assert tar.path.endswith(".tar")
    assert analysis.path.endswith(ANALYSIS_SUFFIX)
    read = decode_analysis(thread.records.ledger.store.read(analysis.path))
    assert len(read.tracks) == 1
    assert (read.width, read.height) == (256, 256)


def test_a_picture_without_a_face_is_kept_with_its_reasons(worker: AnalyseWorker, tmp_path: Path) -> None:
    receipt = done_by(worker, unit_for(video(tmp_path / "card.mp4", size="128x96", seconds=0.4)))
    assert receipt.is_kept
    assert receipt.samples == ()
    assert [r.code for r in receipt.rejections] == ["no_face"]


def test_a_title_whose_own_sound_cannot_be_read_is_analysed_all_the_same(
    worker: AnalyseWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise Unusable.because("unreadable", "the sound cannot be decoded")

    monkeypatch.setattr(analyse, "original_speech", unreadable)
    receipt = done_by(worker, unit_for(video(tmp_path / "card.mp4", size="128x96", seconds=0.2, sound=True)))
    assert receipt.is_kept
    assert [r.code for r in receipt.rejections] == ["own_sound", "no_face"]


def test_a_picture_that_is_not_the_planned_one_is_not_analysed_under_its_name(
    worker: AnalyseWorker, tmp_path: Path
) -> None:
    unit = unit_for(video(tmp_path / "film.mp4", seconds=0.2))
    video(tmp_path / "film.mp4", seconds=0.4)
    with pytest.raises(SourceChanged):
        done_by(worker, unit)


def test_a_file_that_is_no_film_is_refused_as_unusable(worker: AnalyseWorker, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"not a film")
    with pytest.raises(Unusable):
        done_by(worker, unit_for(path))


def test_a_worker_opens_a_store_and_never_makes_one(tmp_path: Path) -> None:
    made = AnalyseWorker(str(tmp_path / "nowhere"), analysis_config(VOICE).model_dump(mode="json"))
    with pytest.raises(WrongStore, match="no store here"):
        made.setup()
    assert list(tmp_path.iterdir()) == []
