"""What a recipe will do on a machine: arithmetic, memory, placement, disk, and why it cannot run here. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlkit.cluster.layout import Bundle, bundles
from rlkit.plan.actor_plan import ActorPlan, actors_of, total_memory_gib
from rlkit.plan.defaults import WorkedOut, settle, worked_out
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
    """What will happen, before anything starts."""

    run_dir: str
    """The run's folder."""
    parameters: int | None
    """Weights of the model."""
    parameters_unknown: str
    """Why they are not known, or nothing."""
    tasks: int | None
    """Training tasks, the held-out ones taken out."""
    rows: RowCounts | None
    """What the data holds; null where it was not read."""
    stages: tuple[StagePlan, ...]
    """In order."""
    memory: Memory
    """Of one learner and one engine, estimated."""
    total_memory_gib: float | None
    """Main memory of all actors that live at once."""
    actors: tuple[ActorPlan, ...]
    """Who runs where."""
    bundles: tuple[Bundle, ...]
    """What Ray is asked to reserve for an RL stage."""
    strategy: str
    """How it lays them out over nodes: cluster.strategy."""
    files: tuple[FilePlan, ...]
    """What is written."""
    machine: Machine
    """What the plan was checked against."""
    refusals: tuple[str, ...]
    """Why it cannot run here and what would have to change; nothing where it can."""
    notes: tuple[str, ...]
    """What will run, and slowly."""
    worked_out: tuple[WorkedOut, ...]
    """What the recipe leaves out and follows from its model and the machine."""
    recipe: Recipe
    """The recipe with all of that filled in."""

    def to_json(self) -> str:
        """The plan as one JSON object."""
        return json.dumps({**asdict(self), "recipe": resolve(self.recipe)}, indent=2)


def make_plan(recipe: Recipe, *, machine: Machine, rows: RowCounts | None = None, run_dir: Path | None = None) -> Plan:
    """The plan of a recipe.

    Args:
        recipe: A valid recipe.
        machine: What there is.
        rows: What the data holds, where it was read.
        run_dir: The run's folder, by default the recipe's own.
    """
    given, recipe = recipe, settle(recipe, machine)
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
    yield FilePlan(str(folder / "metrics.jsonl"), 0.0, "one line a step")
    for stage in stages:
        yield from stage.files(folder, size)
    gib = 4 * size.parameters / 2**30 * len(stages) if size.parameters is not None else None
    yield FilePlan(
        str(folder / "model"), gib, "the result, in Hugging Face format (each stage's, while the run goes on)"
    )
    if recipe.run.mirror is not None:
        yield FilePlan(f"{recipe.run.mirror}/{recipe.run.name}", None, "a copy of it all")
