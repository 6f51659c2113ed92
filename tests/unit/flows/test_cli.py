"""The command: its exit codes, what it prints where, and how little it loads to say how it is used."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows import answer, cli
from flows import dub as dubbing
from flows import preprocess as preprocessing
from flows import train as training
from flows.units import Stopped
from shards.errors import ObjectDamaged, RequestError
from shards.store import open_store
from tests.support.datasets import make_dataset
from tests.support.lavfi import sine

ROOT = Path(__file__).parents[3]
HEADER = "title_id,video,audio,language,output\n"
SUMMARY = {"planned": 2, "kept": 2, "rejected": 0, "quarantined": 0, "clips": 5, "dataset": "d" * 64, "seconds": 1.0}
REPORT = {
    "titles": {"succeeded": 1},
    "model": "tiny",
    "outputs": ["out/one.mp4"],
    "rows": [{"output": "one.mp4", "reason": None}],
    "report": "out/report.html",
    "seconds": 2.0,
}


@pytest.fixture(autouse=True)
def _the_environment_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "use_embedded_defaults", lambda: None)
    monkeypatch.setattr(cli, "prefect_api", contextlib.nullcontext)
    monkeypatch.setattr(answer.logging, "basicConfig", lambda **_: None)


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """A catalogue with which nothing is wrong that can be seen without opening a film."""
    for name in ("one.mp4", "one.wav"):
        (tmp_path / name).write_bytes(b"media")
    path = tmp_path / "catalogue.csv"
    path.write_text(f"{HEADER}one,one.mp4,one.wav,es,one.mp4\n")
    return str(path)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def answers(value: object) -> Callable[..., Any]:
    return lambda *_, **__: value


def raises(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails


def the_object(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout, which is its last line."""
    (line,) = result.stdout.splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


# -- how it is used ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["dub", "--help"], ["store", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom flows.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as done:\n    assert not done.code\n"
        "heavy = {'torch', 'ray', 'prefect', 'pydantic', 'numpy', 'cv2', 'mediapipe', 'obstore', 'diffusers'}\n"
        "print('LOADED', *sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert "Usage: " in done.stdout
    # Typer itself asks for pydantic as soon as a command has options.
    assert set(done.stdout.splitlines()[-1].split()) <= {"LOADED", *(["pydantic"] if len(arguments) > 1 else [])}


def test_every_command_says_what_it_is_for() -> None:
    told = run("--help").stdout
    for command in ("sample", "preprocess", "train", "dub", "inspect", "store"):
        assert command in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["dub"],
        ["preprocess", "x"],
        ["dub", "x", "--fast"],
        ["preprocess", "x", "--store", "s", "--limit", "0"],
    ],
)
def test_a_command_that_is_not_understood_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


# -- preprocess --------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _there_is_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "unchanged", answers(None))


def test_preprocess_answers_with_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "preprocess", answers(SUMMARY))
    result = run("preprocess", "films", "--store", "s", "--json")
    assert result.exit_code == 0
    assert the_object(result) == SUMMARY
    assert run("preprocess", "films", "--store", "s").stdout.splitlines()[:2] == ["planned: 2", "kept: 2"]


@pytest.mark.parametrize("count", ["rejected", "quarantined"])
def test_what_was_left_out_is_a_failure_only_when_asked_for(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setattr(preprocessing, "preprocess", answers(SUMMARY | {count: 1}))
    assert run("preprocess", "films", "--store", "s", "--json").exit_code == 0
    strict = run("preprocess", "films", "--store", "s", "--json", "--strict")
    assert strict.exit_code == 4
    assert the_object(strict)[count] == 1


def test_settings_and_limit_reach_the_flow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(preprocessing, "preprocess", lambda *given: seen.append(given) or SUMMARY)
    (tmp_path / "c.yaml").write_text("clips: {crop: {size_px: 64}}")
    run("preprocess", "a", "b", "--store", "s", "--config", tmp_path / "c.yaml", "--limit", "3", "--address", "none")
    ((sources, store, job, address),) = seen
    assert (sources, store, address, job.limit, job.clips.crop.size_px) == (["a", "b"], "s", "none", 3, 64)


def test_a_wrong_setting_is_refused_by_name_before_the_flow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preprocessing, "preprocess", raises(AssertionError("the flow was begun")))
    (tmp_path / "c.yaml").write_text("clips: {crop: {sizepx: 64}}")
    result = run("preprocess", "a", "--store", "s", "--config", tmp_path / "c.yaml", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "`clips.crop.sizepx`: no such setting; did you mean `size_px`?" in result.stderr


def test_a_dry_run_does_not_begin_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "preprocess", raises(AssertionError("the flow was begun")))
    monkeypatch.setattr(preprocessing, "dry_run", answers({"planned": 3, "config": {"limit": None}}))
    assert the_object(run("preprocess", "a", "--store", "s", "--dry-run", "--json"))["planned"] == 3
    assert run("preprocess", "a", "--store", "s", "--dry-run").stdout == "planned: 3\n"


def test_a_run_with_nothing_to_do_does_not_begin_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "preprocess", raises(AssertionError("the flow was begun")))
    monkeypatch.setattr(preprocessing, "unchanged", answers(SUMMARY | {"rejected": 1}))
    result = run("preprocess", "films", "--store", "s", "--json", "--strict")
    assert (result.exit_code, the_object(result)["rejected"]) == (4, 1)


# -- dub ---------------------------------------------------------------------------------------------------------------


def test_dub_answers_with_one_object_or_with_a_text(monkeypatch: pytest.MonkeyPatch, manifest: str) -> None:
    monkeypatch.setattr(dubbing, "dub", answers(REPORT))
    assert the_object(run("dub", manifest, "--json")) == REPORT
    text = run("dub", manifest).stdout
    for said in ("1 succeeded in 2 s", "model: tiny", "  out/one.mp4", "report: out/report.html"):
        assert said in text


@pytest.mark.parametrize(
    ("status", "plain", "strict"),
    [
        ("succeeded", 0, 0),
        ("up_to_date", 0, 0),
        ("succeeded_with_flags", 0, 4),
        ("failed_input", 1, 1),
        ("failed_system", 1, 1),
    ],
)
def test_the_exit_code_follows_the_worst_row(
    monkeypatch: pytest.MonkeyPatch, manifest: str, status: str, plain: int, strict: int
) -> None:
    report = REPORT | {"titles": {"succeeded": 1, status: 1}, "rows": [{"output": "one.mp4", "reason": "because"}]}
    monkeypatch.setattr(dubbing, "dub", answers(report))
    result = run("dub", manifest)
    assert result.exit_code == plain
    assert "  one.mp4: because" in result.stdout
    assert run("dub", manifest, "--strict", "--json").exit_code == strict


def test_a_wrong_catalogue_ends_with_2_and_every_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dubbing, "dub", raises(AssertionError("the flow was begun")))
    path = tmp_path / "catalogue.csv"
    path.write_text(f"{HEADER}one,absent.mp4,absent.wav,?,one\n")
    result = run("dub", path, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]] == [
        "row 2, `language`",
        "row 2, `video`",
        "row 2, `audio`",
        "row 2, `output`",
    ]


def test_a_film_given_as_a_catalogue_is_refused_in_one_line(tmp_path: Path) -> None:
    result = run("dub", sine(tmp_path / "film.m4a", seconds=0.1))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "is not a text file" in result.stderr


@pytest.mark.parametrize("arguments", [("--out", "out"), ("--out", "out", "--dry-run")])
def test_a_film_that_is_none_is_refused_by_row_column_and_value(
    manifest: str, tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The plan is the flow's first phase.
    monkeypatch.setattr(dubbing, "dub", lambda catalogue, *_, **__: dubbing.plan_catalogue.fn(catalogue, None, None))
    result = run("dub", manifest, *arguments)
    assert result.exit_code == 2
    assert "row 2 (one, es), `video`: " in result.stderr
    assert f"(got {tmp_path / 'one.mp4'})" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_none_is_refused_before_the_flow(monkeypatch: pytest.MonkeyPatch, manifest: str) -> None:
    monkeypatch.setattr(dubbing, "dub", raises(AssertionError("the flow was begun")))
    result = run("dub", manifest, "--address", "loca")
    assert result.exit_code == 2
    assert "`--address`: no such engine (got 'loca'); did you mean 'local'?" in result.stderr


# -- train -------------------------------------------------------------------------------------------------------------


def test_train_hands_its_recipe_to_the_flow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def train(*given: object, **named: object) -> dict[str, str]:
        seen.append((*given, named))
        return {"checkpoint": "m"}

    monkeypatch.setattr(training, "train", train)
    (tmp_path / "c.yaml").write_text("joint: {steps: 2}")
    command = ("train", "--store", "s", "--out", "s3://b/m", "--preset", "tiny", "--workers", "4", "--min-workers", "2")
    result = run(*command, "--config", tmp_path / "c.yaml", "--json")
    assert the_object(result) == {"checkpoint": "m"}
    ((store, out, preset, dataset, recipe, named),) = seen
    assert (store, out, preset, dataset) == ("s", "s3://b/m", "tiny", None)
    assert named == {"address": "local", "workers": 4, "min_workers": 2}
    assert (recipe.joint.steps, recipe.model.name) == (2, "tiny")


def test_an_unknown_preset_ends_with_2(tmp_path: Path) -> None:
    result = run("train", "--store", "s", "--out", tmp_path, "--preset", "compakt")
    assert result.exit_code == 2
    assert "did you mean 'compact'" in result.stderr


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RequestError("no such film", field="sources", value="x"), 2, "dubwright: `sources`: no such film (got 'x')"),
        (ObjectDamaged("objects/ab is damaged"), 1, "dubwright: ObjectDamaged: objects/ab is damaged"),
        (
            PermissionError(13, "Permission denied", "/store"),
            1,
            "PermissionError: [Errno 13] Permission denied: '/store'",
        ),
        (OSError(28, "No space left on device"), 1, "OSError: [Errno 28] No space left on device"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    monkeypatch.setattr(preprocessing, "preprocess", raises(error))
    result = run("preprocess", "a", "--store", "s", "--json")
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped()])
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, manifest: str, error: BaseException
) -> None:
    monkeypatch.setattr(dubbing, "dub", raises(error))
    monkeypatch.setattr(
        sys, "argv", ["/bin/dubwright", "dub", "my catalogue.csv", "--only", "one", "--checkpoint", "m"]
    )
    result = run("dub", manifest, "--json")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "What was finished is kept." in result.stderr
    assert result.stderr.strip().endswith("go on: dubwright dub 'my catalogue.csv' --only one --checkpoint m")


def test_a_stopped_look_is_not_offered_to_be_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("flows.explain.target.inspect", raises(KeyboardInterrupt()))
    result = run("inspect", tmp_path)
    assert result.exit_code == 130
    assert "Run it again" not in result.stderr


def test_a_log_level_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUBWRIGHT_LOG", "loud")
    result = run("store", "status", tmp_path)
    assert result.exit_code == 2
    assert "`DUBWRIGHT_LOG`: no such level (got 'loud')" in result.stderr


# -- inspect -----------------------------------------------------------------------------------------------------------


def test_inspect_answers_with_facts(tmp_path: Path) -> None:
    found = the_object(run("inspect", sine(tmp_path / "tone.wav", seconds=0.1), "--json"))
    assert found["kind"] == "sound"
    assert "kind: sound" in run("inspect", tmp_path / "tone.wav").stdout


def test_inspect_writes_the_page_of_a_dataset_and_draws_a_clip(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    info = make_dataset(store, tmp_path)
    found = the_object(run("inspect", store.uri, "--page", tmp_path / "page.html", "--json"))
    assert info.hash in (tmp_path / "page.html").read_text()
    told = run(
        "inspect", found["clips"][0], "--picture", tmp_path / "clip.png", "--video", tmp_path / "clip.mp4"
    ).stdout
    assert f"picture: {tmp_path / 'clip.png'}" in told
    assert (tmp_path / "clip.png").stat().st_size
    assert (tmp_path / "clip.mp4").stat().st_size


def test_inspect_says_what_to_type_instead(tmp_path: Path) -> None:
    result = run("inspect", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "STORE#KEY" in result.stderr
