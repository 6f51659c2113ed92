"""The figures of a dry run: counted where the records tell, the most it can be where they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.casting import MAX_UNIT_FRAMES
from flows.forecast import forecast, most_face_frames
from flows.pace import LOOKED_AT, Took, paces
from flows.rows import TitleRow
from flows.title import Title
from shards.commit import Ledger, Receipt, Unit
from shards.place import Entry
from shards.schema import Rejection
from shards.store import Store, open_store
from tests.support.fakes import media_info

FRAMES = 20
WHY = (Rejection(code="no_face", detail="nobody"),)


def title(language: str = "es", *, video: str = "v", frames: int = FRAMES, **columns: Any) -> Title:
    """A title of 20 frames at 25 frames a second."""
    given = {"title_id": "one", "video": "a.mp4", "audio": "a.wav", "language": language, "output": f"{language}.mp4"}
    return Title(
        row=TitleRow.model_validate({**given, **columns}),
        info=media_info(np.zeros((4, 4, 3), dtype=np.uint8), frames),
        video_sha256=video,
        audio_sha256="a",
    )


def render_unit(name: str, *rows: tuple[int, int]) -> Unit:
    return Unit(unit_id=name, stage="render", payload={"rows": [list(span) for span in rows]})


@dataclass
class Remembered:
    """Records in which a test has put what is known."""

    ledger: Ledger
    seen: dict[str, Sequence[Unit]] = field(default_factory=dict)
    """Output -> its clips, where its picture is analysed."""
    finished: set[str] = field(default_factory=set)

    def analysed(self, title: Title) -> Receipt | None:
        is_seen = title.row.output in self.seen
        return Receipt(unit_id="seen", stage="analyse", rejections=WHY) if is_seen else None

    def renders(self, title: Title) -> Sequence[Unit]:
        return self.seen[title.row.output]

    def is_current(self, title: Title) -> bool:
        return title.row.output in self.finished


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(tmp_path / "store"))


@pytest.fixture
def took(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Commits a unit that took so many seconds."""
    lasted: dict[str, float] = {}
    really = Store.entries

    def entries(self: Store, prefix: str = "") -> list[Entry]:
        if prefix != "commits/":
            return list(really(self, prefix))
        names = {entry.path: Path(entry.path).name.partition(".")[0] for entry in really(self, prefix)}
        begun = {name: datetime.fromisoformat(ledger.attempts(name)[0].started_at) for name in names.values()}
        return [Entry(path, 1, begun[name] + timedelta(seconds=lasted[name])) for path, name in names.items()]

    def commit(stage: str, name: str, seconds: float, **details: Any) -> None:
        unit = Unit(unit_id=name, stage=stage, payload={})
        ledger.commit(ledger.begin(unit, "run"), Receipt(unit_id=name, stage=stage, rejections=WHY, details=details))
        lasted[name] = seconds

    monkeypatch.setattr(Store, "entries", entries)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    return commit


# -- what there is to do -----------------------------------------------------------------------------------------------


def test_before_anything_is_done_every_frame_may_show_a_face() -> None:
    plan = forecast([title("es"), title("fr")], None)
    assert (plan["frames"], plan["frames_to_do"], plan["face_frames"], plan["up_to_date"]) == (40, 40, 40, 0)
    assert plan["face_frames_said"].startswith("at most, if one speaks at a time: 2 of 2 outputs wait for the analysis")
    # One picture to analyse; two titles to render, encode and finish.
    assert plan["units"] == 1 + 3 * 2
    assert plan["estimated_seconds"] is None
    assert plan["estimate_said"] == "nothing was done here yet that could be measured"


def test_clips_are_counted_by_their_rows_once_and_only_while_nobody_drew_them(
    ledger: Ledger, took: Callable[..., None]
) -> None:
    mine, shared, drawn = render_unit("a", (0, 3), (5, 9)), render_unit("b", (2, 4)), render_unit("c", (0, 20))
    known = Remembered(ledger, seen={"es.mp4": [mine, shared], "fr.mp4": [shared, drawn]})
    took("render", "c", 1.0, rows=[[0, 20]])
    plan = forecast([title("es"), title("fr")], known)
    assert (plan["face_frames"], plan["face_frames_said"]) == (9, "counted: every picture is analysed")


def test_what_is_known_and_what_is_not_are_added_up_and_said(ledger: Ledger) -> None:
    known = Remembered(ledger, seen={"es.mp4": [render_unit("a", (0, 7))]})
    plan = forecast([title("es"), title("fr")], known)
    assert plan["face_frames"] == 7 + FRAMES
    assert plan["face_frames_said"].startswith("at most, if one speaks at a time: 1 of 2 outputs wait")


def test_rows_that_are_up_to_date_are_no_work(ledger: Ledger) -> None:
    known = Remembered(ledger, finished={"es.mp4", "fr.mp4"})
    plan = forecast([title("es"), title("fr"), title("de")], known)
    assert (plan["frames"], plan["frames_to_do"], plan["face_frames"], plan["up_to_date"]) == (60, 20, 20, 2)
    assert (plan["titles"], plan["outputs"]) == (1, 3)
    assert [(row["output"], row["is_up_to_date"]) for row in plan["rows"]] == [
        ("es.mp4", True),
        ("fr.mp4", True),
        ("de.mp4", False),
    ]
    nothing = forecast([title("es")], known)
    assert (nothing["estimated_seconds"], nothing["estimate_said"]) == (0.0, "nothing is to be done")


@pytest.mark.parametrize(
    ("columns", "frames"),
    [
        ({}, 20),
        ({"start_tc": "0.4"}, 10),
        ({"start_tc": "00:00:00:05", "end_tc": "0.6"}, 10),
        ({"end_tc": "5"}, 20),
        ({"speaker_mode": "off"}, 0),
    ],
)
def test_only_the_part_that_is_dubbed_may_show_faces_to_draw(columns: dict[str, Any], frames: int) -> None:
    assert most_face_frames(title(**columns)) == frames


# -- how long it takes -------------------------------------------------------------------------------------------------


def test_time_is_estimated_from_what_each_stage_took(ledger: Ledger, took: Callable[..., None]) -> None:
    took("analyse", "1", 2.0, frames=100)
    took("render", "2", 5.0, rows=[[0, 10], [20, 30]])
    took("picture", "3", 1.0, frames=50)
    took("master", "4", 3.0)
    plan = forecast([title("es"), title("fr")], Remembered(ledger))
    # One picture of 20 frames, 40 faces, 40 frames to encode, two files; on two cores.
    assert plan["estimated_seconds"] == pytest.approx((0.4 + 10.0 + 0.8 + 6.0) / 2)


def test_a_stage_that_was_never_measured_is_named_instead_of_guessed(ledger: Ledger, took: Callable[..., None]) -> None:
    took("analyse", "1", 2.0, frames=100)
    took("picture", "3", 1.0, frames=50)
    plan = forecast([title("es")], Remembered(ledger))
    assert plan["estimated_seconds"] is None
    assert plan["estimate_said"] == "nothing was measured here yet of: render, master"


def test_a_stage_without_work_needs_no_measure(ledger: Ledger, took: Callable[..., None]) -> None:
    took("picture", "3", 1.0, frames=50)
    took("master", "4", 3.0)
    known = Remembered(ledger, seen={"es.mp4": []})
    assert forecast([title("es")], known)["estimated_seconds"] == pytest.approx((0.4 + 3.0) / 2)


def test_a_long_title_is_worked_on_by_all_cores_and_a_short_one_by_one(
    ledger: Ledger, took: Callable[..., None]
) -> None:
    took("picture", "3", 1.0, frames=MAX_UNIT_FRAMES)
    took("master", "4", 0.0)
    known = Remembered(ledger, seen={"es.mp4": []})
    assert forecast([title("es", frames=4 * MAX_UNIT_FRAMES)], known)["estimated_seconds"] == 2.0


def test_the_latest_units_tell_the_pace_and_no_stage_hides_another(
    ledger: Ledger, took: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    took("analyse", "first", 1.0, frames=10)
    for number in range(LOOKED_AT + 3):
        took("picture", f"p{number}", 1.0, frames=10)
    found = paces(ledger, ("analyse", "picture", "render"))
    assert set(found) == {"analyse", "picture"}
    assert (found["analyse"].units, found["picture"].units) == (1, LOOKED_AT)


def test_units_that_tell_no_frames_are_timed_by_the_unit() -> None:
    assert Took(6.0, frames=0, units=3).seconds_for(1000, 2) == 4.0
    assert Took(6.0, frames=60, units=3).seconds_for(1000, 2) == 100.0
