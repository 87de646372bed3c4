"""A Ray cluster of this machine, for tests: a head that computes nothing, and two workers.

Prints the head's address; a line on stdin kills a worker, as a machine that loses its power would;
the end of stdin ends the cluster.
"""

import sys
from typing import Any

from ray.cluster_utils import Cluster

from server_process import free_port

_MEMORY = 150 * 2**20  # bytes of objects that each node may hold
# Chosen beforehand: where Ray chooses them it gives a node 15 seconds, too few on a busy machine.
_PORTS = (
    *("metrics_agent_port", "metrics_export_port"),
    *("dashboard_agent_listen_port", "runtime_env_agent_port"),
)


def node(cores: int) -> dict[str, Any]:
    return {
        "num_cpus": cores,
        "object_store_memory": _MEMORY,
        **{name: free_port() for name in _PORTS},
    }


def main() -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node(0), "include_dashboard": False},
    )
    workers = [cluster.add_node(**node(1)) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(workers.pop(), allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
