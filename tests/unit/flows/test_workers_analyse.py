"""Dubbing's first worker: crops and analysis of a picture, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flows.titles import analysis_config
from flows.workers import analyse
from flows.workers.analyse import ANALYSIS_SUFFIX, AnalyseWorker
from flows.workers.fragments import SourceChanged, clip_address, read_clip
from preprocessing.analysis import decode_analysis
from preprocessing.errors import Unusable
from preprocessing.speakers.choose import BORDER
from shards.commit import Unit
from shards.errors import WrongStore
from shards.fingerprint import file_sha256
from shards.store import open_store
from tests.support.datasets import done_by
from tests.support.film import Film, analysed_film
from tests.support.lavfi import video
from tests.support.models import nano_checkpoint
from tests.support.synthetic import talking_title
from tests.support.titles import VOICE


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


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """One second of a face that speaks."""
    folder = tmp_path_factory.mktemp("film")
    video = talking_title(folder, seconds=1.0, size=(256, 256)).video
    return analysed_film(video, folder, nano_checkpoint(folder / "model"))


def test_every_frame_with_a_face_is_in_a_clip_on_the_titles_own_clock(film: Film) -> None:
    details = dict(film.receipt.details)
    assert sum(length * count for length, _, count in details.pop("structure")["gops"]) == 25
    assert details == {"frames": 25, "shots": 1, "zero_s": "0/1"}
    (entry,) = film.receipt.samples
    clip = read_clip(film.ledger.store, clip_address(film.receipt, entry))
    assert clip.frames.shape == (25, 32, 32, 3)
    assert clip.landmarks.seen().all()


def test_the_analysis_is_kept_beside_the_crops(film: Film) -> None:
    tar, analysis = film.receipt.objects
    assert tar.path.endswith(".tar")
    assert analysis.path.endswith(ANALYSIS_SUFFIX)
    read = decode_analysis(film.ledger.store.read(analysis.path))
    (aligned,) = read.tracks
    assert (read.width, read.height) == (256, 256)
    assert aligned.look is not None


def test_the_analysis_says_who_is_heard(film: Film) -> None:
    assert film.analysis.heard is not None
    assert film.analysis.heard.voice.shape == (25,)
    assert film.analysis.heard.voice.mean() > 0.5
    assert film.analysis.speaking(0).min() > BORDER


def test_up_to_four_faces_are_followed() -> None:
    assert analysis_config(VOICE).faces.max_faces == 4


def test_of_a_picture_without_sound_nobody_knows_who_speaks(worker: AnalyseWorker, tmp_path: Path) -> None:
    receipt = done_by(worker, unit_for(talking_title(tmp_path, seconds=0.4, size=(256, 256), sound=False).video))
    analysis = decode_analysis(worker._ledger.store.read(receipt.objects[-1].path))
    assert analysis.heard is None
    assert np.isnan(analysis.speaking(0)).all()


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
