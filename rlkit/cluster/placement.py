"""Where an RL stage's engines and learner ranks run: one Ray placement group, reserved before any of them starts.

An actor that is replaced goes back into its bundle; where the bundle's node died, Ray moves the bundle to another one.
Scorers are not part of it: they need little and go where Ray puts them.
"""

from __future__ import annotations

from typing import Any, Self

from rlkit.cluster.layout import bundles
from rlkit.cluster.ray_cluster import bundle_options, release, reserve
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
