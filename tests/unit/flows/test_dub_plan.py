"""What is known of a catalogue before any work: its plan, the place it goes to, and that nothing is to be done."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from flows import dub
from flows.cluster.config import EngineConfig
from flows.dub import check_out, dry_run, make_titles, plan_catalogue, unchanged
from flows.dubbing.config import DubConfig
from flows.dubbing.requests import Outputs
from shards.errors import RequestError
from tests.support.lavfi import sine, uneven, video
from tests.support.titles import VOICE, Paper, make_records, make_title, planned, use

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


# -- nothing to do


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
