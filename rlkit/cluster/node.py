"""Functions for actors: the address of their node, and a check that the node shares the driver's folders."""

from __future__ import annotations

from pathlib import Path

import ray

from rlkit.errors import ClusterError


def node_address() -> str:
    """Address of the node that this process runs on."""
    return str(ray.util.get_node_ip_address())


def check_shared_folder(file: Path, content: bytes, who: str) -> None:
    """Checks that this node can read the driver's run folder; otherwise its files would be missing from the run.

    Raises:
        ClusterError: the file is missing here, or has other content.
    """
    if not file.exists() or file.read_bytes() != content:
        raise ClusterError(
            f"{who} on node {node_address()} cannot read the run folder {file.parent}: "
            "on several nodes, run.dir must be a folder that all of them share"
        )
