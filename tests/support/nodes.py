"""A Ray of several nodes on this machine, all of whose ports are on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray._private import ray_constants
from ray.cluster_utils import Cluster

_NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 << 20, "include_dashboard": False}


@contextmanager
def several_nodes(count: int, *, num_cpus: int) -> Iterator[Cluster]:
    """A head that does no work, and so many nodes with so many cores each; `RAY_ADDRESS` says where."""
    with pytest.MonkeyPatch.context() as patch:
        # Despite its name "0" keeps every port on loopback; this process has read it already.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_initial_delay_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_NODE})
        for _ in range(count):
            add_node(cluster, num_cpus=num_cpus)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()


def add_node(cluster: Cluster, *, num_cpus: int) -> Any:
    return cluster.add_node(num_cpus=num_cpus, **_NODE)
