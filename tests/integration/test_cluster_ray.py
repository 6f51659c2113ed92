"""The driver over one real local Ray: what only real processes can show."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.cluster import driver
from flows.cluster.config import EngineConfig
from flows.cluster.engine import Engine, open_engine
from flows.cluster.failures import Failure, FailureKind, WorkerSetupError
from flows.cluster.rays import RayEngine
from flows.cluster.work import WorkerSpec
from shards.errors import RequestError

CONFIG = EngineConfig(max_workers=2, deadline_s=30, max_attempts=2, backoff_s=0)


class Squares:
    """Squares a number, unless the item is an order to fail."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def setup(self) -> None:
        # A child such as a decoder, in a session of its own, where killing the worker's group does not reach it.
        self.child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (self.folder / f"{os.getpid()}.child").write_text(str(self.child.pid))

    def process(self, item: object) -> tuple[int, int]:
        if isinstance(item, int):
            return item * item, os.getpid()
        if item == "meet":
            while len(children(self.folder)) < 2:
                time.sleep(0.01)
            return 0, os.getpid()
        if item == "die":
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            os._exit(9)
        if item == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if item == "hang":
            # Sleeps in C with the interpreter lock held: no signal handler, no thread of Python's runs any more.
            ctypes.PyDLL(None).sleep(600)
        if item == "lock":
            return threading.Lock()  # type: ignore[return-value]
        if item == "bad":
            raise RequestError("no such preset", field="preset", value="tinny", choices=["tiny"])
        raise ValueError(f"cannot square {item!r}")

    def process_batch(self, items: Sequence[object]) -> Sequence[tuple[int, int] | Exception]:
        return [self.process(item) for item in items]

    def close(self) -> None:
        self.child.terminate()
        self.child.wait()


class NeverReady(Squares):
    def setup(self) -> None:
        raise OSError("no weights here")


@dataclass
class Log:
    """What the driver told us, in order."""

    started: list[tuple[object, int]] = field(default_factory=list)
    done: dict[object, tuple[int, int]] = field(default_factory=dict)
    failed: dict[object, Failure] = field(default_factory=dict)
    abandoned: list[object] = field(default_factory=list)

    def run(self, engine: Engine, items: list[object], folder: Path, config: EngineConfig = CONFIG, **more: object):  # type: ignore[no-untyped-def]
        factory = functools.partial(more.pop("worker", Squares), str(folder))  # type: ignore[operator]
        spec = WorkerSpec(name="squares", factory=factory, cpus=1, batch=more.pop("batch", 1))  # type: ignore[arg-type]
        return driver.run(
            items,
            spec,
            engine=engine,
            config=config,
            key=str,
            prepare=self._prepare,
            on_done=self.done.__setitem__,
            on_failed=self.failed.__setitem__,
            on_abandoned=self.abandoned.append,
            **more,
        )

    def _prepare(self, item: object, attempt: int) -> object:
        self.started.append((item, attempt))
        return item


def asks_to_stop(number: int, frame: object) -> None:
    """Stands for the command's own handler."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    before = signal.signal(signal.SIGTERM, asks_to_stop)
    with open_engine("local", num_cpus=2) as engine:
        yield engine
    signal.signal(signal.SIGTERM, before)


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def children(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.child")]


def test_every_item_gets_its_own_result(engine: Engine, tmp_path: Path) -> None:
    log = Log()
    config = EngineConfig(max_workers=2, in_flight_per_worker=2)
    summary = log.run(engine, ["meet", *range(1, 40)], tmp_path, config)
    assert {item: square for item, (square, _) in log.done.items()} == {"meet": 0} | {n: n * n for n in range(1, 40)}
    assert len({pid for _, pid in log.done.values()} - {os.getpid()}) == 2
    assert (summary.done, summary.failed, summary.stopped, summary.abandoned) == (40, 0, False, 0)
    assert len(children(tmp_path)) == 2
    assert not any(map(is_alive, children(tmp_path)))


def test_a_worker_that_dies_is_replaced_and_its_item_charged(
    engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = Log()
    # One item at a time: an answer that is still on its way when the next item kills the worker dies with it.
    config = EngineConfig(max_workers=1, in_flight_per_worker=1, max_attempts=2, backoff_s=0)
    summary = log.run(engine, [1, "die", 2, "segfault", 3], tmp_path, config)
    assert {item: square for item, (square, _) in log.done.items()} == {1: 1, 2: 4, 3: 9}
    for order, words in (("die", "last words"), ("segfault", "Segmentation fault")):
        assert (log.failed[order].kind, log.failed[order].attempts) == (FailureKind.CRASH, 2)
        assert words in log.failed[order].tail, "the record keeps what the dead process said"
    assert summary.failed == 2
    assert capfd.readouterr().out == "", "the command's answer goes to stdout, nothing of Ray's does"
    # What the dead workers had started was found without them.
    assert len(children(tmp_path)) == 5
    assert not any(map(is_alive, children(tmp_path)))


def test_a_worker_stuck_in_native_code_is_ended_with_its_children_and_the_run_goes_on(
    engine: Engine, tmp_path: Path
) -> None:
    log = Log()
    config = EngineConfig(max_workers=1, in_flight_per_worker=2, deadline_s=1.5, max_attempts=1, backoff_s=0)
    log.run(engine, [1, "hang", 2], tmp_path, config)
    assert {item: square for item, (square, _) in log.done.items()} == {1: 1, 2: 4}
    failure = log.failed["hang"]
    assert failure.kind is FailureKind.HANG
    assert "in process" in failure.tail, "the record says where it hung"
    # The item behind it was not charged: its second hand-over is no second failure.
    assert [attempt for item, attempt in log.started if item == 2] == [1, 2]
    assert log.abandoned == [2], "its first try does not count"
    assert len(children(tmp_path)) == 2
    assert not any(map(is_alive, [*children(tmp_path), *(int(p.stem) for p in tmp_path.glob("*.child"))]))


@pytest.mark.parametrize(("order", "kind"), [("hang", FailureKind.HANG), ("segfault", FailureKind.CRASH)])
def test_one_item_that_takes_its_whole_batch_along_is_found_and_nobody_else_is_charged(
    engine: Engine, tmp_path: Path, order: str, kind: FailureKind
) -> None:
    log = Log()
    config = EngineConfig(max_workers=2, deadline_s=1.0, max_attempts=1, backoff_s=0)
    log.run(engine, [1, 2, order, 3], tmp_path, config, batch=4)
    assert {item: square for item, (square, _) in log.done.items()} == {1: 1, 2: 4, 3: 9}
    assert (log.failed[order].kind, log.failed[order].attempts) == (kind, 1)
    assert "in process" in log.failed[order].tail, "the record says where"
    begun = {item: sum(one == item for one, _ in log.started) for item in (1, 2, order, 3)}
    tries = {item: number - log.abandoned.count(item) for item, number in begun.items()}
    assert tries == {1: 1, 2: 1, order: 1, 3: 1}
    assert not any(map(is_alive, children(tmp_path)))


def test_errors_cross_the_process_border_as_records(engine: Engine, tmp_path: Path) -> None:
    log = Log()
    log.run(engine, ["odd", "bad", "lock", 5], tmp_path)
    assert log.failed["odd"].kind is FailureKind.POISON
    assert "cannot square 'odd'" in log.failed["odd"].tail
    assert (log.failed["bad"].kind, log.failed["bad"].attempts) == (FailureKind.INPUT, 1)
    assert log.failed["lock"].kind is FailureKind.POISON
    assert "pickle" in log.failed["lock"].message
    assert log.done[5][0] == 25


def test_a_worker_that_died_while_idle_is_not_charged_to_the_next_item(engine: Engine, tmp_path: Path) -> None:
    class Murderous(dict[object, tuple[int, int]]):
        def __setitem__(self, item: object, answer: tuple[int, int]) -> None:
            super().__setitem__(item, answer)
            os.kill(answer[1], signal.SIGKILL)
            while is_alive(answer[1]):
                time.sleep(0.01)

    log = Log(done=Murderous())
    log.run(engine, [1, 2], tmp_path, EngineConfig(max_workers=1, max_attempts=1, backoff_s=0))
    assert not log.failed
    assert log.started == [(1, 1), (2, 1)]
    assert len({pid for _, pid in log.done.values()}) == 2


def test_a_stop_lets_begun_items_end_and_begins_no_more(engine: Engine, tmp_path: Path) -> None:
    log = Log()
    summary = log.run(engine, list(range(1000)), tmp_path, should_stop=lambda: len(log.done) >= 5)
    assert summary.stopped
    assert summary.abandoned == 0
    assert 5 <= summary.done == len(log.done) == len(log.started) < 20


def test_a_stop_does_not_wait_longer_than_its_grace(engine: Engine, tmp_path: Path) -> None:
    log = Log()
    config = EngineConfig(max_workers=1, deadline_s=600, grace_s=0.5)
    summary = log.run(engine, ["hang"], tmp_path, config, should_stop=lambda: bool(log.started))
    assert (summary.stopped, summary.abandoned, summary.done) == (True, 1, 0)
    assert log.abandoned == ["hang"]
    assert not any(map(is_alive, children(tmp_path)))


def test_workers_that_cannot_start_end_the_run_with_their_reason(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(WorkerSetupError, match="no weights here"):
        Log().run(engine, [1], tmp_path, worker=NeverReady)


def test_the_callers_way_of_stopping_is_left_to_it(engine: Engine) -> None:
    assert signal.getsignal(signal.SIGTERM) is asks_to_stop


def test_a_second_engine_in_one_process_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="one engine at a time"):
        RayEngine("local")


def test_close_leaves_no_process_of_ours() -> None:
    script = (
        "from flows.cluster.rays import RayEngine, ENGINE_MARK\n"
        "from flows.cluster import processes\n"
        "engine = RayEngine('local', num_cpus=1)\n"
        "before = processes.marked(ENGINE_MARK, engine._id)\n"
        "engine.close()\n"
        "print(len(before) >= 3, sorted(processes.marked(ENGINE_MARK, engine._id)), engine._temp.exists())\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "True [] False\n"
    assert answer.stderr == ""
