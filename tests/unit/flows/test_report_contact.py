"""Which clips a contact sheet shows, and how."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from flows.report import contact
from flows.report.contact import FRAME_PX, film, in_turn, kept_sheet, spread
from flows.report.rejected import LeftOut
from shards.reader import open_dataset
from shards.records import SampleEntry
from shards.schema import Rejection
from shards.store import open_store
from tests.support.clips import make_clip
from tests.support.datasets import make_dataset


def identities(*names: str) -> pa.Table:
    return pa.table({"identity": pa.array(names, pa.string())})


def left_out(code: str, key: str) -> LeftOut:
    entry = SampleEntry(
        key=key, offset=0, size_bytes=1, identity="p", language=None, duration_s=1.0, num_frames=25, scores={}
    )
    return LeftOut(entry=entry, object_path="o", source="s", rejection=Rejection(code=code, detail="d"))


def test_every_identity_is_shown_before_one_is_shown_twice() -> None:
    table = identities("a", "a", "a", "b", "c", "c")
    assert spread(table, 3) == [0, 3, 4]
    assert sorted(spread(table, 5)) == [0, 1, 3, 4, 5]
    assert sorted(spread(table, 9)) == list(range(6))


def test_of_many_identities_those_shown_are_spread_over_the_dataset() -> None:
    chosen = spread(identities(*(f"p{i}" for i in range(100))), 5)
    assert chosen == [0, 25, 50, 74, 99]


def test_a_common_code_does_not_crowd_out_the_others() -> None:
    many = [left_out("silent", f"s{i:02}") for i in range(50)] + [
        left_out("blurred", "y0"),
        left_out("face_lost", "z0"),
    ]
    chosen = in_turn(many, 6)
    assert Counter(left.rejection.code for left in chosen) == {"silent": 4, "blurred": 1, "face_lost": 1}
    assert [left.rejection.code for left in chosen] == sorted(left.rejection.code for left in chosen)


def test_a_film_shows_the_first_middle_and_last_frame() -> None:
    clip = make_clip(3, frames=9)
    clip.frames[:] = np.arange(9, dtype=np.uint8)[:, None, None, None] * 25
    picture = cv2.imdecode(np.frombuffer(film(clip), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (FRAME_PX, 3 * FRAME_PX, 3)
    middles = [int(picture[60, 60 + FRAME_PX * i].mean()) for i in range(3)]
    assert middles == pytest.approx([0, 100, 200], abs=3)


def test_a_sheet_is_cut_where_it_would_weigh_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "store")
    make_dataset(store, tmp_path)
    dataset = open_dataset(store)
    whole: list[dict[str, Any]] = kept_sheet(dataset)["clips"]
    weight = sum(len(clip["picture"]) for clip in whole[:4])
    monkeypatch.setattr(contact, "SHEET_BYTES", weight * 3 / 4)
    assert kept_sheet(dataset)["clips"] == whole[:4]
