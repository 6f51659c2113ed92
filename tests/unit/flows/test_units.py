"""The bridge between the records and the engine, over the plain engine and a worker that does as the unit says."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.cluster.config import EngineConfig
from flows.cluster.driver import RunSummary
from flows.cluster.plain import PlainEngine
from flows.cluster.progress import Progress
from flows.cluster.work import WorkerSpec
from flows.units import Stopped, Unfinished, stop_on_interrupt, work_off
from preprocessing.errors import ToolMissing, Unusable
from shards.commit import Claim, Ledger, Plan, Receipt, Unit
from shards.fingerprint import fingerprint
from shards.repair import reopen
from shards.store import open_store

CONFIG = EngineConfig(backoff_s=0, max_attempts=3, grace_s=0.01)


@dataclass
class Acting:
    """Commits a unit, or fails as its payload says; records which units it saw."""

    store_uri: str
    seen: list[str] = field(default_factory=list)

    def setup(self) -> None:
        self.ledger = Ledger(open_store(self.store_uri, create=False))

    def process(self, item: Claim) -> Receipt:
        unit = item.unit
        self.seen.append(unit.unit_id)
        match unit.payload["act"]:
            case "reject":
                raise Unusable.because("no_face", "nobody is seen", value=0.0, threshold=1.0)
            case "poison":
                raise ValueError("it does not compute")
            case "trouble":
                raise OSError(errno.ENOSPC, "no space left")
            case "tool":
                raise ToolMissing("this ffmpeg was built without libx265")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "result.bin")
            path.write_bytes(unit.unit_id.encode())
            ref = self.ledger.put_object(item, path, ".bin")
        return self.ledger.commit(item, Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(ref,)))

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Bench:
    """A store, a worker, and one call that brings them together."""

    ledger: Ledger
    worker: Acting
    progress: Progress = field(default_factory=lambda: Progress("units", stream=io.StringIO()))

    def run(self, plan: Plan, should_stop: Callable[[], bool] = lambda: False) -> RunSummary:
        self.progress = Progress("units", stream=io.StringIO())
        spec: WorkerSpec[Claim, Receipt] = WorkerSpec(name="act", factory=lambda: self.worker)
        return work_off(
            self.ledger,
            plan,
            spec,
            engine=PlainEngine(),
            config=CONFIG,
            progress=self.progress,
            reproduce=lambda unit: f"dubwright again {unit.unit_id}",
            should_stop=should_stop,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    ledger = Ledger(open_store(tmp_path / "store"))
    return Bench(ledger, Acting(ledger.store.uri))


def make_plan(*acts: str) -> Plan:
    units = [Unit(unit_id=fingerprint(n)[:12], stage="act", payload={"act": act}) for n, act in enumerate(acts)]
    return Plan.of("act", units, {})


def unit_of(plan: Plan, act: str) -> Unit:
    return next(unit for unit in plan.units if unit.payload["act"] == act)


def test_every_unit_is_kept_rejected_or_quarantined(bench: Bench) -> None:
    plan = make_plan("keep", "reject", "poison", "keep")
    bench.run(plan)
    account = bench.ledger.account(plan)
    account.check()
    assert (account.kept, account.rejected, account.quarantined) == (2, 1, 1)
    assert bench.progress.counts == {"kept": 2, "rejected": 1, "quarantined": 1}


def test_an_attempt_is_recorded_for_each_try(bench: Bench) -> None:
    plan = make_plan("keep", "reject", "poison")
    bench.run(plan)
    tries = {act: len(bench.ledger.attempts(unit_of(plan, act).unit_id)) for act in ("keep", "reject", "poison")}
    assert tries == {"keep": 1, "reject": 1, "poison": 3}


def test_unusable_footage_is_rejected_with_what_was_measured(bench: Bench) -> None:
    plan = make_plan("reject")
    bench.run(plan)
    receipt = bench.ledger.receipt(plan.units[0].unit_id)
    assert receipt is not None
    assert [(r.code, r.value, r.threshold) for r in receipt.rejections] == [("no_face", 0.0, 1.0)]


def test_poison_is_quarantined_with_the_command_that_shows_it(bench: Bench) -> None:
    plan = make_plan("poison")
    bench.run(plan)
    given_up = bench.ledger.quarantined(plan.units[0].unit_id)
    assert given_up is not None
    assert (given_up.error_class, given_up.message) == ("ValueError", "it does not compute")
    assert given_up.reproduce == f"dubwright again {plan.units[0].unit_id}"
    assert given_up.attempts == 3
    assert "it does not compute" in given_up.stderr_tail


def test_trouble_that_is_not_the_units_leaves_it_open_and_says_so(bench: Bench) -> None:
    plan = make_plan("trouble", "keep")
    with pytest.raises(Unfinished, match=r"act: 1 units are still open after 9 tries.*no space left.*run again"):
        bench.run(plan)
    assert bench.ledger.pending(plan) == [unit_of(plan, "trouble")]
    assert bench.ledger.attempts(unit_of(plan, "trouble").unit_id) == []


def test_a_tool_that_is_not_installed_is_not_held_against_the_footage(bench: Bench) -> None:
    plan = make_plan("tool")
    bench.run(plan)
    assert bench.ledger.receipt(plan.units[0].unit_id) is None
    given_up = bench.ledger.quarantined(plan.units[0].unit_id)
    assert given_up is not None
    assert (given_up.error_class, given_up.attempts) == ("ToolMissing", 1)


def test_the_plan_is_in_the_store_before_any_work(bench: Bench) -> None:
    plan = make_plan("keep")
    with pytest.raises(Stopped):
        bench.run(plan, should_stop=lambda: True)
    assert bench.ledger.read_plan(plan.plan_id) == plan
    assert bench.worker.seen == []


def test_a_second_run_does_nothing_and_counts_what_was_done_before(bench: Bench) -> None:
    plan = make_plan("keep", "reject", "poison")
    bench.run(plan)
    seen = len(bench.worker.seen)
    bench.run(plan)
    assert len(bench.worker.seen) == seen
    assert bench.progress.counts == {"done before": 3}


def test_what_was_given_up_is_tried_again_only_when_a_person_says_so(bench: Bench) -> None:
    plan = make_plan("keep", "poison")
    bench.run(plan)
    poison = unit_of(plan, "poison").unit_id
    assert reopen(bench.ledger) == [poison]
    assert reopen(bench.ledger) == []
    bench.worker.seen.clear()
    bench.run(plan)
    assert bench.worker.seen == [poison] * 3


def test_a_stop_keeps_what_is_done_and_the_next_run_ends_as_if_nothing_had_been(bench: Bench, tmp_path: Path) -> None:
    plan = make_plan("keep", "reject", "keep", "poison", "keep")
    for _ in range(len(plan.units)):
        before = len(bench.ledger.pending(plan))
        stop_now = functools.partial(_fewer_pending, bench.ledger, plan, before)
        with pytest.raises(Stopped):
            bench.run(plan, should_stop=stop_now)
        assert len(bench.ledger.pending(plan)) == before - 1
        if before == 2:
            break
    bench.run(plan)

    straight = Bench(ledger := Ledger(open_store(tmp_path / "straight")), Acting(ledger.store.uri))
    straight.run(plan)
    assert list(bench.ledger.receipts(plan)) == list(straight.ledger.receipts(plan))
    assert bench.ledger.account(plan) == straight.ledger.account(plan)


def _fewer_pending(ledger: Ledger, plan: Plan, before: int) -> bool:
    return len(ledger.pending(plan)) < before


def test_a_stop_is_an_interrupt_to_whoever_does_not_know_it() -> None:
    assert issubclass(Stopped, KeyboardInterrupt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_second_one_ends_and_the_old_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_interrupt() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
