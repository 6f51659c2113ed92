"""A run may be killed, raced, swept under and starved at any step, and ends as if it had been left alone.

The schedules run in a process of their own (`tests/support/chaos.py` forks, and nobody forks a test process); `make
chaos` runs ten times as many.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from shards.commit import Ledger
from shards.store import open_store
from tests.support.chaos import differences
from tests.support.faults import Fault, Steps, journal_steps, let_time_pass
from tests.support.pipeline import ENGINE, make_plan, outcome, run_pipeline
from tests.support.schedules import FAMILIES, Process, Schedule, covering, deal

ROOT = Path(__file__).parents[2]
WITHIN_S = 280
MAX_ATTEMPTS = 2


def test_a_run_killed_at_each_of_its_steps_or_disturbed_otherwise_ends_as_if_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.chaos", "--schedules", "20", "--every-step", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    told = re.search(r"(\d+) schedules, .* at (\d+) of (\d+) steps of a run.*as undisturbed", done.stdout)
    assert told is not None
    assert int(told[1]) >= 40
    assert int(told[2]) == int(told[3]) >= 200


class TestCharging:
    def test_a_unit_that_kills_its_process_is_given_up_and_the_rest_completes(self, tmp_path: Path) -> None:
        store, plan = tmp_path / "store", make_plan(("keep", "kill", "keep", "reject", "keep"))
        for _ in range(MAX_ATTEMPTS):
            assert run_in_a_process(store, plan) == -signal.SIGKILL
            let_time_pass(store)
        assert run_in_a_process(store, plan) == 0

        ledger = Ledger(open_store(store))
        account = ledger.account(plan)
        account.check()
        assert (account.kept, account.rejected, account.quarantined) == (3, 1, 1)
        killer = next(unit for unit in plan.units if unit.payload["act"] == "kill")
        given_up = ledger.quarantined(killer.unit_id)
        assert given_up is not None
        assert (given_up.error_class, given_up.attempts) == ("ProcessDied", MAX_ATTEMPTS)
        assert given_up.reproduce == f"dubwright again {killer.unit_id}"

    def test_a_try_of_a_run_that_may_still_be_alive_is_not_held_against_the_unit(self, tmp_path: Path) -> None:
        store, plan = tmp_path / "store", make_plan(("kill",))
        for _ in range(MAX_ATTEMPTS + 1):
            assert run_in_a_process(store, plan) == -signal.SIGKILL
        assert Ledger(open_store(store)).account(plan).pending == 1


def run_in_a_process(store: Path, plan: object) -> int | None:
    """The exit code of a run of its own; minus the signal that ended it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.pipeline"])
    engine = ENGINE.model_copy(update={"max_attempts": MAX_ATTEMPTS})
    process = context.Process(target=run_pipeline, args=(str(store),), kwargs={"plan": plan, "engine": engine})
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


class TestTheHarness:
    """What is asked of a run is worth as much as what asks it."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        run_pipeline(str(tmp_path / "store"), plan=make_plan(("keep", "keep", "reject")))
        return tmp_path / "store"

    def test_a_lost_object_a_flipped_byte_and_a_second_decision_are_seen(self, run: Path) -> None:
        plan = make_plan(("keep", "keep", "reject"))
        expected = outcome(str(run), plan)
        assert differences(expected, expected) == []
        shard = next(path for path in expected["files"] if path.startswith("objects/"))
        whole = (run / shard).read_bytes()
        (run / shard).write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
        told = "; ".join(differences(expected, outcome(str(run), plan)))
        assert f"problems: ['{shard}" in told
        assert "files: " in told
        (run / shard).write_bytes(whole)
        assert differences(expected, outcome(str(run), plan)) == []

        decision = next((run / "commits").iterdir())
        decision.with_suffix(".2.json").write_bytes(decision.read_bytes())
        assert outcome(str(run), plan)["twice"] == [decision.stem]

    def test_the_same_seed_is_the_same_schedule_and_every_family_comes_up(self) -> None:
        journals = {Process.RUN: STEPS, Process.SWEEP: STEPS}
        dealt = [deal(seed, journals) for seed in range(60)]
        assert dealt == [deal(seed, journals) for seed in range(60)]
        assert {schedule.family for schedule in dealt} == set(FAMILIES)
        assert sum(has_a_kill(schedule) for schedule in dealt) == 60

    def test_covering_schedules_wait_for_every_step_once(self) -> None:
        names = [f"run: before write {number}" for number in range(100)]
        planned = [
            plan.name
            for schedule in covering({Process.RUN: [*names, *names]}, Process.RUN)
            for start in schedule.starts
            for plan in start.planned
        ]
        assert sorted(planned) == sorted(names)

    @pytest.mark.parametrize(("fate", "is_lost"), [(0.9, True), (0.1, False)])
    def test_a_power_cut_takes_only_what_was_not_fsynced(self, fate: float, is_lost: bool, tmp_path: Path) -> None:
        place = tmp_path / "store"
        store = open_store(place)
        store.write("a/old", b"from before")
        steps = Steps(place, tmp_path / "journal")
        with steps.hooked():
            store.write("a/new", b"synced")
            (place / "a" / "hollow").write_bytes(b"its folder is synced and it is not")
            folder = os.open(place / "a", os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        (place / "a" / "unnamed").write_bytes(b"it is not, and its folder is not")
        (place / "b").mkdir()
        steps.disk.lose(SimpleNamespace(random=lambda: fate))  # type: ignore[arg-type]
        left = {str(path.relative_to(place)): path.stat().st_size for path in (place / "a").iterdir()}
        always = {"a/old": 11, "a/new": 6}
        assert left == always | ({"a/hollow": 17} if is_lost else {"a/hollow": 34, "a/unnamed": 32})
        assert (place / "b").exists() is not is_lost

    def test_steps_are_named_for_what_they_do_and_numbered_as_they_come(self, tmp_path: Path) -> None:
        steps = Steps(tmp_path / "store", tmp_path / "journal")
        with steps.hooked():
            store = open_store(tmp_path / "store")
            steps.enter("test")
            store.create("commits/unit-7.json", b"{}")
        names = [name for name, _ in journal_steps(tmp_path / "journal") if name.startswith("test")]
        assert [names[0], names[-1]] == ["test: before create commits/*.json", "test: after create commits/*.json"]
        assert names.index("test: after fsync part of commits/*.json") < names.index("test: before link commits/*.json")
        assert names.index("test: after link commits/*.json") < names.index("test: before fsync commits/")


STEPS = [
    *(
        f"{part}: {when} {call}"
        for part in ("extract", "pack")
        for when in ("before", "after")
        for call in (
            "list sweeps/",
            "create attempts/*.pin",
            "put_file objects/*.tar",
            "write part of objects/*.tar",
            "fsync part of objects/*.tar",
            "link commits/*.json",
        )
    ),
]


def has_a_kill(schedule: Schedule) -> bool:
    ends = (Fault.KILL, Fault.TORN, Fault.POWER_CUT)
    return any(plan.fault in ends for start in schedule.starts for plan in start.planned)
