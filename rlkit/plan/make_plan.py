"""What a recipe will do on a machine: arithmetic, memory, placement, disk, and why it cannot run here. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rlkit.cluster.layout import Bundle, bundles
from rlkit.plan.actor_plan import ActorPlan, actors_of, total_memory_gib
from rlkit.plan.defaults import WorkedOut, settle, worked_out
from rlkit.plan.machine import Machine
from rlkit.plan.memory import Memory, checkpoint_bytes, estimate_memory
from rlkit.plan.model_size import ModelSize, size_of
from rlkit.plan.refusals import notes, refusals
from rlkit.recipe.load import resolve
from rlkit.recipe.schema import OnlineKeys, Recipe, SftKeys, StageKeys


@dataclass(frozen=True)
class StagePlan:
    """One stage in numbers; null: cannot be told before the data is read."""

    name: str
    """Its folder in the run."""
    kind: str
    """sft, grpo, ..."""
    steps: int | None
    """RL: rounds of sample, score, update, sync; SFT: optimizer steps."""
    updates: int | None
    """Optimizer updates in all."""
    prompts_per_step: int
    """RL: prompts a step; SFT: demonstrations a step."""
    samples_per_step: int
    """prompts_per_step x samples_per_prompt; SFT: 0."""
    prompts: int | None
    """Prompts, or demonstrations, in all."""
    samples: int
    """Samples in all."""
    max_tokens_per_step: int
    """RL: tokens drawn in a step, at most."""
    max_tokens: int
    """RL: tokens drawn in all, at most."""
    steps_per_epoch: float | None
    """Steps that one pass over the training tasks takes."""


@dataclass(frozen=True)
class FilePlan:
    """Something the run writes."""

    path: str
    """Where."""
    gib: float | None
    """Size at most, where it can be told."""
    what: str
    """What it is for."""


@dataclass(frozen=True)
class RowCounts:
    """What was read of the data."""

    tasks: int | None
    """Training tasks, the held-out ones taken out; None where no stage needs any."""
    heldout: int
    """Held-out tasks."""
    demonstrations: Mapping[int, int]
    """By number of the SFT stage."""


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
    size = size_of(recipe.model)
    memory = estimate_memory(recipe, size)
    actors = tuple(actors_of(recipe, memory))
    folder = run_dir or Path(recipe.run.dir) / recipe.run.name
    files = tuple(_files(recipe, size, folder))
    tasks = rows.tasks if rows is not None else None
    total = total_memory_gib(actors)
    return Plan(
        run_dir=str(folder),
        parameters=size.parameters,
        parameters_unknown=size.reason,
        tasks=tasks,
        rows=rows,
        stages=tuple(_stage(i, stage, recipe, rows) for i, stage in enumerate(recipe.stages)),
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


def _stage(index: int, stage: StageKeys, recipe: Recipe, rows: RowCounts | None) -> StagePlan:
    name = recipe.stage_name(index)
    if isinstance(stage, SftKeys):
        return _sft(name, stage, rows.demonstrations.get(index) if rows is not None else None)
    return _rl(name, stage, recipe, rows.tasks if rows is not None else None)


def _sft(name: str, stage: SftKeys, demonstrations: int | None) -> StagePlan:
    steps = stage.steps
    per_epoch = math.ceil(demonstrations / stage.batch_size) if demonstrations is not None else None
    if steps is None and demonstrations is not None:
        steps = math.ceil(math.ceil(demonstrations * (stage.epochs or 1.0)) / stage.batch_size)
    return StagePlan(
        name=name,
        kind=stage.kind,
        steps=steps,
        updates=steps,
        prompts_per_step=stage.batch_size,
        samples_per_step=0,
        prompts=steps * stage.batch_size if steps is not None else None,
        samples=0,
        max_tokens_per_step=0,
        max_tokens=0,
        steps_per_epoch=per_epoch,
    )


def _rl(name: str, stage: OnlineKeys, recipe: Recipe, tasks: int | None) -> StagePlan:
    samples = stage.prompts_per_step * stage.samples_per_prompt
    tokens = samples * recipe.rollout.max_tokens
    return StagePlan(
        name=name,
        kind=stage.kind,
        steps=stage.steps,
        updates=stage.num_updates,
        prompts_per_step=stage.prompts_per_step,
        samples_per_step=samples,
        prompts=stage.steps * stage.prompts_per_step,
        samples=stage.steps * samples,
        max_tokens_per_step=tokens,
        max_tokens=stage.steps * tokens,
        steps_per_epoch=tasks / stage.prompts_per_step if tasks is not None and tasks > 0 else None,
    )


def _files(recipe: Recipe, size: ModelSize, folder: Path) -> Iterator[FilePlan]:
    weights = 4 * size.parameters / 2**30 if size.parameters is not None else None
    yield FilePlan(str(folder / "recipe.yaml"), 0.0, "every key with its value")
    yield FilePlan(str(folder / "metrics.jsonl"), 0.0, "one line a step")
    for i, stage in recipe.rl_stages.items():
        stage_dir = folder / recipe.stage_name(i)
        if recipe.tracking.rollouts_every:
            files = math.ceil(stage.steps / recipe.tracking.rollouts_every)
            yield FilePlan(str(stage_dir / "rollouts"), None, f"{files} Parquet files of samples and scores")
        kept = recipe.checkpoint.keep_last
        checkpoint = checkpoint_bytes(recipe, stage, size)
        # An older one goes once the newer one is whole.
        gib = checkpoint * (kept + 1) / 2**30 if checkpoint is not None else None
        yield FilePlan(str(stage_dir / "checkpoints"), gib, f"the last {kept}, to continue from")
    for i, any_stage in enumerate(recipe.stages):
        if isinstance(any_stage, SftKeys):
            # The weights and AdamW's two moments.
            gib = 3 * weights * (recipe.checkpoint.keep_last + 1) if weights is not None else None
            last = i == len(recipe.stages) - 1
            why = f"the last {recipe.checkpoint.keep_last}, to continue from" if last else "until the stage is done"
            yield FilePlan(str(folder / recipe.stage_name(i) / "checkpoints"), gib, why)
    models = len(recipe.stages)
    gib = weights * models if weights is not None else None
    yield FilePlan(
        str(folder / "model"), gib, "the result, in Hugging Face format (each stage's, while the run goes on)"
    )
    if recipe.run.mirror is not None:
        yield FilePlan(f"{recipe.run.mirror}/{recipe.run.name}", None, "a copy of it all")
