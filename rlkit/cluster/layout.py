"""Computes the resource bundles of an RL stage and the actors in each. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from rlkit.recipe.schema import Recipe

LEAST_CPUS = 0.001
"""Smallest number of CPUs of a bundle; Ray does not place empty bundles."""


@dataclass(frozen=True)
class Bundle:
    """Resources that Ray reserves together on one node."""

    engines: tuple[int, ...]
    """Numbers of the rollout workers in it."""
    ranks: tuple[int, ...]
    """Numbers of the learner ranks in it."""
    cpus: float
    """CPUs reserved."""
    gpus: float
    """GPUs reserved."""

    @property
    def resources(self) -> dict[str, float]:
        """The resources under Ray's names."""
        return {"CPU": max(self.cpus, LEAST_CPUS)} | ({"GPU": self.gpus} if self.gpus else {})

    @property
    def actors(self) -> str:
        """Names of the actors in it, for messages."""
        return " + ".join([*(f"rollout-{n}" for n in self.engines), *(f"learner-{n}" for n in self.ranks)])


def bundles(recipe: Recipe, *, with_learner: bool = True) -> tuple[Bundle, ...]:
    """One bundle for each engine and each rank; with placement "together", one for each pair of them.

    Args:
        recipe: A recipe whose gpus_per_worker keys have values.
        with_learner: False: only the engines, for an evaluation.
    """
    rollout, learner, cluster = recipe.rollout, recipe.learner, recipe.cluster
    ranks = learner.num_workers if with_learner else 0
    if cluster.placement == "together":
        pairs = [((i,) * (i < rollout.num_engines), (i,) * (i < ranks)) for i in range(max(rollout.num_engines, ranks))]
    else:
        pairs = [*(((i,), ()) for i in range(rollout.num_engines)), *(((), (i,)) for i in range(ranks))]
    return tuple(
        Bundle(
            engines,
            members,
            cpus=cluster.cpus_per_actor * (len(engines) + len(members)),
            gpus=rollout.gpus * len(engines) + learner.gpus * len(members),
        )
        for engines, members in pairs
    )


def describe_lack(
    wanted: list[dict[str, float]], strategy: str, nodes: list[dict[str, float]], free: dict[str, float]
) -> str:
    """Describes why a cluster has no room for the bundles, for the end of an error message.

    Args:
        wanted: The resources of each bundle.
        strategy: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        nodes: All resources of each living node.
        free: Free resources of all nodes together.
    """
    asked, existing = _sum(wanted), _sum(nodes)
    have = ", ".join(f"{name} {existing[name]:g} of which {free.get(name, 0):g} free" for name in sorted(asked))
    sentences = [f"asked for {_listed(asked)} in {len(wanted)} bundles ({strategy}); {len(nodes)} nodes have {have}"]
    largest = [b for b in wanted if not any(_fits(b, node) for node in nodes)]
    if largest:
        sentences.append(f"no node has as much as one bundle needs ({_listed(largest[0])})")
    if strategy == "STRICT_SPREAD" and len(wanted) > len(nodes):
        sentences.append(f"STRICT_SPREAD needs a node for each of the {len(wanted)} bundles")
    if strategy == "STRICT_PACK" and not any(_fits(asked, node) for node in nodes):
        sentences.append("STRICT_PACK needs one node that has all of it")
    return "; ".join(sentences)


def _sum(parts: list[dict[str, float]]) -> dict[str, float]:
    """The sum of each resource; 0 for resources that none has."""
    total: dict[str, float] = defaultdict(float)
    for part in parts:
        for name, amount in part.items():
            total[name] += amount
    return total


def _fits(bundle: dict[str, float], node: dict[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())


def _listed(resources: dict[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items()))
