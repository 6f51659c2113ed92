"""Status tells what is in a store, each decision read once, and does not stumble over what is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shards.commit import Ledger, Quarantine, commit_path
from shards.index import info_path
from shards.leases import TTL_S, hold_lease
from shards.removal import take_turn
from shards.status import QUARANTINED_SHOWN, status
from shards.store import Store, open_store
from tests.support.datasets import claim, commit_rejection, make_dataset, make_plan
from tests.support.sweeps import leave_lease, leave_sweep


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two units of two clips each, published."""
    store = open_store(tmp_path / "store")
    make_dataset(store, tmp_path, num_units=2, clips_per_unit=2)
    return store


def give_up(ledger: Ledger, unit_id: str) -> None:
    quarantine = Quarantine(
        unit_id=unit_id, error_class="E", message=f"{unit_id} broke", stderr_tail="", reproduce="run it", attempts=1
    )
    ledger.decide(claim(ledger, unit_id), quarantine)


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    assert status(open_store(tmp_path / "s")) == {
        "uri": str(tmp_path / "s"),
        "plans": [],
        "quarantined": [],
        "unreadable": [],
        "reopened": {},
        "datasets": [],
        "current": None,
        "runs": [],
        "sweep": None,
    }


def test_plans_datasets_and_current_are_told(store: Store) -> None:
    later = make_plan(3)
    Ledger(store).write_plan(later)
    commit_rejection(Ledger(store), "unit-2")
    found = json.loads(json.dumps(status(store)))
    plans = [plan for plan in found["plans"] if plan["stage"] == "extract"]
    assert [plan["plan_id"] for plan in plans] == [later.plan_id, make_plan(2).plan_id]
    assert plans[0]["account"] == {"planned": 3, "kept": 2, "rejected": 1, "quarantined": 0, "pending": 0}
    assert [d["num_samples"] for d in found["datasets"]] == [4]
    assert found["current"] == found["datasets"][0]["hash"]


def test_the_account_is_the_ledgers(store: Store) -> None:
    ledger, plan = Ledger(store), make_plan(5)
    ledger.write_plan(plan)
    commit_rejection(ledger, "unit-2")
    give_up(ledger, "unit-3")
    ledger.void("unit-0", "retry", "")
    (told,) = [each["account"] for each in status(store)["plans"] if each["plan_id"] == plan.plan_id]
    account = ledger.account(plan)
    assert told == {name: getattr(account, name) for name in told}
    assert (told["kept"], told["rejected"], told["quarantined"], told["pending"]) == (1, 1, 1, 2)


def test_the_first_that_were_given_up_are_shown_with_a_command(store: Store) -> None:
    for number in range(QUARANTINED_SHOWN + 5):
        give_up(Ledger(store), f"bad-{number:02}")
    found = status(store)
    assert [given["unit_id"] for given in found["quarantined"]] == [f"bad-{n:02}" for n in range(QUARANTINED_SHOWN)]
    assert found["quarantined"][0] == {
        "unit_id": "bad-00",
        "error_class": "E",
        "message": "bad-00 broke",
        "reproduce": "run it",
    }


def test_why_units_were_opened_again_is_counted(store: Store) -> None:
    ledger = Ledger(store)
    for unit_id in ("unit-0", "unit-1"):
        ledger.void(unit_id, "retry", "")
    ledger.void("unit-9", "lapsed", "")
    assert status(store)["reopened"] == {"lapsed": 1, "retry": 2}


def test_who_is_at_work_is_told_from_who_was(store: Store) -> None:
    leave_lease(store, "dead", age_s=TTL_S + 60)
    with hold_lease(store, "train", reads=("d" * 64,)) as lease:
        runs = {run["run"]: run for run in status(store)["runs"]}
    assert (runs["dead"]["is_alive"], runs[lease.run]["is_alive"]) == (False, True)
    assert runs[lease.run]["reads"] == ["d" * 64]
    assert runs["dead"]["seen_s_ago"] >= TTL_S


def test_a_sweep_under_way_is_told(store: Store) -> None:
    with take_turn(store):
        assert status(store)["sweep"]["holder"].startswith("gc on ")
    assert status(store)["sweep"] is None
    leave_sweep(store, "gone", number=2)
    assert status(store)["sweep"] == {"number": 2, "run": "gone", "holder": "a run that is over"}


def test_what_is_damaged_is_told_and_the_rest_as_well(store: Store) -> None:
    name = status(store)["current"]
    plan_id = make_plan(2).plan_id
    for path in (commit_path("unit-0"), info_path(name), f"plans/{plan_id}.parquet"):
        store.write(path, b"damaged")
    give_up(Ledger(store), "unit-7")
    found = status(store)
    assert found["unreadable"] == ["unit-0"]
    assert "damaged" in found["datasets"][0]["problem"]
    assert ["damaged" in plan["problem"] for plan in found["plans"] if "problem" in plan] == [True]
    assert [given["unit_id"] for given in found["quarantined"]] == ["unit-7"]
