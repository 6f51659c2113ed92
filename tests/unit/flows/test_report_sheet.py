"""The contact sheet shows every output that has a picture, and says how it came out."""

from __future__ import annotations

import cv2
import numpy as np

from flows.report.sheet import contact_sheet
from tests.support.accounts import strip, told_row

GREEN, RED = (106, 194, 74), (123, 127, 255)
"""BGR of what succeeded and of what must not go out."""


def sheet(rows: list[dict[str, object]], strips: dict[str, bytes]) -> np.ndarray:
    made = contact_sheet(rows, strips)
    assert made is not None
    picture = cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) < 30).any())


def test_without_pictures_there_is_no_sheet() -> None:
    assert contact_sheet([told_row()], {}) is None


def test_each_output_has_a_tile_with_its_picture() -> None:
    rows = [told_row(output=f"{number}.mp4") for number in range(5)]
    picture = sheet(rows, {f"{number}.mp4": strip() for number in (0, 1, 3, 4)})
    assert picture.shape == (2 * 206 + 8, 3 * 488 + 8, 3)
    bright = picture.mean(axis=2) > 150
    tiles = [bright[8 + 206 * y : 206 * (y + 1), 8 + 488 * x : 488 * (x + 1)].mean() for y in (0, 1) for x in (0, 1, 2)]
    assert [share > 0.5 for share in tiles] == [True, True, True, True, False, False]


def test_the_colour_of_an_outputs_status_is_beside_its_name() -> None:
    good = sheet([told_row()], {"one.es.mp4": strip()})
    bad = sheet([told_row(status="needs_review")], {"one.es.mp4": strip()})
    assert has(good, GREEN)
    assert not has(good, RED)
    assert has(bad, RED)


def test_a_name_longer_than_its_tile_does_not_run_into_the_next() -> None:
    name = "ü" * 200 + ".mp4"
    picture = sheet([told_row(output=name), told_row(output="b.mp4")], {name: strip(), "b.mp4": strip()})
    assert not (picture[8:28, 489:495].mean(axis=2) > 100).any()
