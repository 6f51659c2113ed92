"""Choosing an engine, and the plain one."""

from __future__ import annotations

import logging
import time

import pytest

from flows.cluster.config import EngineConfig
from flows.cluster.engine import open_engine
from flows.cluster.failures import WorkerSetupError
from flows.cluster.plain import PlainEngine
from flows.cluster.work import WorkerSpec
from preprocessing.errors import ToolMissing
from shards.errors import RequestError


class Slow:
    def setup(self) -> None: ...

    def process(self, item: float) -> None:
        time.sleep(item)

    def close(self) -> None:
        raise OSError("will not go")


class Unready(Slow):
    error: Exception = OSError("no weights")

    def setup(self) -> None:
        raise self.error


class Misconfigured(Unready):
    error = ToolMissing("ffmpeg is not installed")


@pytest.mark.parametrize("address", [None, "none"])
def test_without_an_address_the_work_is_done_here(address: str | None) -> None:
    with open_engine(address) as engine:
        assert isinstance(engine, PlainEngine)
        assert engine.cpus >= 1
        assert not engine.is_isolated, "a crash here takes the caller with it, and callers write that down"


@pytest.mark.parametrize("address", ["http://head:8265", "ray://head:10001", "locale", ""])
def test_an_unknown_address_is_refused_with_the_choices(address: str) -> None:
    with pytest.raises(RequestError, match="Valid: none, local, auto"), open_engine(address):
        pytest.fail("an engine was opened")


def test_a_worker_that_cannot_start_says_why() -> None:
    with PlainEngine() as engine:
        with pytest.raises(WorkerSetupError, match="slow: the worker cannot start: OSError: no weights"):
            engine.open_pool(WorkerSpec(name="slow", factory=Unready), 1, EngineConfig())
        with pytest.raises(RequestError, match="ffmpeg is not installed"):
            engine.open_pool(WorkerSpec(name="slow", factory=Misconfigured), 1, EngineConfig())


def test_a_deadline_cannot_be_kept_here_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with PlainEngine() as engine, caplog.at_level(logging.WARNING):
        pool = engine.open_pool(WorkerSpec(name="slow", factory=Slow), 1, EngineConfig(deadline_s=0.001))
        pool.submit(1, [0.01])
        assert len(pool.poll()) == 1
        assert "past its deadline" in caplog.text


def test_a_worker_that_will_not_close_is_reported_and_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    with PlainEngine() as engine, caplog.at_level(logging.WARNING):
        engine.open_pool(WorkerSpec(name="slow", factory=Slow), 1, EngineConfig()).close()
    assert "slow did not close: will not go" in caplog.text
