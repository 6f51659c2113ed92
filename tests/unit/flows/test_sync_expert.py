"""The sync expert beside preprocessing: planned by its weights, refused where it could not judge, scores in clips."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flows.planning import PreprocessJob
from flows.preprocess import plan_sources
from flows.sources import identify as identifying
from flows.sync_expert import expert_scorer, num_windows, pinned_expert
from flows.version import pinned
from flows.workers.extract import ExtractWorker
from model.sync import SyncConfig, SyncExpert, score_clip
from model.training.sync import load_expert, save_expert
from preprocessing.config import PreprocessConfig
from shards.commit import Ledger, Unit
from shards.errors import RequestError
from shards.fingerprint import file_sha256
from shards.schema import ClipSample
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import done_by
from tests.support.synthetic import talking_title

SCORES = {"sync_offset_s", "sync_confidence", "sync_distance"}


def save(folder: Path, seed: int = 0) -> Path:
    """An expert that knows nothing yet; another seed is another expert."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_expert(folder, SyncExpert(SyncConfig(side_px=16, channels=(8, 8), width=8, norm_groups=4)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("expert"))


def config(folder: Path, **changes: Any) -> PreprocessConfig:
    base = {"sync": {"expert": str(folder)}, "crop": {"size_px": 64}, "clip": {"min_frames": 10}}
    return PreprocessConfig.model_validate(base | changes)


def unseen(clip: ClipSample, *frames: int) -> ClipSample:
    points = clip.landmarks.points.copy()
    points[list(frames)] = np.nan
    return dataclasses.replace(clip, landmarks=dataclasses.replace(clip.landmarks, points=points))


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_units_move_with_the_expert_s_weights_and_not_with_its_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identifying, "SETTLE_S", 0.0)
    (tmp_path / "film.mp4").write_bytes(b"film")

    def unit_id(settings: PreprocessConfig) -> str:
        (unit,) = plan_sources.fn([str(tmp_path / "film.mp4")], PreprocessJob(clips=settings)).units
        return unit.unit_id

    here, copy = unit_id(config(folder)), unit_id(config(Path(shutil.copytree(folder, tmp_path / "copy"))))
    assert here == copy
    assert len({here, unit_id(config(save(tmp_path / "other", seed=1))), unit_id(config(folder, sync={}))}) == 3


def test_the_expert_s_place_is_written_out_for_every_worker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    sync = pinned(config(Path(folder.name)))[0].sync
    assert sync.expert == str(folder)
    assert sync.expert_digest


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"crop": {"window": "face"}}, "crop.window"),
        ({"audio": {"features": ["phones"]}}, "audio.features"),
        ({"media": {"fps": 50}}, "media.fps"),
    ],
)
def test_clips_that_the_expert_could_not_judge_are_refused_at_the_plan(
    folder: Path, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        pinned_expert(config(folder, **changes))
    assert caught.value.field == field


def test_a_folder_without_an_expert_is_refused_naming_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"sync\.json, sync\.safetensors missing"):
        pinned_expert(config(tmp_path))


# -- the scores --------------------------------------------------------------------------------------------------------


def test_without_an_expert_there_is_no_scorer() -> None:
    assert expert_scorer(PreprocessConfig()) is None
    assert pinned_expert(PreprocessConfig()) == PreprocessConfig().sync


def test_other_weights_than_planned_are_refused_where_the_work_is_done(folder: Path, tmp_path: Path) -> None:
    settings, _ = pinned(config(Path(shutil.copytree(folder, tmp_path / "moved"))))
    save(tmp_path / "moved", seed=1)
    with pytest.raises(RequestError, match="the run was planned with"):
        expert_scorer(settings)


def test_the_scores_are_the_expert_s_in_seconds(folder: Path) -> None:
    scorer, clip = expert_scorer(config(folder)), make_clip(3, frames=60, size=32)
    assert scorer is not None
    meant = score_clip(load_expert(folder), clip)
    assert scorer(clip) == {
        "sync_offset_s": meant.offset_frames / 25,
        "sync_confidence": meant.confidence,
        "sync_distance": meant.distance,
    }


def test_a_clip_too_short_or_too_often_without_a_face_is_not_scored(folder: Path) -> None:
    scorer, clip = expert_scorer(config(folder)), make_clip(3, frames=25, size=32)
    assert scorer is not None
    assert set(scorer(clip)) == SCORES
    assert scorer(make_clip(3, frames=24, size=32)) == {}
    assert scorer(unseen(clip, 24)) == {}
    assert scorer(make_clip(3, frames=5, size=32)) == {}


def test_windows_are_counted_where_the_face_is_seen_throughout() -> None:
    clip = make_clip(0, frames=20)
    assert [num_windows(clip, 16), num_windows(clip, 20), num_windows(clip, 21)] == [5, 1, 0]
    assert num_windows(unseen(clip, 3), 16) == 1


def test_the_worker_loads_the_expert_and_every_clip_is_scored(folder: Path, tmp_path: Path) -> None:
    ledger, settings = Ledger(open_store(tmp_path / "store")), pinned(config(folder))[0]
    video = talking_title(tmp_path, seconds=2.0, size=(256, 256)).video
    sha256 = file_sha256(video)
    payload = {"path": str(video), "name": video.name, "sha256": sha256, "code_version": "test"}
    worker = ExtractWorker(ledger.store.uri, settings.model_dump(mode="json"))
    worker.setup()
    try:
        receipt = done_by(worker, Unit(unit_id=sha256, stage="extract", payload=payload))
    finally:
        worker.close()
    (entry,) = receipt.samples
    assert set(entry.scores) >= SCORES
    assert "av_offset_s" in entry.scores
