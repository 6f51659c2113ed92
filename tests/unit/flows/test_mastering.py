"""Chunks of a row's picture, and units that are named by what their bytes depend on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.dubbing.config import DubConfig
from flows.mastering import STRUCTURE
from preprocessing.media.encode import EncodeConfig
from shards.commit import Unit
from tests.support.lavfi import sine, video
from tests.support.mastered import Drawn, Film

BOTH = (Drawn(38, 46), Drawn(88, 96, seed=2))
"""Two lines, in the fourth and in the last two groups of 12 frames."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mastering")


@pytest.fixture(scope="module")
def film(folder: Path) -> Film:
    return Film.made(folder / "film", *BOTH)


def spans(film: Film) -> list[tuple[int, int, bool]]:
    return [(c.start, c.stop, c.is_copied) for c in film.plan.chunks]


def names(units: Sequence[Unit]) -> list[str]:
    return [unit.unit_id for unit in units]


def test_only_what_is_encoded_is_a_unit(film: Film) -> None:
    assert spans(film) == [(0, 36, True), (36, 48, False), (48, 84, True), (84, 100, False)]
    assert [(u.payload["start"], u.payload["stop"]) for u in film.units()] == [(36, 48), (84, 100)]


def test_a_face_in_the_middle_leaves_most_to_be_copied(folder: Path) -> None:
    film = Film.made(folder / "middle", Drawn(50, 58))
    assert spans(film) == [(0, 48, True), (48, 60, False), (60, 100, True)]
    assert film.plan.why_not_copied is None
    assert film.plan.generated == [(50, 58)]


def test_a_title_with_nothing_rendered_is_copied_whole(folder: Path) -> None:
    film = Film.made(folder / "untouched")
    assert spans(film) == [(0, 100, True)]
    assert film.units() == []
    assert film.master().payload["models"] == []


def test_a_changed_line_changes_only_its_chunk(film: Film, folder: Path) -> None:
    before, after = names(film.units()), names(film.drawn(folder, BOTH[0], Drawn(88, 96, seed=3)).units())
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_so_it_does_where_nothing_is_copied(folder: Path) -> None:
    source = video(folder / "long.mp4", size="128x96", seconds=14)
    lines = (Drawn(10, 30), Drawn(300, 330, seed=2))
    film = Film.made(folder / "long", *lines, source=source, cuts=[100, 200, 290], codec_policy="review:h264")
    assert spans(film) == [(0, 200, False), (200, 350, False)]
    before = names(film.units())
    after = names(film.drawn(folder / "long", lines[0], Drawn(300, 330, seed=3)).units())
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_what_a_neighbour_shows_does_not_matter_but_that_it_shows_does(folder: Path) -> None:
    source = video(folder / "pair.mp4", size="128x96", seconds=14)
    lines = (Drawn(180, 200), Drawn(200, 230, seed=2))
    film = Film.made(folder / "pair", *lines, source=source, cuts=[200], codec_policy="review:h264")
    assert spans(film) == [(0, 200, False), (200, 350, False)]
    before = names(film.units())
    assert names(film.drawn(folder / "pair", lines[0], Drawn(200, 230, seed=3)).units())[0] == before[0]
    assert names(film.drawn(folder / "pair", lines[0]).units())[0] != before[0]


def test_rows_that_differ_in_sound_alone_share_their_chunks(film: Film, folder: Path) -> None:
    other = film.asking(
        audio=sine(folder / "other.m4a", seconds=3), language="fr", output="one.fr.mov", keep_audio=False
    )
    assert names(other.units()) == names(film.units())


def test_patience_does_not_name_a_chunk_and_quality_does(film: Film) -> None:
    before = names(film.units())
    film.config = DubConfig(encode=EncodeConfig(preset="veryfast", stall_s=7))
    assert names(film.units()) == before
    film.config = DubConfig(encode=EncodeConfig(preset="veryfast", h264_crf=20))
    assert not set(names(film.units())) & set(before)
    film.config = DubConfig(encode=EncodeConfig(preset="veryfast"))


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"codec_policy": "mezzanine:prores_422hq", "output": "one.mov"}, "codec policy"),
        ({}, None),
    ],
)
def test_why_nothing_is_copied_is_told(folder: Path, columns: dict[str, str], why: str | None) -> None:
    film = Film.made(folder / "why", Drawn(50, 58)).asking(**columns)
    told = film.plan.why_not_copied
    assert (told is None) if why is None else why in (told or "")


def test_groups_that_are_all_touched_leave_nothing_to_copy(folder: Path) -> None:
    film = Film.made(folder / "touched", *[Drawn(n, n + 6) for n in range(0, 96, 12)])
    assert "no second of untouched frames" in (film.plan.why_not_copied or "")


def test_an_analysis_that_did_not_look_at_packets_copies_nothing(folder: Path) -> None:
    film = Film.made(folder / "unknown", Drawn(50, 58))
    del film.analysed.details[STRUCTURE]  # type: ignore[attr-defined]
    assert "one to one" in (film.plan.why_not_copied or "")


def test_a_held_last_frame_is_a_chunk_of_its_own_length(folder: Path) -> None:
    speech = sine(folder / "six.m4a", seconds=6)
    film = Film.made(folder / "held", Drawn(90, 100), audio=speech, duration_policy="freeze")
    chunks = film.plan.chunks
    assert chunks[-1].stop == 150
    assert film.plan.generated == [(90, 150)]
    assert spans(film)[0] == (0, 84, True)


def test_a_picture_that_ends_with_the_speech_is_planned_no_further(folder: Path) -> None:
    speech = sine(folder / "two.wav", seconds=2)
    film = Film.made(folder / "cut", Drawn(40, 60), audio=speech, duration_policy="cut")
    assert film.plan.chunks[-1].stop == 50
    assert film.plan.generated == [(40, 50)]


@pytest.mark.parametrize(
    "columns",
    [
        {"keep_audio": False},
        {"dub_default": False},
        {"subtitle_policy": "drop"},
        {"consent_ref": "7"},
        {"language": "fr"},
    ],
)
def test_what_a_row_asks_of_its_file_names_the_master(folder: Path, columns: dict[str, object]) -> None:
    film = Film.made(folder / "master")
    assert film.asking(**columns).master().unit_id != film.master().unit_id


def test_an_edition_is_a_unit_of_its_own(folder: Path) -> None:
    film = Film.made(folder / "edition")
    assert film.master(edition=1).unit_id != film.master().unit_id


def test_a_masters_payload_says_what_was_copied(folder: Path) -> None:
    film = Film.made(folder / "payload", Drawn(50, 58))
    first, second, third = film.master().payload["chunks"]
    assert first["object"] is third["object"] is None
    assert second == {"start": 48, "stop": 60, "object": film.encoded()[0].objects[0].path}
