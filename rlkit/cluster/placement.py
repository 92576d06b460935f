"""Reserves one Ray placement group for the engines and learner ranks of an RL stage before any of them starts.

An actor that is replaced goes back into its bundle; if the bundle's node died, Ray moves the bundle to another node.
Scoring actors are not part of it: they need little, and Ray chooses their nodes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlkit.cluster.calls import HEARTBEAT, HEARTBEAT_S
from rlkit.cluster.layout import bundles, describe_lack
from rlkit.errors import ClusterError
from rlkit.recipe.schema import Recipe


class Placement:
    """The reserved bundles of a stage, released at the end of a `with` block."""

    def __init__(self, recipe: Recipe, *, with_learner: bool = True) -> None:
        """Waits until the resources are reserved.

        Raises:
            ClusterError: not within cluster.start_timeout_s; the message names the missing resources.
        """
        keys = recipe.cluster
        self._cpus = keys.cpus_per_actor
        self._bundles = bundles(recipe, with_learner=with_learner)
        self._group = reserve([b.resources for b in self._bundles], keys.strategy, timeout_s=keys.start_timeout_s)

    def engine(self, number: int) -> dict[str, Any]:
        """Ray's options for a rollout worker."""
        return self._options(next(i for i, b in enumerate(self._bundles) if number in b.engines))

    def rank(self, number: int) -> dict[str, Any]:
        """Ray's options for a learner rank."""
        return self._options(next(i for i, b in enumerate(self._bundles) if number in b.ranks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        release(self._group)  # Ray kills actors that still run in it

    def _options(self, index: int) -> dict[str, Any]:
        return {"num_cpus": self._cpus, **bundle_options(self._group, index)}


def reserve(wanted: Sequence[Mapping[str, float]], strategy: str, *, timeout_s: float) -> Any:
    """Reserves a Ray placement group and waits until all its bundles are placed.

    Raises:
        ClusterError: not within `timeout_s`; the message compares what was asked for with what the cluster has.
    """
    asked = [dict(bundle) for bundle in wanted]
    group = placement_group(asked, strategy=strategy)
    began, logged_at = time.monotonic(), 0.0
    # Waits of one second each, so that Python can handle Ctrl-C in between.
    while not group.wait(1):
        waited = time.monotonic() - began
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        why = describe_lack(asked, strategy, nodes, ray.available_resources())
        if waited > timeout_s:
            release(group)
            raise ClusterError(
                f"the cluster had no room for the actors within cluster.start_timeout_s={timeout_s:g}: {why}; lower "
                "num_workers or gpus_per_worker (of rollout or learner) or cluster.cpus_per_actor, or choose another "
                "cluster.strategy"
            )
        if waited - logged_at >= HEARTBEAT_S:
            logged_at = waited
            HEARTBEAT.info("waiting for room in the cluster: %.0f s of at most %g: %s", waited, timeout_s, why)
    return group


def bundle_options(group: Any, index: int) -> dict[str, Any]:
    """Ray's options that place an actor in one bundle of a placement group."""
    strategy = PlacementGroupSchedulingStrategy(
        placement_group=group,
        placement_group_bundle_index=index,
        placement_group_capture_child_tasks=False,
    )
    return {"scheduling_strategy": strategy}


def release(group: Any) -> None:
    """Releases the resources of a placement group."""
    remove_placement_group(group)
