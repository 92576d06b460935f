"""Where an RL stage's engines and learner ranks run: one Ray placement group, reserved before any of them starts.

An actor that is replaced goes back into its bundle; where the bundle's node died, Ray moves the bundle to another one.
Scorers are not part of it: they need little and go where Ray puts them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rlkit.cluster.calls import HEARTBEAT, HEARTBEAT_S
from rlkit.cluster.layout import bundles, lack
from rlkit.errors import ClusterError
from rlkit.recipe.schema import Recipe


class Placement:
    """The bundles of a stage, held to the end of a `with` block."""

    def __init__(self, recipe: Recipe, *, with_learner: bool = True) -> None:
        """Waits for the resources.

        Raises:
            ClusterError: they are not there within cluster.start_timeout_s; the message says what is lacking.
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
        release(self._group)  # Ray ends what still runs in it

    def _options(self, index: int) -> dict[str, Any]:
        return {"num_cpus": self._cpus, **bundle_options(self._group, index)}


def reserve(wanted: Sequence[Mapping[str, float]], strategy: str, *, timeout_s: float) -> Any:
    """A Ray placement group with these bundles, once all of them are there.

    Raises:
        ClusterError: they are not within `timeout_s`; it says what was asked for and what there is.
    """
    asked = [dict(bundle) for bundle in wanted]
    group = placement_group(asked, strategy=strategy)
    began, told = time.monotonic(), 0.0
    # In waits of a second, between which Python handles Ctrl-C.
    while not group.wait(1):
        waited = time.monotonic() - began
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        why = lack(asked, strategy, nodes, ray.available_resources())
        if waited > timeout_s:
            release(group)
            raise ClusterError(
                f"the cluster had no room for the actors within cluster.start_timeout_s={timeout_s:g}: {why}; lower "
                "num_workers or gpus_per_worker (of rollout or learner) or cluster.cpus_per_actor, or choose another "
                "cluster.strategy"
            )
        if waited - told >= HEARTBEAT_S:
            told = waited
            HEARTBEAT.info("waiting for room in the cluster: %.0f s of at most %g: %s", waited, timeout_s, why)
    return group


def bundle_options(group: Any, index: int) -> dict[str, Any]:
    """Options of an actor that is to run in one bundle of a placement group."""
    strategy = PlacementGroupSchedulingStrategy(
        placement_group=group,
        placement_group_bundle_index=index,
        placement_group_capture_child_tasks=False,
    )
    return {"scheduling_strategy": strategy}


def release(group: Any) -> None:
    """Gives a placement group's resources back."""
    remove_placement_group(group)
