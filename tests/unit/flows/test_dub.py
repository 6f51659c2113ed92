"""The dubbing flow's phases, each called as a plain function: no Prefect server, no Ray, no media but in the plan."""

from __future__ import annotations

import csv
import dataclasses
import errno
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import dub
from flows.cluster.config import EngineConfig
from flows.dub import Catalogue, Outcome, check_out, dry_run, make_titles, plan_catalogue, report_titles, unchanged
from flows.dubbing.config import DubConfig
from flows.dubbing.requests import Outputs
from flows.records import Records
from flows.titles import Title
from flows.units import Stopped
from preprocessing.errors import Unusable
from shards.commit import Unit
from shards.errors import RequestError
from shards.repair import reopen
from tests.support.lavfi import sine, uneven, video
from tests.support.titles import VOICE, Paper, make_records, make_title

QUICK = DubConfig(engine=EngineConfig(backoff_s=0, max_attempts=2), batch=1)
DONE = {"analyse": 2, "render": 4, "picture": 2, "master": 2}
"""Units of two titles of two shots each."""
COLUMNS = ("title_id", "video", "audio", "language", "output")


# -- the plan ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    video(folder / "one.mp4", seconds=0.4)
    video(folder / "two.mp4", seconds=0.2, fps="30000/1001")
    uneven(folder / "uneven.mp4")
    sine(folder / "es.wav", seconds=0.4)
    sine(folder / "fr.wav", seconds=0.3)
    (folder / "notes.txt").write_text("not a film")
    return folder


@pytest.fixture(autouse=True)
def _a_voice_for_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dub, "read_voice", lambda checkpoint: VOICE)


def catalogue(folder: Path, *rows: tuple[str, str, str, str, str]) -> str:
    path = folder / "catalogue.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([COLUMNS, *rows])
    return str(path)


GOOD = ("one", "one.mp4", "es.wav", "es", "one.es.mp4")


def test_a_title_is_probed_and_named_by_content(media: Path) -> None:
    planned = plan_catalogue.fn(catalogue(media, GOOD, ("one", "one.mp4", "fr.wav", "fr", "one.fr.mp4")), None, None)
    assert [title.num_frames for title in planned.titles] == [10, 10]
    assert len({title.video_sha256 for title in planned.titles}) == 1
    assert len({title.audio_sha256 for title in planned.titles}) == 2
    assert [title.row.language for title in planned.pictures] == ["es"]


def test_pictures_are_each_content_once_in_the_catalogues_order(media: Path) -> None:
    rows = [
        (name, f"{name}.mp4", "es.wav", lang, f"{name}.{lang}.mp4") for lang in ("es", "fr") for name in ("two", "one")
    ]
    planned = plan_catalogue.fn(catalogue(media, *rows), None, None)
    assert [(title.row.title_id, title.row.language) for title in planned.pictures] == [("two", "es"), ("one", "es")]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("x", "notes.txt", "es.wav", "es", "x.mp4"), "row 3 (x, es), `video`: not_media: "),
        (("x", "es.wav", "es.wav", "es", "x.mp4"), "row 3 (x, es), `video`: no_video: the file has no moving picture"),
        (("x", "one.mp4", "two.mp4", "es", "x.mp4"), "row 3 (x, es), `audio`: no_audio: the file has no sound track"),
        (("x", "one.mp4", "notes.txt", "es", "x.mp4"), "row 3 (x, es), `audio`: not_media: "),
        (("x", "two.mp4", "es.wav", "es", "x.mkv"), "row 3 (x, es), `output`: matroska counts in whole milliseconds"),
    ],
)
def test_a_file_that_cannot_be_dubbed_is_told_by_row_column_and_value(
    media: Path, row: tuple[str, str, str, str, str], said: str
) -> None:
    with pytest.raises(RequestError) as caught:
        plan_catalogue.fn(catalogue(media, GOOD, row), None, None)
    (problem,) = str(caught.value).splitlines()[1:]
    assert problem.strip().startswith(said)
    value = {"video": row[1], "audio": row[2], "output": row[4]}[said.split("`")[1]]
    assert problem.endswith((f"{value})", f"{value!r})"))


def test_all_files_that_cannot_be_dubbed_are_told_at_once(media: Path) -> None:
    rows = [("x", "notes.txt", "two.mp4", lang, f"x.{lang}.mp4") for lang in ("es", "fr")]
    with pytest.raises(RequestError) as caught:
        plan_catalogue.fn(catalogue(media, *rows), None, None)
    assert len(str(caught.value).splitlines()) == 5


def test_only_some_titles_may_be_asked_for_and_an_unknown_one_is_refused(media: Path) -> None:
    path = catalogue(media, GOOD, ("two", "two.mp4", "es.wav", "es", "two.mp4"))
    assert [title.row.title_id for title in plan_catalogue.fn(path, None, ["two"]).titles] == ["two"]
    with pytest.raises(RequestError, match=r"`--only`: no such title .* did you mean 'two'\?"):
        plan_catalogue.fn(path, None, ["tow"])


def test_a_dry_run_tells_the_plan_and_writes_nothing(media: Path, tmp_path: Path) -> None:
    plan = dry_run(catalogue(media, GOOD), str(tmp_path / "out"), None, None)
    assert (plan["titles"], plan["outputs"], plan["frames"], plan["up_to_date"]) == (1, 1, 10, 0)
    assert [row["output"] for row in plan["rows"]] == ["one.es.mp4"]
    assert plan["config"] == DubConfig().model_dump(mode="json")
    assert list(tmp_path.iterdir()) == []


def test_rows_without_consent_are_refused_where_it_is_required(media: Path, tmp_path: Path) -> None:
    path = catalogue(media, GOOD)
    with pytest.raises(RequestError, match="row 2"):
        dry_run(path, str(tmp_path), None, None, DubConfig(require_consent=True))
    dry_run(path, str(tmp_path), None, None, DubConfig())


def test_a_rows_own_model_must_look_at_faces_as_the_runs_does(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalogue.jsonl"
    row = dict(zip(COLUMNS, GOOD, strict=True)) | {"checkpoint": str(tmp_path)}
    path.write_text(json.dumps(row | {"video": str(media / "one.mp4"), "audio": str(media / "es.wav")}))
    own = dataclasses.replace(VOICE, digest="e" * 64)
    monkeypatch.setattr(dub, "read_voice", lambda checkpoint: own if checkpoint else VOICE)
    assert plan_catalogue.fn(str(path), None, None).voices == {tmp_path: own}
    wide = dataclasses.replace(own, crop_px=256)
    monkeypatch.setattr(dub, "read_voice", lambda checkpoint: wide if checkpoint else VOICE)
    with pytest.raises(RequestError, match="its crop_px is 256, the run's 64"):
        plan_catalogue.fn(str(path), None, None)


# -- where to ----------------------------------------------------------------------------------------------------------


def planned(*titles: Title) -> Catalogue:
    return Catalogue(path=Path("catalogue.csv"), titles=titles, voice=VOICE)


def test_an_output_that_would_take_the_place_of_a_source_is_refused(tmp_path: Path) -> None:
    title = make_title(tmp_path, output="picture.video")
    with pytest.raises(RequestError, match=r"`--out`: this would overwrite a source"):
        check_out(planned(title), str(tmp_path), QUICK)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RequestError, match="this would overwrite a source"):
        check_out(planned(title), str(tmp_path / "link"), QUICK)
    check_out(planned(title), str(tmp_path / "out"), QUICK)


def test_a_place_where_nothing_can_be_finished_is_refused(tmp_path: Path) -> None:
    title = make_title(tmp_path / "in")
    (tmp_path / "file").write_text("x")
    (tmp_path / "out" / "one.es.mp4").mkdir(parents=True)
    for out, said in (
        (str(tmp_path / "file"), "is a file; a folder is needed"),
        ("s3://bucket/out", "titles are finished in a local folder"),
        (str(tmp_path / "out"), "a folder of that name already"),
    ):
        with pytest.raises(RequestError, match=said):
            check_out(planned(title), out, QUICK)


def test_a_file_that_no_run_here_made_is_only_replaced_when_asked(tmp_path: Path) -> None:
    title, out = make_title(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "one.es.mp4").write_bytes(b"somebody's cut")
    with pytest.raises(RequestError, match="a file that no run here made is there already"):
        check_out(planned(title), str(out), QUICK)
    check_out(planned(title), str(out), QUICK, overwrite=True)
    Outputs(make_records(out).ledger.store).claim(["one.es.mp4"])
    check_out(planned(title), str(out), QUICK)


# -- the work ----------------------------------------------------------------------------------------------------------


def use(monkeypatch: pytest.MonkeyPatch, paper: Paper) -> Paper:
    for name in ("AnalyseWorker", "AdaptWorker", "RenderWorker", "PictureWorker", "MasterWorker"):
        monkeypatch.setattr(dub, name, paper.worker)
    return paper


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


def test_nothing_to_do_is_found_out_without_any_engine(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = catalogue(media, GOOD), tmp_path / "out"
    assert unchanged(path, str(out), None, None, QUICK, overwrite=False) is None
    use(monkeypatch, Paper(out))
    planned_ = plan_catalogue.fn(path, None, None)
    make_titles.fn(planned_, str(out), QUICK, "none")
    Outputs(planned_.records(str(out), QUICK).ledger.store).claim(["one.es.mp4"])
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(dub, "open_engine", None)
    report = unchanged(path, str(out), None, None, QUICK, overwrite=False)
    assert report is not None
    assert set(report["titles"]) <= {"up_to_date", "succeeded_with_flags"}
    (out / "one.es.mp4").unlink()
    assert unchanged(path, str(out), None, None, QUICK, overwrite=False) is None


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
