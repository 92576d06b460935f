"""The actors of a run and their resources. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlkit.plan.memory import Memory
from rlkit.recipe.schema import Recipe


@dataclass(frozen=True)
class ActorPlan:
    """Actors of one kind and their resources."""

    name: str
    """`driver`, `rollout-0`, `scorer-0..3`, ..."""
    count: int
    """Number of actors."""
    threads: int
    """CPU threads of each."""
    gpus: float
    """GPUs of each."""
    memory_gib: float | None
    """Estimated main memory of each, without GPU memory, in GiB; None if unknown."""


def actors_of(recipe: Recipe, memory: Memory) -> Iterator[ActorPlan]:
    """All actors that run during the recipe's largest stage.

    Args:
        recipe: A recipe whose defaults are filled in.
        memory: Its memory estimates.
    """
    rollout, learner = recipe.rollout, recipe.learner
    yield ActorPlan("driver", 1, 1, 0, memory.driver_gib)
    if recipe.rl_stages:
        host = memory.engine_runtime_gib if rollout.gpus else memory.engine_gib
        count = rollout.num_engines
        yield ActorPlan(_names("rollout", count), count, rollout.num_threads, rollout.gpus, host)
        count = recipe.reward.runtime.num_workers
        if any(part.actors is None for part in recipe.reward.parts.values()):
            yield ActorPlan(_names("scorer", count), count, 1, 0, memory.scorer_gib)
        for name, own in recipe.reward.own_actors.items():
            # A lower bound: the plan does not know what the plugin loads.
            yield ActorPlan(_names(f"scorer-{name}", own.num_workers), own.num_workers, 1, own.gpus, memory.scorer_gib)
    host = memory.learner_host_gib if learner.gpus else memory.learner_gib
    count = learner.num_workers
    yield ActorPlan(_names("learner", count), count, learner.num_threads, learner.gpus, host)


def total_memory_gib(actors: Sequence[ActorPlan]) -> float | None:
    """Main memory of all actors together, in GiB; None if that of one is unknown."""
    known = [actor.memory_gib * actor.count for actor in actors if actor.memory_gib is not None]
    return sum(known) if len(known) == len(actors) else None


def _names(kind: str, count: int) -> str:
    return f"{kind}-0" if count == 1 else f"{kind}-0..{count - 1}"
