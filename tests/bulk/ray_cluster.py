"""A Ray cluster of this machine, for tests: a head that computes nothing, and two workers.

Prints the head's address; a line on stdin kills a worker, as a machine that loses its power would;
the end of stdin ends the cluster.
"""

import sys

from ray.cluster_utils import Cluster

_MEMORY = 150 * 2**20  # bytes of objects that each node may hold


def main() -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": _MEMORY, "include_dashboard": False},
    )
    workers = [cluster.add_node(num_cpus=1, object_store_memory=_MEMORY) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(workers.pop(), allow_graceful=False)
        print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
