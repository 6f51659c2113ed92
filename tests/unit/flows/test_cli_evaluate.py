"""`dubwright evaluate`: what it hands to the flow and how it tells the card."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows import answer, cli
from flows import evaluate as evaluation
from flows.evaluation.config import EvaluationConfig

CARD = {
    "clips": 8,
    "identities": 3,
    "goals": [{"name": "correlation", "value": 0.5, "wanted": "at least 0.6", "reached": "no"}],
    "left_out": {"k": "too short"},
    "page": "out/scorecard.html",
    "scorecard": "out/scorecard.json",
    "seconds": 2.0,
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the flow was called with."""
    calls: list[Any] = []

    def evaluate(*arguments: object, **named: object) -> dict[str, Any]:
        calls.extend([*arguments, named])
        return CARD

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    monkeypatch.setattr(answer, "use_embedded_defaults", lambda: None)
    monkeypatch.setattr(answer.logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(cli, "prefect_api", contextlib.nullcontext)
    return calls


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["evaluate", *(str(a) for a in arguments)])


def test_it_hands_its_options_to_the_flow(given: list[Any]) -> None:
    options = ["--split", "train,val", "--limit", "4", "--steps", "2", "--checkpoint", "c", "--address", "none"]
    result = run("--store", "s", "--out", "o", *options, "--json")
    assert json.loads(result.stdout) == CARD
    config = EvaluationConfig(splits=("train", "val"), limit=4, steps=2)
    assert given == ["c", "s", "o", None, config, {"address": "none"}]


def test_by_default_the_shipped_model_is_judged_on_all_that_is_held_out(given: list[Any]) -> None:
    assert run("--store", "s", "--out", "o").exit_code == 0
    assert given == [None, "s", "o", None, EvaluationConfig(), {"address": "local"}]


def test_the_goals_and_what_was_left_out_are_told(given: list[Any]) -> None:
    told = run("--store", "s", "--out", "o").stdout
    assert given
    for said in ("8 clips of 3 identities", "correlation: 0.5 (wanted at least 0.6): no", "not judged: k: too short"):
        assert said in told
    assert "page: out/scorecard.html" in told


def test_an_unknown_split_is_refused_by_name(given: list[Any]) -> None:
    result = run("--store", "s", "--out", "o", "--split", "holdout")
    assert result.exit_code == 2
    assert "splits" in result.stderr
    assert not given
