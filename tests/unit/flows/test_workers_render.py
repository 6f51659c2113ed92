"""Dubbing's second worker: the same clips, speaking something else."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.workers import render
from flows.workers.fragments import SourceChanged, clip_address, read_clip
from flows.workers.render import FRAMES_AT_ONCE, MODELS_KEPT, RenderWorker
from model.errors import NonFinitePicture
from model.pipeline import DubbingPipeline
from shards.commit import Receipt, Unit
from shards.schema import ClipSample
from shards.store import Store
from tests.support.datasets import done_by
from tests.support.film import Film, analysed_film
from tests.support.models import nano_checkpoint
from tests.support.synthetic import talking_title

SECONDS, FRAMES = 1.6, 40


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """A face that speaks all the time."""
    folder = tmp_path_factory.mktemp("film")
    video = talking_title(folder, seconds=SECONDS, size=(256, 256)).video
    return analysed_film(video, folder, nano_checkpoint(folder / "model"))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """A face that keeps its lips shut over digital silence."""
    folder = tmp_path_factory.mktemp("quiet")
    video = talking_title(folder, seconds=SECONDS, size=(256, 256), silent=True).video
    return analysed_film(video, folder, nano_checkpoint(folder / "model"))


@pytest.fixture(scope="module")
def worker(film: Film) -> Iterator[RenderWorker]:
    with film.render_worker() as made:
        yield made


_numbers = itertools.count()


def one(units: list[Unit], **payload: Any) -> Unit:
    """Under a name of its own: a unit that was done is not done again, its first result holds."""
    (unit,) = units
    return dataclasses.replace(unit, unit_id=f"try-{next(_numbers)}", payload={**unit.payload, **payload})


def source_of(film: Film) -> ClipSample:
    (entry,) = film.receipt.samples
    return read_clip(film.ledger.store, clip_address(film.receipt, entry))


def made_of(film: Film, receipt: Receipt) -> ClipSample:
    return read_clip(film.ledger.store, clip_address(receipt, receipt.samples[0]))


def mouths(worker: RenderWorker, items: list[Unit]) -> list[Receipt | Exception]:
    return worker.process_batch([worker._ledger.begin(unit, "test") for unit in items])


# -- a clip ------------------------------------------------------------------------------------------------------------


def test_the_clip_keeps_its_name_place_and_upper_face_and_is_scored(film: Film, worker: RenderWorker) -> None:
    receipt = done_by(worker, one(film.units(film.speech((0.0, 1.6, 1)))))
    source, made = source_of(film), made_of(film, receipt)
    assert (made.key, made.provenance) == (source.key, source.provenance)
    np.testing.assert_array_equal(made.transform.matrices, source.transform.matrices)
    pose = list(source.landmarks.topology.pose)
    np.testing.assert_allclose(made.landmarks.points[:, pose], source.landmarks.points[:, pose], atol=0.05)
    assert dict(receipt.details) == {"start_pts": 0, "rows": [[0, FRAMES]], "kept": []}
    assert {"identity", "sharpness_ratio", "change"} <= set(receipt.samples[0].scores)


def test_only_the_rows_of_its_turn_are_drawn(film: Film, worker: RenderWorker) -> None:
    receipt = done_by(worker, one(film.units(film.speech((0.0, 1.6, 1)), end=0.8)))
    assert receipt.details["rows"] == [[0, 20]]
    source, made = source_of(film), made_of(film, receipt)
    before, after = (np.abs(made.frames[s].astype(int) - source.frames[s]).mean() for s in (slice(20), slice(20, None)))
    assert before > 4 * after
    np.testing.assert_allclose(made.landmarks.points[20:], source.landmarks.points[20:])


def test_the_same_unit_gives_the_same_bytes_and_another_seed_does_not(film: Film, worker: RenderWorker) -> None:
    units = film.units(film.speech((0.0, 1.6, 1)))
    first, again = (done_by(worker, one(units)).objects for _ in range(2))
    assert first == again
    assert done_by(worker, one(units, seed=99)).objects != first


# -- several at once ---------------------------------------------------------------------------------------------------


def test_units_that_share_batches_are_what_they_are_alone(film: Film, worker: RenderWorker) -> None:
    units = [one(film.units(film.speech((0.0, 1.6, seed)), end=end)) for seed, end in ((1, 0.5), (2, None), (3, 1.1))]
    together = mouths(worker, units)
    for unit, receipt in zip(units, together, strict=True):
        assert isinstance(receipt, Receipt)
        alone = done_by(worker, dataclasses.replace(unit, unit_id=f"{unit.unit_id}-alone"))
        assert receipt.objects == alone.objects


def test_a_face_that_cannot_be_drawn_fails_its_own_unit_and_no_other(
    film: Film, worker: RenderWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [one(film.units(film.speech((0.0, 1.6, seed)), seed=7)) for seed in (1, 2, 3)]
    draw = DubbingPipeline.render_all

    def fails(self: DubbingPipeline, takes: Any, *more: Any, **options: Any) -> Any:
        if any(take.name == units[1].unit_id for take in takes):
            raise NonFinitePicture(shot=units[1].unit_id, frame=0, step=1, steps=4, dtype="float32")
        return draw(self, takes, *more, **options)

    monkeypatch.setattr(DubbingPipeline, "render_all", fails)
    found = mouths(worker, units)
    assert [type(answer) for answer in found] == [Receipt, NonFinitePicture, Receipt]
    with pytest.raises(NonFinitePicture):
        done_by(worker, units[1])
    assert film.ledger.receipt(units[1].unit_id) is None


def test_units_of_different_quality_are_rendered_in_one_call(film: Film, worker: RenderWorker) -> None:
    audio = film.speech((0.0, 1.6, 4))
    units = [one(film.units(audio, quality=quality, end=0.4)) for quality in ("draft", "standard")]
    found = mouths(worker, units)
    assert all(isinstance(answer, Receipt) for answer in found)
    assert len({answer.objects for answer in found if isinstance(answer, Receipt)}) == 2


def test_memory_that_is_short_halves_the_frames_at_once_down_to_one(film: Film) -> None:
    worker = RenderWorker(film.ledger.store.uri, film.voice.checkpoint)
    halvings = 0
    while worker.shrink():
        halvings += 1
    assert 2**halvings == FRAMES_AT_ONCE


# -- silence -----------------------------------------------------------------------------------------------------------


def test_where_the_dub_is_silent_a_closed_mouth_stays_the_sources(quiet: Film) -> None:
    with quiet.render_worker() as worker:
        receipt = done_by(worker, one(quiet.units(quiet.speech())))
    assert receipt.details["rows"] == []
    ((kept),) = receipt.details["kept"]
    assert (kept["rows"], kept["code"]) == ([[0, FRAMES]], "silent_closed")
    source, made = source_of(quiet), made_of(quiet, receipt)
    # What the crops' own JPEG loses once more.
    assert np.abs(made.frames.astype(int) - source.frames).mean() < 1
    assert dict(receipt.samples[0].scores) == {}


def test_where_the_dub_speaks_the_same_mouth_is_drawn(quiet: Film) -> None:
    with quiet.render_worker() as worker:
        receipt = done_by(worker, one(quiet.units(quiet.speech((0.0, 1.6, 1)))))
    assert receipt.details["rows"] == [[0, FRAMES]]


def test_a_mouth_that_speaks_in_the_source_is_not_left_speaking_to_silence(film: Film, worker: RenderWorker) -> None:
    receipt = done_by(worker, one(film.units(film.speech())))
    rows = {t for start, stop in receipt.details["rows"] for t in range(start, stop)}
    kept = {t for entry in receipt.details["kept"] for start, stop in entry["rows"] for t in range(start, stop)}
    assert rows | kept == set(range(FRAMES))
    assert not rows & kept
    assert len(rows) > FRAMES / 2


# -- what units share --------------------------------------------------------------------------------------------------


def test_what_clips_share_is_read_once(film: Film, worker: RenderWorker) -> None:
    units = film.units(film.speech((0.0, 1.6, 5)), end=0.2)
    done_by(worker, one(units))

    def misses() -> list[int]:
        return [cache.cache_info().misses for cache in (worker._pipe, worker._analysis, worker._references)]

    before = misses()
    done_by(worker, one(units))
    assert misses() == before


def test_the_last_models_are_kept(film: Film, tmp_path: Path) -> None:
    others = [str(nano_checkpoint(tmp_path / str(n), seed=n)) for n in range(1, MODELS_KEPT + 1)]
    with film.render_worker() as worker:
        for checkpoint in [*others, others[0]]:
            worker._pipe(checkpoint)
        info = worker._pipe.cache_info()
    assert (info.misses, info.hits, info.currsize) == (1 + MODELS_KEPT, 1, MODELS_KEPT)


def test_a_rows_own_model_renders_it(film: Film, worker: RenderWorker, tmp_path: Path) -> None:
    units = film.units(film.speech((0.0, 1.6, 6)), end=0.2)
    checkpoint = str(nano_checkpoint(tmp_path / "own", seed=5))
    digest = DubbingPipeline.from_pretrained(checkpoint).digest
    own = done_by(worker, one(units, checkpoint=checkpoint, voice=digest))
    assert own.objects != done_by(worker, one(units)).objects


def test_a_model_that_changed_after_it_was_planned_is_refused(film: Film, worker: RenderWorker) -> None:
    with pytest.raises(SourceChanged, match="the model"):
        done_by(worker, one(film.units(film.speech((0.0, 1.6, 1))), voice="0" * 64))


def test_a_speech_that_is_not_the_planned_one_is_not_rendered_under_its_name(film: Film, worker: RenderWorker) -> None:
    audio = film.speech((0.0, 1.6, 8))
    unit = one(film.units(audio))
    audio.write_bytes(film.speech((0.0, 1.6, 1)).read_bytes())
    with pytest.raises(SourceChanged):
        done_by(worker, unit)
    assert film.ledger.receipt(unit.unit_id) is None


def test_an_adapted_completion_takes_the_place_of_the_models(
    film: Film, worker: RenderWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    other = DubbingPipeline.from_pretrained(film.voice.checkpoint)

    def taught(pipe: DubbingPipeline, store: Store, path: str) -> DubbingPipeline:
        asked.append(path)
        return other

    monkeypatch.setattr(render, "load_adapted", taught)
    unit = one(film.units(film.speech((0.0, 1.6, 1)), end=0.2), adapted="objects/taught")
    done_by(worker, unit)
    assert asked == ["objects/taught"]
