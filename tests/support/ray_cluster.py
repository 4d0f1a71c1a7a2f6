"""A Ray cluster on this machine: a head without cores, and machines that can be taken away."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_grpc_enable_http_proxy": "0",
}
_MEMORY = 100 << 20
_NODE = {"num_cpus": 1, "object_store_memory": _MEMORY}
_QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


class Machines:
    """The machines of a cluster; *address* is what `--on` takes."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._nodes = []
        self.address = f"ray://{cluster.address}"

    def add(self, count=1, *, gpus=0, **environment):
        """Add machines of one core and so many GPUs, as Ray believes; workers have the variables of *environment*."""
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            added = [self._cluster.add_node(num_gpus=gpus, **_NODE) for _ in range(count)]
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        self._nodes += added
        return added

    def take_away(self, node=None):
        """Take a machine away, as if its power had failed: the last one, if none is named."""
        node = node or self._nodes[-1]
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)
        import ray

        while any(each["Alive"] and each["NodeID"] == node.node_id for each in ray.nodes()):
            time.sleep(0.1)  # until the cluster has noticed


@contextmanager
def ray_cluster() -> Iterator[Machines]:
    """Run a cluster with two machines of one core, which this process has joined."""
    before = dict(os.environ)
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    os.environ.update(_SETTINGS, PYTHONPATH=path)  # for the workers, which find the encoders of tests there
    import ray
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "_system_config": _QUICK,
        "object_store_memory": _MEMORY,
        "include_dashboard": False,
        "no_monitor": True,  # which would ask a cloud for machines
        "include_log_monitor": False,  # nobody asks for the logs of workers
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        machines = Machines(cluster)
        machines.add(2)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield machines
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)
