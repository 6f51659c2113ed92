"""How much fits where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.cluster import resources
from flows.cluster.work import WorkerSpec
from shards.errors import RequestError


class Nothing:
    def setup(self) -> None: ...

    def process(self, item: int) -> int:
        return item

    def close(self) -> None: ...


def spec(cpus: float = 1.0, gpus: float = 0.0, memory_bytes: int | None = None) -> WorkerSpec[int, int]:
    return WorkerSpec(name="faces", factory=Nothing, cpus=cpus, gpus=gpus, memory_bytes=memory_bytes)


@pytest.mark.parametrize(
    ("worker", "cpus", "gpus", "expected"),
    [
        (spec(), 4, 0, 4),
        (spec(cpus=2), 5, 0, 2),
        (spec(cpus=0.1), 1, 0, 10),
        (spec(cpus=1, gpus=0.25), 16, 1, 4),
        (spec(cpus=0, gpus=1), 16, 2, 2),
    ],
)
def test_a_pool_is_as_large_as_the_scarcest_share_allows(
    worker: WorkerSpec[int, int], cpus: float, gpus: float, expected: int
) -> None:
    assert resources.plan_pool(worker, cpus, gpus) == expected


def test_memory_bounds_a_pool_but_never_to_nothing() -> None:
    assert resources.plan_pool(spec(memory_bytes=4), 8, 0, memory_bytes=10) == 2
    assert resources.plan_pool(spec(memory_bytes=40), 8, 0, memory_bytes=10) == 1


def test_a_worker_that_cannot_fit_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match=r"faces, `gpus`: one worker needs more than there is \(0\)"):
        resources.plan_pool(spec(gpus=1), 8, 0)


@pytest.mark.parametrize("shares", [{"cpus": -1.0}, {"cpus": 0.0, "gpus": 0.0}])
def test_a_share_that_makes_no_sense_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(RequestError, match="faces"):
        spec(**shares)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(resources, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert resources.available_cpus() == (8 if quota is None else int(quota))


def test_hidden_devices_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert resources.available_gpus() == 0


def test_numeric_libraries_are_kept_to_the_workers_share() -> None:
    assert resources.thread_environment(2.5)["OMP_NUM_THREADS"] == "2"
    assert set(resources.thread_environment(0.25).values()) == {"1"}
