"""Sweeps killed anywhere, and sweeps among drivers at work: nothing that is needed is ever lost."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shards.catalog import current_dataset, published
from shards.commit import Claim, Ledger, Receipt
from shards.errors import ObjectMissing, RequestError, Superseded, SweptMeanwhile
from shards.leases import TTL_S, condemned, hold_lease
from shards.records import ObjectRef
from shards.removal import take_turn
from shards.store import Store, open_store
from shards.sweep import Swept, sweep
from tests.support import s3
from tests.support.datasets import commit_clips, make_plan, unit_clips
from tests.support.sweeps import (
    DAY_S,
    Mortal,
    aged,
    do,
    leave_lease,
    missing,
    orphan,
    publish,
    put,
    receipt,
    unit,
    whole,
)
from tests.support.turns import Party, count_calls, take_turns

MEMORY = Path("/dev/shm")  # noqa: S108
ROUNDS = 150
BOUND_S = 120.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store)


@pytest.fixture
def footage(ledger: Ledger, tmp_path: Path) -> Ledger:
    """Two units of two clips each, done."""
    ledger.write_plan(make_plan(2))
    for number in range(2):
        commit_clips(ledger, f"unit-{number}", unit_clips(number, 2), tmp_path)
    return ledger


# -- killed anywhere ---------------------------------------------------------------------------------------------------


@pytest.fixture
def cluttered(footage: Ledger, tmp_path: Path) -> Ledger:
    """A store with some of everything that goes, and of everything that stays."""
    for seed in range(3):
        publish(footage, seed)
    do(footage, "x", b"old", tmp_path)
    footage.void("x", "retry", "")
    do(footage, "x", b"new", tmp_path)
    put(footage, footage.begin(unit("y"), "gone"), b"half done", tmp_path)
    footage.write_plan(make_plan(3))
    do(footage, "unit-2", b"of no other plan", tmp_path)
    aged(footage.store, f"plans/{make_plan(3).plan_id}.json", 31 * DAY_S)
    footage.write_plan(make_plan(2))
    leave_lease(footage.store, "dead", age_s=TTL_S + 60)
    orphan(footage.store, b"of nobody")
    return footage


def half_removed(store: Store) -> list[str]:
    """Datasets and plans without what makes them one."""
    stubs = [path for path in store.list("datasets/") if path.split("/")[1] not in published(store)]
    plans = [path for path in store.list("plans/") if not store.exists(path.replace(".parquet", ".json"))]
    return stubs + plans


def clean(store: Store) -> Swept:
    return sweep(store, keep_datasets=1, forget_plans_days=30)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where an fsync costs nothing, if there is one: hundreds of small stores are written."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_sweep_killed_at_any_step_loses_nothing_and_is_finished_by_the_next(
    cluttered: Ledger, memory: Path, stride: int
) -> None:
    whole_store = open_store(shutil.copytree(cluttered.store.uri, memory / "whole"))
    steps = Mortal.steps(whole_store, clean)
    expected = {path for path in whole_store.list() if not path.startswith("sweeps/")}
    current = current_dataset(whole_store)
    assert steps > 60
    for dies_at in range(1, steps, stride):
        folder = shutil.copytree(cluttered.store.uri, memory / "killed")
        store = open_store(folder)
        assert Mortal.kills(store, dies_at, clean)
        assert missing(Ledger(store)) == []
        # What is still there of datasets and plans is whole.
        for name in published(store):
            whole(store, name)
        for plan_id in Ledger(store).plans():
            Ledger(store).read_plan(plan_id)
        for left in (*store.list("runs/"), *half_removed(store)):
            aged(store, left, 2 * DAY_S)
        clean(store)
        assert {path for path in store.list() if not path.startswith("sweeps/")} == expected, dies_at
        assert current_dataset(store) == current
        assert condemned(store) == {}
        shutil.rmtree(folder)


# -- every order of two -----------------------------------------------------------------------------------------------


WANTED = b"nobody needs it, and then somebody does"


def try_once(store: Store, folder: Path, run: str) -> Receipt:
    ledger = Ledger(store)
    claim = ledger.begin(unit("a"), run)
    return ledger.commit(claim, receipt("a", put(ledger, claim, WANTED, folder)))


@pytest.mark.parametrize("share", [8, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("goes_first", ["driver", "sweep"])
@pytest.mark.parametrize("is_alive", [True, False], ids=["living driver", "zombie"])
def test_in_whatever_order_their_calls_come_no_decision_names_a_missing_object(
    memory: Path, goes_first: str, is_alive: bool, share: int
) -> None:
    """One is stopped at each of its calls while the other goes on as far as each of its own."""

    def prepared(name: str) -> Store:
        store = open_store(memory / name)
        orphan(store, WANTED)
        leave_lease(store, "driver", age_s=0 if is_alive else TTL_S + 60)
        return store

    def work(store: Store) -> Receipt:
        return try_once(store, memory, "driver")

    calls = count_calls(prepared("a"), work), count_calls(prepared("b"), sweep)
    # A driver that meets a sweep looks closer, and makes some calls more.
    orders = list(itertools.product(range(1, calls[0] + 7), range(1, calls[1] + 1)))
    outcomes: Counter[str] = Counter()
    for number, (k, m) in enumerate(random.Random(0).sample(orders, len(orders) // share)):
        store = prepared(str(number))
        driver, sweeper = Party(store, work, at=k), Party(store, sweep, at=m)
        take_turns(*((driver, sweeper) if goes_first == "driver" else (sweeper, driver)))
        where = f"driver at call {k}, sweep at call {m}"
        assert missing(Ledger(store)) == [], where
        assert isinstance(sweeper.outcome, Swept), where
        assert isinstance(driver.outcome, Receipt | SweptMeanwhile | Superseded | ObjectMissing), where
        assert not (is_alive and isinstance(driver.outcome, ObjectMissing)), where
        outcomes[type(driver.outcome).__name__] += 1
        # Whatever happened, the next try comes through, and its result stays.
        with hold_lease(store, "driver") as lease:
            if not Ledger(store).decided():
                try_once(store, memory, lease.run)
        sweep(store)
        assert missing(Ledger(store)) == [], where
        assert Ledger(store).decided().keys() == {"a"}, where
        shutil.rmtree(store.uri)
    assert outcomes["Receipt"]
    assert outcomes["SweptMeanwhile" if is_alive else "Superseded"]


# -- drivers at work ---------------------------------------------------------------------------------------------------


@dataclass
class Worker:
    """Tries units at random under a lease of its own, as a driver does; some of its tries are zombies'."""

    ledger: Ledger
    folder: Path
    random: random.Random
    zombies: list[tuple[Claim, ObjectRef]] = field(default_factory=list)
    swept: int = 0
    superseded: int = 0
    done: int = 0

    def work(self, rounds: int) -> None:
        with hold_lease(self.ledger.store, "driver") as lease:
            for _ in range(rounds):
                self.turn(lease.run)

    def turn(self, run: str) -> None:
        # Few units and few contents: the same bytes are dropped and wanted again and again.
        name = f"unit-{self.random.randrange(6)}"
        data = str(self.random.randrange(4)).encode()
        choice = self.random.random()
        try:
            if choice < 0.1:
                self.ledger.void(name, "retry", "")
            elif choice < 0.2 and self.zombies:
                claim, ref = self.zombies.pop(self.random.randrange(len(self.zombies)))
                self.ledger.commit(claim, receipt(claim.unit.unit_id, ref))
            else:
                claim = self.ledger.begin(unit(name), "gone" if choice < 0.4 else run)
                ref = put(self.ledger, claim, data, self.folder)
                if choice < 0.4:
                    self.zombies.append((claim, ref))
                elif choice < 0.5:
                    self.ledger.call_off(claim)
                else:
                    self.ledger.commit(claim, receipt(name, ref))
                    self.done += 1
        except SweptMeanwhile:
            self.swept += 1
        except (Superseded, ObjectMissing):
            # A zombie whose object was taken, or whose epoch was made void.
            self.superseded += 1


def sweep_until(store: Store, over: threading.Event) -> int:
    rounds = 0
    while not over.is_set():
        sweep(store)
        rounds += 1
    return rounds


def work_and_sweep(store: Store, folder: Path, seed: int, rounds: int) -> None:
    workers = [Worker(Ledger(store), folder, random.Random(f"{seed}-{number}")) for number in range(3)]
    over = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        sweeps = pool.submit(sweep_until, store, over)
        try:
            for work in [pool.submit(worker.work, rounds) for worker in workers]:
                work.result(BOUND_S)
        finally:
            over.set()
        assert sweeps.result(BOUND_S) > 1
    assert missing(Ledger(store)) == []
    assert sum(worker.done for worker in workers) > rounds / 2
    for worker in workers:
        for claim, ref in worker.zombies:
            with suppress(Superseded, ObjectMissing, SweptMeanwhile):
                Ledger(store).commit(claim, receipt(claim.unit.unit_id, ref))
    assert missing(Ledger(store)) == []


@pytest.mark.parametrize("seed", range(3))
def test_no_decision_ever_names_a_missing_object_while_sweeps_go_on_and_on(memory: Path, seed: int) -> None:
    work_and_sweep(open_store(memory / "store"), memory, seed, ROUNDS)


class TestBucket:
    """The same over S3: exclusive creation, listings and ages are the server's."""

    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        return open_store(f"s3://{s3.new_bucket()}/some prefix")

    def test_what_is_needed_stays_and_the_rest_goes(self, ledger: Ledger, tmp_path: Path) -> None:
        ref = do(ledger, "a", b"needed", tmp_path)
        put(ledger, ledger.begin(unit("b"), "gone"), b"half done", tmp_path)
        orphan(ledger.store, b"not needed")
        swept = sweep(ledger.store)
        assert (swept.objects, swept.tries, swept.units_fenced) == (2, 4 - 1, ["b"])
        assert list(ledger.store.list("objects/")) == [ref.path]
        with take_turn(ledger.store), pytest.raises(RequestError, match="a sweep is under way"):
            sweep(ledger.store)

    def test_no_decision_names_a_missing_object_while_sweeps_go_on(self, store: Store, tmp_path: Path) -> None:
        work_and_sweep(store, tmp_path, seed=0, rounds=25)
