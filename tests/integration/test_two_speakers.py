"""Two people in one shot, through real media and both workers: each speaks in their own turns, with their own sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.casting import cast_of
from flows.hearing import Speeches
from flows.workers.fragments import clip_address, read_clip
from shards.commit import Unit
from tests.support.datasets import done_by
from tests.support.film import Film, analysed_film, two_people
from tests.support.models import nano_checkpoint

HALF, FRAMES = 50, 100
"""The left one speaks in the first half."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    folder = tmp_path_factory.mktemp("two")
    return analysed_film(two_people(folder), folder, nano_checkpoint(folder / "model"))


@pytest.fixture(scope="module")
def people(film: Film) -> tuple[str, str]:
    """Identities, from left to right."""
    places = {t.identity: float(np.nanmean(t.track.landmarks.points[..., 0])) for t in film.analysis.tracks}
    left, right = sorted(places, key=places.__getitem__)
    return left, right


def person(film: Film, unit: Unit) -> str:
    number: int = unit.payload["track"]
    return film.analysis.tracks[number].identity


def turns(film: Film, audio: Path, **columns: Any) -> dict[str, list[tuple[int, int]]]:
    cast = cast_of(film.title(audio, **columns), film.analysis, film.receipt, Speeches())
    return {part.piece.aligned.identity: list(part.rows) for part in cast.parts}


def test_each_speaks_when_their_mouth_moves_with_the_original_sound(film: Film, people: tuple[str, str]) -> None:
    found = turns(film, film.speech((0.0, 4.0, 1), seconds=4.0))
    assert set(found) == set(people)
    left, right = (found[name] for name in people)
    assert [len(left), len(right)] == [1, 1]
    assert left[0][0] == 0
    assert left[0][1] == right[0][0]
    assert abs(left[0][1] - HALF) <= 5
    assert right[0][1] == FRAMES


def test_each_hears_their_own_stem_and_only_whose_stem_changed_is_rendered_anew(
    film: Film, people: tuple[str, str]
) -> None:
    mix = film.speech((0.0, 4.0, 1), seconds=4.0)

    def units(right_seed: int) -> dict[str, Unit]:
        stems = [film.speech((0.0, 4.0, seed), seconds=4.0) for seed in (2, right_seed)]
        segments = [
            {"start": 0.2, "end": 1.8, "speaker": "A", "audio": stems[0]},
            {"start": 2.2, "end": 3.8, "speaker": "B", "audio": stems[1]},
        ]
        mapped = {speaker: f"track:{name}" for speaker, name in zip("AB", people, strict=True)}
        found = film.units(mix, segments=segments, speaker_map=mapped)
        return {person(film, unit): unit for unit in found}

    before, after = units(3), units(4)
    left, right = people
    assert before[left].unit_id == after[left].unit_id
    assert before[right].unit_id != after[right].unit_id
    assert [Path(v["audio"]).name for v in before[left].payload["voices"]] == ["0.0_4.0_2.wav"]
    assert [Path(v["audio"]).name for v in before[right].payload["voices"]] == ["0.0_4.0_3.wav"]


def test_whoever_has_no_turn_is_the_sources_to_the_last_row(film: Film, people: tuple[str, str]) -> None:
    units = film.units(film.speech((0.0, 4.0, 1), seconds=4.0))
    sources = {entry.key: entry for entry in film.receipt.samples}
    with film.render_worker() as worker:
        for unit in units:
            receipt = done_by(worker, unit)
            rows = {t for a, b in receipt.details["rows"] for t in range(a, b)}
            made = read_clip(film.ledger.store, clip_address(receipt, receipt.samples[0]))
            source = read_clip(film.ledger.store, clip_address(film.receipt, sources[made.key]))
            changed = np.abs(made.frames.astype(int) - source.frames).mean(axis=(1, 2, 3)) > 2
            assert set(np.flatnonzero(changed).tolist()) <= rows
            expected = range(HALF - 5) if person(film, unit) == people[0] else range(HALF + 5, FRAMES)
            assert set(expected) <= rows
