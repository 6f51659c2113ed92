"""The engine's door: who runs the workers, chosen by an address.

An engine gives pools, a pool keeps workers; see `pool.py`. `plain.py` and `rays.py` are the two engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from flows.cluster.config import EngineConfig
from flows.cluster.plain import PlainEngine
from flows.cluster.pool import Pool
from flows.cluster.work import Item, Result, WorkerSpec
from shards.errors import RequestError

ADDRESSES = ("none", "local", "auto")


class Engine(Protocol):
    """Where work is done."""

    @property
    def is_isolated(self) -> bool:
        """Each worker has a process of its own: a hang or a crash in it is seen, and costs that worker alone."""
        ...

    @property
    def cpus(self) -> float:
        """Cores it may use, over all its nodes; on a cluster that changes while nodes come and go."""
        ...

    @property
    def gpus(self) -> float:
        """CUDA devices it may use, over all its nodes."""
        ...

    @property
    def memory_bytes(self) -> int | None:
        """Host memory it may use, over all its nodes; None when unknown."""
        ...

    def open_pool(self, spec: WorkerSpec[Item, Result], num_workers: int, config: EngineConfig) -> Pool[Item, Result]:
        """Starts that many workers; whoever opens a pool closes it."""
        ...

    def wait(self, pools: Sequence[Pool[Any, Any]], timeout_s: float) -> None:
        """Until one of the pools may have something to tell, at most `timeout_s`."""
        ...

    def close(self) -> None:
        """Ends what the engine started, and nothing else."""
        ...


@contextmanager
def open_engine(address: str | None, *, num_cpus: int | None = None) -> Iterator[Engine]:
    """The engine behind an address, closed at the end.

    `none` (or None) is a loop in this process, `local` a Ray of our own on this machine, `auto` the Ray cluster this
    machine belongs to (or the one that RAY_ADDRESS names). `num_cpus` bounds a local Ray.
    """
    engine = _engine(address, num_cpus)
    try:
        yield engine
    finally:
        engine.close()


def _engine(address: str | None, num_cpus: int | None) -> Engine:
    if address is None or address == "none":
        return PlainEngine()
    if address not in ADDRESSES:
        raise RequestError("no such engine", field="address", value=address, choices=ADDRESSES)
    # Ray takes half a second to import, and a plain run does not need it.
    from flows.cluster.rays import RayEngine

    return RayEngine(address, num_cpus=num_cpus)
