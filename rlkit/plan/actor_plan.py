"""The actors of a run, and what each of them gets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlkit.plan.memory import Memory
from rlkit.recipe.schema import Recipe


@dataclass(frozen=True)
class ActorPlan:
    """Actors of one kind, and what each of them gets."""

    name: str
    """`driver`, `rollout-0`, `scorer-0..3`, ..."""
    count: int
    """How many there are."""
    threads: int
    """CPU threads of each."""
    gpus: float
    """GPUs of each."""
    memory_gib: float | None
    """Main memory of each, estimated; what lives on a GPU is not in it."""


def actors_of(recipe: Recipe, memory: Memory) -> Iterator[ActorPlan]:
    """Everyone who lives while a recipe's largest stage runs.

    Args:
        recipe: One whose defaults are filled in.
        memory: Its estimates.
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
            # What a plugin loads is not known here: this is the least.
            yield ActorPlan(_names(f"scorer-{name}", own.num_workers), own.num_workers, 1, own.gpus, memory.scorer_gib)
    host = memory.learner_host_gib if learner.gpus else memory.learner_gib
    count = learner.num_workers
    yield ActorPlan(_names("learner", count), count, learner.num_threads, learner.gpus, host)


def total_memory_gib(actors: Sequence[ActorPlan]) -> float | None:
    """Main memory of all of them; None where that of some is not known."""
    known = [actor.memory_gib * actor.count for actor in actors if actor.memory_gib is not None]
    return sum(known) if len(known) == len(actors) else None


def _names(kind: str, count: int) -> str:
    return f"{kind}-0" if count == 1 else f"{kind}-0..{count - 1}"
