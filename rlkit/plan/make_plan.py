"""Plans a recipe on a machine: steps, memory, placement, disk, and reasons why it cannot run. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlkit.cluster.layout import Bundle, bundles
from rlkit.plan.actor_plan import ActorPlan, actors_of, total_memory_gib
from rlkit.plan.defaults import WorkedOut, fill_in_defaults, worked_out
from rlkit.plan.machine import Machine
from rlkit.plan.memory import Memory, estimate_memory
from rlkit.plan.model_size import ModelSize, size_of
from rlkit.plan.refusals import notes, refusals
from rlkit.plan.stage_plan import FilePlan, PlannedStage, RowCounts, StagePlan
from rlkit.recipe.load import resolve
from rlkit.recipe.schema import Recipe
from rlkit.stages.registry import stages_of


@dataclass(frozen=True)
class Plan:
    """The plan of a run, made before anything starts."""

    run_dir: str
    """The run's folder."""
    parameters: int | None
    """Number of weights of the model; None if unknown."""
    parameters_unknown: str
    """Why the number is unknown; empty if it is known."""
    tasks: int | None
    """Number of training tasks without the held-out ones; None if the data was not read."""
    rows: RowCounts | None
    """Row counts of the data; None if it was not read."""
    stages: tuple[StagePlan, ...]
    """The stages, in order."""
    memory: Memory
    """Estimated memory of one learner rank and one engine."""
    total_memory_gib: float | None
    """Main memory of all actors that run at the same time, in GiB."""
    actors: tuple[ActorPlan, ...]
    """Resources of the actors."""
    bundles: tuple[Bundle, ...]
    """Ray placement-group bundles of an RL stage."""
    strategy: str
    """Ray's placement strategy: cluster.strategy."""
    files: tuple[FilePlan, ...]
    """Files that the run writes."""
    machine: Machine
    """The machine that the plan was checked against."""
    refusals: tuple[str, ...]
    """Reasons why the recipe cannot run here, each with a remedy; empty if it can."""
    notes: tuple[str, ...]
    """Warnings about settings that work but may surprise."""
    worked_out: tuple[WorkedOut, ...]
    """Keys that the recipe does not give, with the values derived from model and machine."""
    recipe: Recipe
    """The recipe with those values filled in."""

    def to_json(self) -> str:
        """The plan as one JSON object."""
        return json.dumps({**asdict(self), "recipe": resolve(self.recipe)}, indent=2)


def make_plan(recipe: Recipe, *, machine: Machine, rows: RowCounts | None = None, run_dir: Path | None = None) -> Plan:
    """Makes the plan of a recipe.

    Args:
        recipe: A valid recipe.
        machine: The machine's resources.
        rows: Row counts of the data, if it was read.
        run_dir: The run's folder, by default the recipe's own.
    """
    given, recipe = recipe, fill_in_defaults(recipe, machine)
    stages: Sequence[PlannedStage] = stages_of(recipe)
    size = size_of(recipe.model)
    memory = estimate_memory(recipe, size)
    actors = tuple(actors_of(recipe, memory))
    folder = run_dir or Path(recipe.run.dir) / recipe.run.name
    files = tuple(_files(recipe, size, folder, stages))
    tasks = rows.tasks if rows is not None else None
    total = total_memory_gib(actors)
    return Plan(
        run_dir=str(folder),
        parameters=size.parameters,
        parameters_unknown=size.reason,
        tasks=tasks,
        rows=rows,
        stages=tuple(stage.plan(rows) for stage in stages),
        memory=memory,
        total_memory_gib=total,
        actors=actors,
        bundles=bundles(recipe) if recipe.rl_stages else (),
        strategy=recipe.cluster.strategy,
        files=files,
        machine=machine,
        refusals=tuple(
            refusals(
                recipe,
                size,
                memory,
                machine,
                total_memory_gib=total,
                disk_gib=sum(f.gib or 0.0 for f in files),
            )
        ),
        notes=tuple(notes(recipe, size, machine, tasks=tasks)),
        worked_out=tuple(worked_out(given, recipe)),
        recipe=recipe,
    )


def _files(recipe: Recipe, size: ModelSize, folder: Path, stages: Sequence[PlannedStage]) -> Iterator[FilePlan]:
    yield FilePlan(str(folder / "recipe.yaml"), 0.0, "every key with its value")
    yield FilePlan(str(folder / "metrics.jsonl"), 0.0, "one line per step")
    for stage in stages:
        yield from stage.files(folder, size)
    gib = 4 * size.parameters / 2**30 * len(stages) if size.parameters is not None else None
    yield FilePlan(
        str(folder / "model"), gib, "the result, in Hugging Face format (and each stage's model, during the run)"
    )
    if recipe.run.mirror is not None:
        yield FilePlan(f"{recipe.run.mirror}/{recipe.run.name}", None, "a copy of the run's folder")
