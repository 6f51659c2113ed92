"""A chunk's piece: the source's frames with the new mouths in them, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.workers import picture
from flows.workers.fragments import SourceChanged
from flows.workers.picture import PictureWorker, source_range
from preprocessing.media.native import NativeSource
from preprocessing.media.probe import probe_with_times
from shards.commit import Receipt, Unit
from tests.support.datasets import done_by
from tests.support.lavfi import sine
from tests.support.mastered import QUICK, Drawn, Film
from tests.support.tempfolders import left_in


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    return Film.made(tmp_path_factory.mktemp("picture"), Drawn(40, 60), Drawn(44, 56, face="person-1", seed=5))


@pytest.fixture(scope="module")
def unit(film: Film) -> Unit:
    (unit,) = film.units()
    return unit


def worker_of(film: Film) -> PictureWorker:
    made = PictureWorker(film.ledger.store.uri, QUICK.model_dump(mode="json"))
    made.setup()
    return made


def renamed(unit: Unit, unit_id: str, **changes: Any) -> Unit:
    return dataclasses.replace(unit, unit_id=unit_id, payload={**unit.payload, **changes})


def luma(film: Film, receipt: Receipt, folder: Path) -> np.ndarray:
    """(T, H, W) of a piece."""
    path = folder / "piece.mov"
    film.ledger.store.fetch(receipt.objects[0].path, path)
    info, times = probe_with_times(path)
    return np.stack([f.planes[0] for f in NativeSource(path, info, times=times).frames()]).astype(float)


def own_luma(film: Film, start: int, stop: int) -> np.ndarray:
    info, times = probe_with_times(film.title.row.video)
    source = NativeSource(film.title.row.video, info, times=times)
    return np.stack([f.planes[0] for f in source.frames(start, stop)]).astype(float)


def test_new_mouths_are_where_they_were_rendered_and_nowhere_else(film: Film, unit: Unit, tmp_path: Path) -> None:
    receipt = done_by(worker_of(film), unit)
    change = np.abs(luma(film, receipt, tmp_path) - own_luma(film, 36, 60))
    # The first crop covers columns 10 to 74, the other one 60 to 124; both rows 16 to 80.
    first, second, beside = change[:, 40:70, 25:55], change[:, 40:70, 80:110], change[:, :12]
    assert first[10:18].mean() > 5 * change[:4].mean()
    assert second[12:16].mean() > 5 * second[:8].mean()
    assert beside.mean() < 2
    assert receipt.details["rendered_frames"] == 20
    assert receipt.details["frames"] == 24


def test_the_borders_of_every_stretch_are_looked_at(film: Film, unit: Unit) -> None:
    seams = done_by(worker_of(film), unit).details["seams"]
    assert [(seam["start"], seam["stop"]) for seam in seams] == [(40, 60), (44, 56)]
    assert all(seam["contrast"] >= 1 for seam in seams)


def test_the_same_unit_gives_the_same_bytes(film: Film, unit: Unit) -> None:
    worker = worker_of(film)
    again = [done_by(worker, renamed(unit, name)).objects[0].sha256 for name in ("again", "and-again")]
    assert again == [done_by(worker_of(film), unit).objects[0].sha256] * 2


def test_a_source_is_read_and_checked_once_for_its_chunks(
    film: Film, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Path] = []
    monkeypatch.setattr(picture, "need_planned", lambda path, sha256: checked.append(path))
    worker = worker_of(film)
    done_by(worker, renamed(unit, "once"))
    done_by(worker, renamed(unit, "twice"))
    assert checked == [film.title.row.video]


def test_a_source_that_changed_is_refused(film: Film, unit: Unit) -> None:
    with pytest.raises(SourceChanged):
        done_by(worker_of(film), renamed(unit, "changed", video_sha256="0" * 64))


def test_a_failure_within_a_chunk_leaves_nothing_behind(
    film: Film, unit: Unit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose, count = picture.compose, iter(range(100))

    def fails(*given: Any) -> Any:
        if next(count) == 9:
            raise OSError("no space left on device")
        return compose(*given)

    before = set(film.ledger.store.list("objects/"))
    monkeypatch.setattr(picture, "compose", fails)
    with left_in(tmp_path, monkeypatch) as left, pytest.raises(OSError, match="no space left"):
        done_by(worker_of(film), renamed(unit, "half-way"))
    assert left() == []
    assert set(film.ledger.store.list("objects/")) == before
    assert film.ledger.receipt("half-way") is None


def test_after_the_sources_last_frame_that_one_is_held(tmp_path: Path) -> None:
    film = Film.made(tmp_path, Drawn(90, 100), audio=sine(tmp_path / "long.m4a", seconds=5), duration_policy="freeze")
    receipt = film.encoded()[-1]
    found = luma(film, receipt, tmp_path)
    assert receipt.details["frames"] == len(found) == 125 - 84
    assert np.abs(found[20:] - found[15]).mean() < 1
    assert np.abs(found[15] - found[0]).mean() > 1


@pytest.mark.parametrize(
    ("output", "shown"), [((0, 10), (0, 10)), ((90, 130), (90, 100)), ((100, 120), (99, 100)), ((110, 120), (99, 100))]
)
def test_the_frames_that_an_output_range_shows(output: tuple[int, int], shown: tuple[int, int]) -> None:
    assert source_range(*output, 100) == shown


def test_a_source_that_ends_early_is_no_piece(film: Film, unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(source: NativeSource, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        return iter(())

    monkeypatch.setattr(NativeSource, "frames", ends)
    with pytest.raises(ValueError, match="no frame to show as 36"):
        done_by(worker_of(film), renamed(unit, "early"))
