"""What this machine has to give, and how many workers of a kind fit into it."""

from __future__ import annotations

import math
import os
from pathlib import Path

from flows.cluster.work import Item, Result, WorkerSpec
from shards.errors import RequestError

_CGROUP = Path("/sys/fs/cgroup")
# What the numeric libraries below us read to size their thread pools.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def available_cpus() -> int:
    """Cores this process may use: its affinity and its container's quota, not what the machine has; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(_CGROUP)
    return max(1, min(cores, math.floor(quota)) if quota is not None else cores)


def available_gpus() -> int:
    """CUDA devices this process may use; asks the device files, since loading CUDA here would take a share of one."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = sum(1 for node in Path("/dev").glob("nvidia[0-9]*"))
    if chosen is None:
        return present
    # CUDA reads the list up to the first entry that is no device; -1 and the empty string hide them all.
    names = [name.strip() for name in chosen.split(",")]
    return min(present, next((i for i, name in enumerate(names) if name in ("", "-1")), len(names)))


def available_memory_bytes() -> int | None:
    """Host memory that is free for new work; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in rows else None


def plan_pool(spec: WorkerSpec[Item, Result], cpus: float, gpus: float, memory_bytes: int | None = None) -> int:
    """How many workers fit into the given cores, devices and bytes; refuses when not even one does."""
    fits = math.inf
    for field, need, have in (("cpus", spec.cpus, cpus), ("gpus", spec.gpus, gpus)):
        if need > have:
            raise RequestError(
                f"one worker needs more than there is ({have:g})", where=spec.name, field=field, value=need
            )
        if need:
            # 1 / 0.1 in floating point is 10 only by luck.
            fits = min(fits, math.floor(have / need + 1e-9))
    if spec.memory_bytes and memory_bytes is not None:
        fits = min(fits, max(1, memory_bytes // spec.memory_bytes))
    return int(fits)


def thread_environment(cpus: float) -> dict[str, str]:
    """Environment that keeps a worker's numeric libraries to its share; unset, each takes every core of the node."""
    threads = str(max(1, math.floor(cpus)))
    return dict.fromkeys(_THREAD_VARIABLES, threads)


def _cgroup_quota(root: Path) -> float | None:
    """Cores' worth of time the container may use; None when unlimited."""
    version2 = root / "cpu.max"
    if version2.exists():
        quota, period = version2.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    version1 = root / "cpu" / "cpu.cfs_quota_us"
    if version1.exists():
        microseconds = int(version1.read_text())
        period_us = int((root / "cpu" / "cpu.cfs_period_us").read_text())
        return None if microseconds <= 0 else microseconds / period_us
    return None
