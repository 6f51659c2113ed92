"""`dubwright store`: what each command says, in words and as one object, and its exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows import answer, cli
from shards.commit import Ledger, Quarantine
from shards.leases import hold_lease
from shards.reader import open_dataset
from shards.store import Store, open_store
from tests.support.datasets import claim, make_dataset, make_plan
from tests.support.sweeps import orphan


@pytest.fixture(autouse=True)
def _the_environment_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "use_embedded_defaults", lambda: None)
    monkeypatch.setattr(answer.logging, "basicConfig", lambda **_: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two units of two clips, published."""
    store = open_store(tmp_path / "store")
    make_dataset(store, tmp_path, num_units=2, clips_per_unit=2)
    return store


def run(command: str, store: Store | Path, *arguments: str) -> Result:
    where = store.uri if isinstance(store, Store) else str(store)
    return CliRunner().invoke(cli.app, ["store", command, where, *arguments])


def the_object(result: Result) -> Any:
    """What stdout holds: one line, one object."""
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def give_up(store: Store, unit_id: str) -> None:
    ledger = Ledger(store)
    ledger.decide(
        claim(ledger, unit_id),
        Quarantine(
            unit_id=unit_id,
            error_class="ValueError",
            message="it does not compute",
            stderr_tail="",
            reproduce=f"dubwright preprocess {unit_id}.mp4",
            attempts=3,
        ),
    )


class TestStatus:
    def test_it_says_what_is_in_the_store(self, store: Store) -> None:
        found = the_object(run("status", store, "--json"))
        assert [plan["account"]["kept"] for plan in found["plans"] if plan["stage"] == "extract"] == [2]
        text = run("status", store).stdout
        for said in ("extract: 2 planned = 2 kept", f"{found['current']} (current): 4 samples (", "at work:\n  nobody"):
            assert said in text

    def test_what_was_given_up_is_shown_with_a_command(self, store: Store) -> None:
        Ledger(store).write_plan(make_plan(3))
        give_up(store, "unit-2")
        text = run("status", store).stdout
        assert "extract: 3 planned = 2 kept, 1 quarantined" in text
        assert "unit-2: ValueError: it does not compute\n    see it: dubwright preprocess unit-2.mp4" in text

    def test_who_is_at_work_is_shown(self, store: Store) -> None:
        name = open_dataset(store).info.hash
        with hold_lease(store, "train", reads=(name,)):
            text = run("status", store).stdout
        assert f"reads {name[:12]}" in text
        assert "train on " in text


class TestVerify:
    def test_a_whole_store_ends_with_0(self, store: Store) -> None:
        result = run("verify", store)
        assert result.exit_code == 0
        assert "8 samples in them\nall whole" in result.stdout
        assert "objects 3/3" in result.stderr
        assert "\nall whole" in run("verify", store, "--quick").stdout

    def test_damage_ends_with_1_and_says_how_to_mend_it(self, store: Store) -> None:
        path = open_dataset(store).info.shards[0].path
        data = bytearray(store.read(path))
        data[700] ^= 1
        store.write(path, bytes(data))
        assert run("verify", store, "--quick").exit_code == 0
        result = run("verify", store)
        assert result.exit_code == 1
        assert f"object {path}: its bytes hash to" in result.stdout
        assert f"mend: `dubwright store retry {store.uri} --damaged`" in result.stdout
        found = the_object(run("verify", store, "--json"))
        assert len(found["units_to_redo"]) == 1
        assert found["datasets_hit"] == [open_dataset(store).info.hash]


class TestRetry:
    def test_what_was_given_up_is_opened(self, store: Store) -> None:
        give_up(store, "unit-2")
        assert the_object(run("retry", store, "--json")) == {"opened": ["unit-2"]}
        assert run("retry", store).stdout == "opened: none\n"
        assert [unit.unit_id for unit in Ledger(store).pending(make_plan(3))] == ["unit-2"]

    def test_a_unit_named_is_opened_whatever_it_came_to(self, store: Store) -> None:
        assert run("retry", store, "unit-1").stdout == "opened: unit-1\n"
        assert [unit.unit_id for unit in Ledger(store).pending(make_plan(2))] == ["unit-1"]

    def test_a_unit_that_is_not_decided_is_refused(self, store: Store) -> None:
        result = run("retry", store, "unit-9")
        assert result.exit_code == 2
        assert "this unit is not decided" in result.stderr

    def test_damage_is_cleared_away(self, store: Store) -> None:
        path = open_dataset(store).info.shards[0].path
        store.write(path, b"damaged")
        found = the_object(run("retry", store, "--damaged", "--json"))
        assert (len(found["units"]), found["removed"]) == (1, [path])
        assert run("retry", store, "--damaged").exit_code == 0
        assert not store.exists(path)

    def test_units_and_damage_at_once_are_refused(self, store: Store) -> None:
        assert run("retry", store, "unit-1", "--damaged").exit_code == 2


class TestGc:
    def test_it_says_what_it_would_remove_and_then_removes_it(self, store: Store) -> None:
        path = orphan(store, b"not needed")
        text = run("gc", store, "--dry-run").stdout
        assert text.startswith("would be removed:\n  1 objects that nobody needs\n")
        assert store.exists(path)
        found = the_object(run("gc", store, "--json"))
        assert (found["objects"], found["freed_bytes"], found["is_dry_run"]) == (1, 10, False)
        assert not store.exists(path)
        assert run("gc", store).stdout.startswith("removed:\n  nothing\n")

    def test_keeping_none_is_refused(self, store: Store) -> None:
        assert run("gc", store, "--keep", "0").exit_code == 2


@pytest.mark.parametrize("command", ["status", "verify", "retry", "gc"])
def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, command: str) -> None:
    result = run(command, tmp_path)
    assert result.exit_code == 2
    assert "no store here" in result.stderr
    assert os.listdir(tmp_path) == []
