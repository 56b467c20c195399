"""Two nodes of a Ray cluster on the loopback address; prints where, then does what it is told on stdin.

A process of its own: Ray forks, which neither lancedb's threads nor a test run that takes warnings for errors like.
"""

import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

LOCAL = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 << 20}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**LOCAL, "include_dashboard": False})
    other = cluster.add_node(**LOCAL)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(other, allow_graceful=False)
        else:
            other = cluster.add_node(**LOCAL)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
