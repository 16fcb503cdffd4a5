"""A sweep on a Ray cluster of two nodes on this machine, one of which is killed half way; run by test_sweeps_ray.py.

python two_node_sweep.py DIR writes the results there, and into DIR/killed how many cells there were when the node was
killed: Ray writes to the output too, whenever it likes.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bandits.cli import main

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def finished(folder: Path) -> int:
    return len(list(folder.glob("cells/*.parquet")))


def kill_half_way(cluster: Any, node: object, folder: Path) -> int:
    deadline = time.monotonic() + 100
    while finished(folder) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    return finished(folder)


def run(directory: str) -> int:
    from ray.cluster_utils import Cluster  # pytest imports this module too, in search of doctests

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        second = cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        with ThreadPoolExecutor(1) as beside:
            killed = beside.submit(kill_half_way, cluster, second, Path(directory, "sleepy"))
            sweep = ["sweep", "sweep_objects:SLEEPY", "--out", directory, "--backend", "ray"]
            status = main([*sweep, "--address", str(cluster.address)])
            Path(directory, "killed").write_text(str(killed.result()))
        return status
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
