"""A bucket that answers late, wrongly or not at all: a whole run over it comes to what it comes to on a local disk."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from shards.store import Store
from tests.support.pipeline import make_plan, outcome, run_pipeline
from tests.support.proxy import Fault, FaultProxy
from tests.support.s3 import environment, new_bucket, server_port

PLAN = make_plan(("keep", "keep", "reject", "keep"))


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run comes to on a local disk."""
    uri = str(tmp_path_factory.mktemp("disk") / "store")
    run_pipeline(uri, plan=PLAN)
    return outcome(uri, PLAN)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(server_port()) as proxy:
        for name, value in environment(proxy.port).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def uri() -> str:
    return f"s3://{new_bucket()}/store"


def test_one_request_in_ten_goes_wrong_and_the_dataset_is_the_same(
    proxy: FaultProxy, uri: str, on_disk: dict[str, Any]
) -> None:
    proxy.now_and_then(0.1, seed=3)
    run_pipeline(uri, plan=PLAN)
    proxy.now_and_then(0.0, seed=3)
    assert outcome(uri, PLAN) == on_disk
    assert len({seen.fault for seen in proxy.seen if seen.fault}) >= 4


def test_every_fifth_answer_is_lost_after_the_deed_and_nothing_is_decided_twice(
    proxy: FaultProxy, uri: str, on_disk: dict[str, Any]
) -> None:
    proxy.now_and_then(0.2, seed=5, kinds=[Fault.LOST_ANSWER])
    run_pipeline(uri, plan=PLAN)
    proxy.now_and_then(0.0, seed=5)
    assert proxy.count(Fault.LOST_ANSWER, "PUT") >= 5
    assert outcome(uri, PLAN) == on_disk


def test_a_server_too_slow_to_wait_for_is_asked_again(
    proxy: FaultProxy, uri: str, on_disk: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_READ_TIMEOUT", "300ms")
    for fault in (Fault.SILENCE, Fault.LATE_ANSWER):
        proxy.next(1, fault, "GET")
        proxy.next(2, fault, "PUT")
    run_pipeline(uri, plan=PLAN)
    assert (proxy.count(Fault.SILENCE), proxy.count(Fault.LATE_ANSWER)) == (3, 3)
    assert outcome(uri, PLAN) == on_disk


def test_a_server_that_is_restarted_in_the_middle_costs_nothing(
    proxy: FaultProxy, uri: str, on_disk: dict[str, Any]
) -> None:
    create, calls = Store.create, []
    again = threading.Timer(0.3, proxy.start)

    @functools.wraps(create)
    def create_and_count(store: Store, path: str, data: bytes) -> bool:
        calls.append(path)
        if len(calls) == 6:
            proxy.stop()
            again.start()
        return create(store, path, data)

    with mock.patch.object(Store, "create", create_and_count):
        run_pipeline(uri, plan=PLAN)
    again.join()
    assert len(calls) > 6
    assert outcome(uri, PLAN) == on_disk
