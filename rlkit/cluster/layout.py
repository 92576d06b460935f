"""Which actors of an RL stage share a bundle of resources, and what each bundle holds. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from rlkit.recipe.schema import Recipe

LEAST_CPUS = 0.001
"""Of a bundle: Ray places no empty ones."""


@dataclass(frozen=True)
class Bundle:
    """Resources that Ray gives as one, on one node."""

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
        """As Ray names them."""
        return {"CPU": max(self.cpus, LEAST_CPUS)} | ({"GPU": self.gpus} if self.gpus else {})

    @property
    def actors(self) -> str:
        """Who is in it."""
        return " + ".join([*(f"rollout-{n}" for n in self.engines), *(f"learner-{n}" for n in self.ranks)])


def bundles(recipe: Recipe, *, with_learner: bool = True) -> tuple[Bundle, ...]:
    """One bundle for each engine and each rank; where they are together, one for each pair of them.

    Args:
        recipe: One whose gpus_per_worker keys are filled in.
        with_learner: False: of the engines alone, as an evaluation needs them.
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


def lack(wanted: list[dict[str, float]], strategy: str, nodes: list[dict[str, float]], free: dict[str, float]) -> str:
    """What a cluster has beside what was asked of it, as the end of a sentence.

    Args:
        wanted: The resources of each bundle.
        strategy: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        nodes: What each living node has in all.
        free: What is free on all nodes together.
    """
    asked, there = _sum(wanted), _sum(nodes)
    told = ", ".join(f"{name} {there[name]:g} of which {free.get(name, 0):g} free" for name in sorted(asked))
    sentences = [f"asked for {_told(asked)} in {len(wanted)} bundles ({strategy}); {len(nodes)} nodes have {told}"]
    largest = [b for b in wanted if not any(_fits(b, node) for node in nodes)]
    if largest:
        sentences.append(f"no node has as much as one bundle needs ({_told(largest[0])})")
    if strategy == "STRICT_SPREAD" and len(wanted) > len(nodes):
        sentences.append(f"STRICT_SPREAD needs a node for each of the {len(wanted)} bundles")
    if strategy == "STRICT_PACK" and not any(_fits(asked, node) for node in nodes):
        sentences.append("STRICT_PACK needs one node that has it all")
    return "; ".join(sentences)


def _sum(parts: list[dict[str, float]]) -> dict[str, float]:
    """0 of what none of them has."""
    total: dict[str, float] = defaultdict(float)
    for part in parts:
        for name, amount in part.items():
            total[name] += amount
    return total


def _fits(bundle: dict[str, float], node: dict[str, float]) -> bool:
    return all(node.get(name, 0) >= amount for name, amount in bundle.items())


def _told(resources: dict[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items()))
