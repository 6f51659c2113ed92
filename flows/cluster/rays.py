"""The engine that is Ray: a private one on this machine, or a cluster that is there already.

Ray decides where a worker runs, and nothing more: what is done is known by the commits alone. `close` ends what was
started here; a cluster we only joined is left as it was.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
import ray._private.worker as ray_worker
from ray._private import ray_constants

from flows.cluster import processes
from flows.cluster.config import EngineConfig
from flows.cluster.pool import Pool
from flows.cluster.ray_pool import RayPool
from flows.cluster.resources import available_cpus
from flows.cluster.work import Item, Result, WorkerSpec
from shards.errors import RequestError

log = logging.getLogger(__name__)

ENGINE_MARK = "DUBWRIGHT_ENGINE"
"""In the environment of every process of a Ray we started."""
_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("flows", "model", "preprocessing", "shards")

# What Ray is told by environment, all of it. A value the user has set wins.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported home
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # the pool reads every answer it still wants
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # which devices a worker sees is said by the pool
}
# Despite its name: "0" binds every port to 127.0.0.1 and none to the network.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_OBJECT_STORE_BYTES = 256 << 20
"""Receipts pass through it, never frames; Ray's own default would be a third of the machine's memory."""
_LOOK_AGAIN_S = 2.0
"""How old the count of a cluster's resources may be: nodes come and go."""


class RayEngine:
    """Actor pools on Ray Core."""

    is_isolated = True

    def __init__(self, address: str = "local", *, num_cpus: int | None = None) -> None:
        self._is_own = address == "local"
        for name, value in _ALWAYS.items():
            os.environ.setdefault(name, value)
        if ray.is_initialized():
            raise RequestError(
                "this process is already connected to a Ray; one engine at a time", field="address", value=address
            )
        _keep_quiet()
        self._id = uuid.uuid4().hex[:12]
        self._pools = 0
        self._temp = Path(tempfile.mkdtemp(prefix="dubwright-", dir=_short_folder())) if self._is_own else None
        try:
            if self._is_own:
                self._start(num_cpus)
            else:
                self._join()
        except BaseException:
            self.close()
            raise
        self._resources = self._counted()
        self._node_id = ray.get_runtime_context().get_node_id()
        # A cluster gets the code by upload; our own workers find it where this file lies.
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._python_path = os.pathsep.join(paths) if self._is_own else None

    @property
    def cpus(self) -> float:
        return self._resource("CPU")

    @property
    def gpus(self) -> float:
        return self._resource("GPU")

    @property
    def memory_bytes(self) -> int | None:
        return int(self._resource("memory")) or None

    def open_pool(
        self, spec: WorkerSpec[Item, Result], num_workers: int, config: EngineConfig
    ) -> RayPool[Item, Result]:
        self._pools += 1
        return RayPool(
            spec,
            num_workers,
            config,
            node_id=self._node_id,
            python_path=self._python_path,
            mark=f"{self._id}-{self._pools}",
        )

    def wait(self, pools: Sequence[Pool[Any, Any]], timeout_s: float) -> None:
        pending = [answer for pool in pools if isinstance(pool, RayPool) for answer in pool.pending]
        if pending:
            ray.wait(pending, num_returns=1, timeout=timeout_s)
        else:
            time.sleep(timeout_s)

    def close(self) -> None:
        ray.shutdown()
        if self._temp is None:
            return
        if not processes.wait_gone(ENGINE_MARK, self._id, within_s=10.0):
            left = processes.end_marked(ENGINE_MARK, self._id)
            log.warning("Ray did not end by itself; %s", f"still there: {sorted(left)}" if left else "ended it")
        shutil.rmtree(self._temp, ignore_errors=True)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, num_cpus: int | None) -> None:
        """A Ray of our own: never `ray.init()` without an address, which may join somebody else's."""
        with _start_environment({ENGINE_MARK: self._id, _LOOPBACK: "0"}), _own_sigterm():
            context: Any = ray.init(
                address="local",
                num_cpus=num_cpus or available_cpus(),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(self._temp),
            )
        if self._temp is not None:
            self._temp.chmod(0o700)  # Ray opens it to everybody
        if context.address_info["node_ip_address"] != "127.0.0.1":
            log.warning("this version of Ray listens on the network (with a token), not on this machine alone")

    def _join(self) -> None:
        modules = [str(_ROOT / package) for package in _PACKAGES]
        try:
            with _own_sigterm():
                ray.init(
                    address="auto", log_to_driver=False, configure_logging=False, runtime_env={"py_modules": modules}
                )
        except ConnectionError as exc:
            raise RequestError(f"no Ray answers: {exc}", field="address", value="auto") from exc

    def _resource(self, name: str) -> float:
        if not self._is_own and time.monotonic() - self._counted_at > _LOOK_AGAIN_S:
            self._resources = self._counted()
        return float(self._resources.get(name, 0))

    def _counted(self) -> dict[str, float]:
        self._counted_at = time.monotonic()
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return resources


def _short_folder() -> str:
    """Where Ray's sockets go: a socket's path may have 107 bytes, and Ray adds 70 of its own."""
    return "/tmp" if sys.platform != "win32" else tempfile.gettempdir()  # noqa: S108 - mkdtemp makes a new one


@contextmanager
def _start_environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets them while Ray starts, and no longer.

    What this process starts later is not Ray's and must not carry its mark; and it may join a cluster afterwards.
    """
    before = {name: os.environ.get(name) for name in variables}
    may_cluster = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(variables)
    # In this process Ray has read the variable already, when it was imported.
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = may_cluster
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the caller's way of stopping: `ray.init` puts its own handler in its place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        is_main = threading.current_thread() is threading.main_thread()
        # Without one of the caller's, Ray's is better than none: it leaves by way of the `finally` blocks.
        if is_main and before not in (signal.SIG_DFL, None):
            signal.signal(signal.SIGTERM, before)


def _keep_quiet() -> None:
    """Keeps Ray's notices off stdout and stderr.

    Ray prints a paragraph on *stdout* whenever a worker dies, whatever its logging is set to, and has no switch for
    it. A worker's death is reported by the pool, and stdout belongs to the command's answer.
    """

    def to_log(data: dict[str, object], ignore_prefix: bool) -> None:
        log.debug("ray: %s", data.get("lines"))

    if not hasattr(ray_worker, "print_to_stdstream"):
        log.warning("this version of Ray prints by other means: expect its notices on stdout")
    ray_worker.print_to_stdstream = to_log
    # Token authentication is Ray's default, and right: nothing to warn about.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
