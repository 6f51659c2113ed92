"""A Ray of several nodes on this machine: what becomes of work when a worker, or a whole node, is lost elsewhere."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from flows.cluster import processes
from flows.cluster.agenda import LOOK_AHEAD
from flows.cluster.config import EngineConfig
from flows.cluster.driver import RunSummary, run
from flows.cluster.engine import Engine, open_engine
from flows.cluster.failures import Failure, FailureKind
from flows.cluster.work import WorkerSpec
from tests.support.nodes import add_node, several_nodes

CONFIG = EngineConfig(max_attempts=1, backoff_s=0.05, deadline_s=30)
Answer = tuple[str, int, int]
"""The node that did it, its process and that process's child."""


@dataclass(frozen=True)
class Order:
    """What a worker is to do."""

    number: int
    nap_s: float = 0.0
    act: str = ""
    file: str | None = None
    folder: str = ""
    """Where those who are to meet leave word of it."""
    attempt: int = 1


class Obedient:
    """Does as it is told, and says where."""

    def setup(self) -> None:
        self.child = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def process(self, item: Order) -> Answer:
        time.sleep(item.nap_s)
        if item.act == "meet":
            Path(item.folder, str(os.getpid())).touch()
            while len(list(Path(item.folder).iterdir())) < 2:
                time.sleep(0.01)
        if item.act == "away once" and item.attempt == 1:
            raise ConnectionError("the store is away")
        if item.act == "die":
            sys.stderr.write("far last words\n")
            sys.stderr.flush()
            os._exit(9)
        return ray.get_runtime_context().get_node_id(), os.getpid(), self.child.pid

    def close(self) -> None:
        self.child.terminate()
        self.child.wait()


@dataclass
class Log:
    """What became of each order; nothing may be said twice."""

    done: dict[int, Answer] = field(default_factory=dict)
    failed: dict[int, Failure] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    on_done: Callable[[Answer], None] = lambda answer: None

    def run(self, engine: Engine, orders: list[Order], config: EngineConfig = CONFIG, **more: Any) -> RunSummary:
        return run(
            orders,
            WorkerSpec(name="obedient", factory=Obedient, cpus=1),
            engine=engine,
            config=config,
            key=lambda order: str(order.number),
            prepare=self._prepare,
            on_done=self._done,
            on_failed=self._failed,
            on_abandoned=lambda order: self._count(order, -1),
            **more,
        )

    def _prepare(self, order: Order, attempt: int) -> Order:
        self._count(order, 1)
        return dataclasses.replace(order, attempt=attempt)

    def _count(self, order: Order, number: int) -> None:
        self.tries[order.number] = self.tries.get(order.number, 0) + number

    def _done(self, order: Order, answer: Answer) -> None:
        assert order.number not in self.done
        self.done[order.number] = answer
        self.on_done(answer)

    def _failed(self, order: Order, failure: Failure) -> None:
        self.failed[order.number] = failure


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with several_nodes(2, num_cpus=2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def engine(cluster: Cluster) -> Iterator[Engine]:
    with open_engine("auto") as engine:
        yield engine


def nodes(log: Log) -> set[str]:
    return {node for node, _, _ in log.done.values()}


def test_the_work_is_done_on_both_nodes(engine: Engine) -> None:
    log = Log()
    log.run(engine, [Order(n, nap_s=0.05) for n in range(24)])
    assert sorted(log.done) == list(range(24))
    assert len(nodes(log)) == 2
    assert engine.cpus == 4
    assert engine.is_isolated


def test_a_worker_that_dies_elsewhere_is_replaced_and_its_last_words_are_kept(engine: Engine) -> None:
    log = Log()
    log.run(engine, [Order(0), Order(1, act="die"), Order(2)])
    assert sorted(log.done) == [0, 2]
    assert log.failed[1].kind is FailureKind.CRASH
    assert "far last words" in log.failed[1].tail


def test_a_worker_that_died_idle_elsewhere_is_noticed_before_it_is_given_an_item(engine: Engine) -> None:
    def kill(answer: Answer) -> None:
        if len(log.done) == 1:
            os.kill(answer[1], signal.SIGKILL)

    log = Log(on_done=kill)
    # The first item comes again when the worker that did the second has been dead for some seconds.
    config = EngineConfig(max_attempts=1, max_workers=1, backoff_s=4.0)
    log.run(engine, [Order(0, act="away once"), Order(1)], config)
    assert list(log.done) == [1, 0]
    assert log.done[0][1] != log.done[1][1]
    assert log.tries == {0: 1, 1: 1}


def test_the_items_of_one_file_stay_on_a_node_while_both_are_busy(engine: Engine, tmp_path: Path) -> None:
    log = Log()
    meet = [Order(-n, act="meet", folder=str(tmp_path)) for n in (1, 2)]
    orders = [Order(n, nap_s=0.02 + 0.01 * (n % 3), file=f"film{n % 4}") for n in range(160)]
    log.run(engine, meet + orders, EngineConfig(max_workers=2), near=lambda order: order.file)
    assert len(log.done) == 162
    # At the end a worker takes what is left, whoever has the file.
    in_time = [number for number in log.done if number >= 0][: 160 - 2 * LOOK_AHEAD]
    moves = 0
    for film in range(4):
        places = [log.done[number] for number in in_time if number % 4 == film]
        moves += sum(a != b for a, b in itertools.pairwise(places))
    assert moves <= 4, "a file does not go to and fro"


def test_a_killed_node_costs_its_items_a_second_go_and_nothing_else(engine: Engine, cluster: Cluster) -> None:
    victim = add_node(cluster, num_cpus=2)
    cluster.wait_for_nodes()
    log = Log()
    raylet = victim.all_processes["raylet"][0].process.pid
    seen: set[str] = set()

    def strike(answer: Answer) -> None:
        seen.add(answer[0])
        if victim.node_id in seen and processes.is_alive(raylet):
            os.kill(raylet, signal.SIGKILL)

    log.on_done = strike
    summary = log.run(engine, [Order(n, nap_s=0.5) for n in range(60)])
    assert victim.node_id in nodes(log), "it had begun to work"
    assert not processes.is_alive(raylet)
    assert (summary.done, summary.failed, sorted(log.done)) == (60, 0, list(range(60)))
    assert set(log.tries.values()) == {1}, "nobody was charged for the node"
    assert not [pid for _, *pids in log.done.values() for pid in pids if processes.is_alive(pid)]
