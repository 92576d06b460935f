"""In an actor: which node it runs on, and whether that node sees the driver's folders."""

from __future__ import annotations

from pathlib import Path

import ray

from rlkit.errors import ClusterError


def node_address() -> str:
    """The address of the node that this process runs on."""
    return str(ray.util.get_node_ip_address())


def check_sees(file: Path, content: bytes, who: str) -> None:
    """Whether this node has the driver's folders. What is saved elsewhere would be missing from the run.

    Raises:
        ClusterError: the file is not there, or another one.
    """
    if not file.exists() or file.read_bytes() != content:
        raise ClusterError(
            f"{who} on node {node_address()} does not see the run folder {file.parent}: "
            "on several nodes run.dir has to be a folder that all of them share"
        )
