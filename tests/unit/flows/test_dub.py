"""The dubbing flow's phases, each called as a plain function: no Prefect server, no Ray, no media but in the plan."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import dub
from flows.cluster.config import EngineConfig
from flows.dub import Outcome, make_titles, report_titles
from flows.dubbing.config import DubConfig
from flows.records import Records
from flows.title import Title
from flows.units import Stopped
from preprocessing.errors import Unusable
from shards.commit import Unit
from shards.repair import reopen
from tests.support.titles import Paper, make_records, make_title, planned, use

QUICK = DubConfig(engine=EngineConfig(backoff_s=0, max_attempts=2), batch=1)
DONE = {"analyse": 2, "render": 4, "picture": 2, "master": 2}
"""Units of two titles of two shots each."""
COLUMNS = ("title_id", "video", "audio", "language", "output")


# -- the work ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paper:
    return use(monkeypatch, Paper(tmp_path / "out"))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return make_records(tmp_path / "out")


@pytest.fixture
def titles(tmp_path: Path) -> tuple[Title, Title]:
    """Two pictures."""
    return (
        make_title(tmp_path / "in"),
        make_title(tmp_path / "in", video=b"second", title_id="two", output="sub/two.es.mp4"),
    )


def make(records: Records, *titles: Title, config: DubConfig = QUICK) -> dict[str, Any]:
    """One run: the work, then the report."""
    catalogue, out = planned(*titles), str(records.out)
    outcome = make_titles.fn(catalogue, out, config, "none")
    report: dict[str, Any] = report_titles.fn(catalogue, out, config, outcome, 1.0)
    return report


def failing(stage: str, error: Exception, **payload: object) -> Callable[[Unit], None]:
    """Fails units of the stage whose payload has these values."""

    def fails(unit: Unit) -> None:
        if unit.stage == stage and payload.items() <= unit.payload.items():
            raise error

    return fails


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {row["output"]: row["status"] for row in report["rows"]}


def test_every_row_is_finished_and_reported(records: Records, titles: tuple[Title, ...], paper: Paper) -> None:
    report = make(records, *titles)
    assert report["titles"] == {"succeeded": 2}
    assert report["outputs"] == [str(records.out / "one.es.mp4"), str(records.out / "sub" / "two.es.mp4")]
    assert Counter(paper.done) == DONE
    assert json.loads((records.out / "report.json").read_text())["titles"] == {"succeeded": 2}
    assert "data:image/jpeg" in (records.out / "report.html").read_text()


def test_the_same_run_again_does_nothing_and_says_so(records: Records, titles: tuple[Title, ...], paper: Paper) -> None:
    make(records, *titles)
    paper.done.clear()
    assert make(records, *titles)["titles"] == {"up_to_date": 2}
    assert paper.done == []


def test_a_second_language_is_only_rendered_and_mastered(records: Records, tmp_path: Path, paper: Paper) -> None:
    spanish = make_title(tmp_path / "in")
    french = make_title(tmp_path / "in", line=1, language="fr", output="one.fr.mp4")
    make(records, spanish)
    paper.done.clear()
    assert make(records, spanish, french)["titles"] == {"succeeded": 1, "up_to_date": 1}
    assert paper.done == ["render", "render", "picture", "master"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"cut")])
def test_an_output_that_is_gone_or_changed_is_made_again_by_the_next_run(
    records: Records, titles: tuple[Title, ...], paper: Paper, harm: Callable[[Path], object]
) -> None:
    make(records, *titles)
    harm(records.out / "one.es.mp4")
    paper.done.clear()
    assert statuses(make(records, *titles)) == {"one.es.mp4": "succeeded", "sub/two.es.mp4": "up_to_date"}
    assert paper.done == ["master"]
    assert make(records, *titles)["titles"] == {"up_to_date": 2}


def test_a_lost_stretch_needs_review_and_its_title_is_finished(
    records: Records, titles: tuple[Title, ...], paper: Paper
) -> None:
    lost: set[str] = set()

    def fails(unit: Unit) -> None:
        if unit.stage == "render" and lost <= {unit.unit_id}:
            lost.add(unit.unit_id)
            raise ValueError("poison")

    paper.fails = fails
    report = make(records, *titles)
    assert report["titles"] == {"needs_review": 1, "succeeded": 1}
    paper.done.clear()
    assert make(records, *titles)["titles"] == {"needs_review": 1, "up_to_date": 1}
    assert paper.done == []


@pytest.mark.parametrize(
    ("stage", "payload"), [("analyse", "video_sha256"), ("master", "output")], ids=["analysis", "master"]
)
def test_one_title_that_fails_does_not_stop_the_others_and_is_not_tried_for_ever(
    records: Records, titles: tuple[Title, ...], paper: Paper, stage: str, payload: str
) -> None:
    first = {"video_sha256": titles[0].video_sha256, "output": titles[0].row.output}[payload]
    paper.fails = failing(stage, ValueError("poison"), **{payload: first})
    report = make(records, *titles)
    assert statuses(report) == {"one.es.mp4": "failed_system", "sub/two.es.mp4": "succeeded"}
    assert report["rows"][0]["reason"].startswith(f"{stage}: ValueError: poison; once that is mended: ")
    paper.done.clear()
    paper.fails = failing("nothing", ValueError())
    assert statuses(make(records, *titles)) == {"one.es.mp4": "failed_system", "sub/two.es.mp4": "up_to_date"}
    assert paper.done == []


def test_what_was_given_up_is_done_once_a_person_lets_it(
    records: Records, titles: tuple[Title, ...], paper: Paper
) -> None:
    paper.fails = failing("analyse", OSError("the share is gone"), video_sha256=titles[0].video_sha256)
    assert make(records, *titles)["titles"] == {"failed_system": 1, "succeeded": 1}
    paper.fails = failing("nothing", ValueError())
    reopen(records.ledger)
    assert statuses(make(records, *titles)) == {"one.es.mp4": "succeeded", "sub/two.es.mp4": "up_to_date"}


def test_footage_that_is_unusable_fails_by_its_input(records: Records, titles: tuple[Title, ...], paper: Paper) -> None:
    unusable = Unusable.because("truncated", "pictures end after 3 of 20 frames")
    paper.fails = failing("master", unusable, output="one.es.mp4")
    report = make(records, *titles)
    assert report["titles"] == {"failed_input": 1, "succeeded": 1}
    assert report["rows"][0]["reason"] == "master: truncated: pictures end after 3 of 20 frames"


def test_what_was_given_up_can_be_reproduced_in_a_folder_of_its_own(
    records: Records, titles: tuple[Title, ...], paper: Paper
) -> None:
    paper.fails = failing("master", ValueError("poison"), output="sub/two.es.mp4")
    make(records, *titles)
    master = records.master(titles[1])
    assert master is not None
    given_up = records.ledger.quarantined(master.unit_id)
    assert given_up is not None
    assert given_up.reproduce == (
        f"dubwright dub {Path('catalogue.csv').resolve()} --only two --checkpoint /nowhere"
        ' --out "$(mktemp -d)" --address none'
    )


def test_a_stop_keeps_what_is_done_and_the_next_run_goes_on(
    records: Records, titles: tuple[Title, ...], paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopAfterOneRender:
        def __enter__(self) -> Callable[[], bool]:
            return lambda: "render" in paper.done

        def __exit__(self, *_: object) -> None:
            """Nothing to put back."""

    with monkeypatch.context() as patched:
        patched.setattr(dub, "stop_on_interrupt", StopAfterOneRender)
        with pytest.raises(Stopped):
            make(records, *titles)
    assert paper.done.count("render") < 4
    assert make(records, *titles)["titles"] == {"succeeded": 2}
    assert Counter(paper.done) == DONE


def test_trouble_that_lasts_is_told_of_its_title_and_the_next_run_goes_on(
    records: Records, titles: tuple[Title, ...], paper: Paper
) -> None:
    config = DubConfig(engine=EngineConfig(backoff_s=0, max_transient=0))
    paper.fails = failing("master", OSError(errno.ENOSPC, "no space left"), output="one.es.mp4")
    report = make(records, *titles, config=config)
    assert statuses(report) == {"one.es.mp4": "failed_system", "sub/two.es.mp4": "succeeded"}
    assert "no space left" in report["rows"][0]["reason"]
    paper.fails = failing("nothing", ValueError())
    assert statuses(make(records, *titles)) == {"one.es.mp4": "succeeded", "sub/two.es.mp4": "up_to_date"}


def test_a_long_title_is_given_the_time_it_takes(
    records: Records, titles: tuple[Title, ...], monkeypatch: pytest.MonkeyPatch, paper: Paper
) -> None:
    deadlines = []
    real = dub.CatalogueRun

    def noted(*given: Any, config: EngineConfig, **more: Any) -> Any:
        deadlines.append(config.deadline_s)
        return real(*given, config=config, **more)

    monkeypatch.setattr(dub, "CatalogueRun", noted)
    make(records, *titles, config=DubConfig(engine=EngineConfig(deadline_s=2.0)))
    (records.out / "one.es.mp4").unlink()
    make(records, *titles, config=DubConfig(engine=EngineConfig(deadline_s=900.0)))
    assert deadlines == [20 * dub.SECONDS_A_FRAME, 900.0]


def test_the_report_is_made_from_the_records_alone(records: Records, titles: tuple[Title, ...], paper: Paper) -> None:
    made = make(records, *titles)
    again = report_titles.fn(planned(*titles), str(records.out), QUICK, Outcome(), 1.0)
    for row in (*made["rows"], *again["rows"]):
        assert row.pop("status") in ("succeeded", "up_to_date")
    assert again["rows"] == made["rows"]
