"""What a recipe will do on a machine: arithmetic, memory, placement, disk, and why it cannot run here. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rlkit.recipe.layout import Bundle, bundles
from rlkit.recipe.machine import Machine
from rlkit.recipe.memory import Memory, checkpoint_bytes, estimate_memory
from rlkit.recipe.model_size import ModelSize, size_of
from rlkit.recipe.refusals import notes, refusals
from rlkit.recipe.schema import Recipe, RlStage, SftStage, Stage

TWO_ENGINES_GIB = 12.0
"""Free memory with which rollout.num_workers, left out, may be 2: each engine's process takes 1.5 GiB and a model."""


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

    def to_json(self) -> str:
        """The plan as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def make_plan(recipe: Recipe, *, machine: Machine, num_tasks: int | None = None, run_dir: Path | None = None) -> Plan:
    """The plan of a recipe.

    Args:
        recipe: A valid recipe.
        machine: What there is.
        num_tasks: Rows of the data, where known.
        run_dir: The run's folder, by default the recipe's own.
    """
    recipe = settle(recipe, machine)
    size = size_of(recipe.model)
    memory = estimate_memory(recipe, size)
    actors = tuple(_actors(recipe, memory, machine))
    folder = run_dir or Path(recipe.run.dir) / recipe.run.name
    files = tuple(_files(recipe, size, folder))
    tasks = _training_tasks(recipe, num_tasks)
    known = [a.memory_gib * a.count for a in actors if a.memory_gib is not None]
    total = sum(known) if len(known) == len(actors) else None
    return Plan(
        run_dir=str(folder),
        parameters=size.parameters,
        parameters_unknown=size.reason,
        tasks=tasks,
        stages=tuple(_stage(i, stage, recipe, tasks) for i, stage in enumerate(recipe.stages)),
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
                tasks=tasks,
            )
        ),
        notes=tuple(notes(recipe, size, machine, threads=learner_threads(recipe, machine))),
    )


def settle(recipe: Recipe, machine: Machine) -> Recipe:
    """The recipe with what it leaves to the machine filled in: gpus_per_worker, rollout.num_workers, learner.precision.

    One whole GPU an actor where there are enough of them, else equal shares of what the reward's own actors leave; on
    a machine without GPUs (or with only one of the two keys given) the CPU. Together, an engine and a rank get half of
    one each.
    """
    rollout, learner = recipe.rollout, recipe.learner
    share = 0.0
    if rollout.gpus_per_worker is None and learner.gpus_per_worker is None and machine.gpus_gib:
        actors = rollout.num_engines + learner.num_workers
        left = max(0.0, len(machine.gpus_gib) - recipe.reward.gpus)
        most = 0.5 if recipe.cluster.placement == "together" else 1.0
        share = min(most, math.floor(100 * left / actors) / 100)
    gpus = {"gpus_per_worker": share}
    rollout = rollout if rollout.gpus_per_worker is not None else rollout.model_copy(update=gpus)
    learner = learner if learner.gpus_per_worker is not None else learner.model_copy(update=gpus)
    if rollout.num_workers is None and not (rollout.gpus or recipe.run.deterministic or recipe.cluster.address):
        enough = machine.cpus >= 2 * rollout.threads and machine.memory_gib >= TWO_ENGINES_GIB
        rollout = rollout.model_copy(update={"num_workers": 2 if enough else 1})
    precision = learner.precision or default_precision(
        deterministic=recipe.run.deterministic, on_gpu=learner.gpus > 0, machine=machine
    )
    learner = learner.model_copy(update={"precision": precision})
    return recipe.model_copy(update={"rollout": rollout, "learner": learner})


def default_precision(*, deterministic: bool, on_gpu: bool, machine: Machine) -> str:
    """learner.precision where the recipe leaves it out."""
    # In float32 an engine's numbers do not depend on which samples it draws together, in bfloat16 they may.
    return "bfloat16" if not deterministic and (on_gpu or machine.bfloat16) else "float32"


def learner_threads(recipe: Recipe, machine: Machine) -> int:
    """CPU threads of the learner; a deterministic run's do not depend on the machine."""
    return recipe.learner.threads or (1 if recipe.run.deterministic else min(8, machine.cpus))


def _training_tasks(recipe: Recipe, num_tasks: int | None) -> int | None:
    if num_tasks is None:
        return None
    return num_tasks - recipe.evaluation.num_held_out(num_tasks)


def _stage(index: int, stage: Stage, recipe: Recipe, tasks: int | None) -> StagePlan:
    name = recipe.stage_name(index)
    if isinstance(stage, SftStage):
        return _sft(name, stage, tasks if stage.data is None else None)
    return _rl(name, stage, recipe, tasks)


def _sft(name: str, stage: SftStage, tasks: int | None) -> StagePlan:
    steps = stage.steps
    per_epoch = math.ceil(tasks / stage.batch_size) if tasks is not None else None
    if steps is None and per_epoch is not None:
        steps = math.ceil(per_epoch * (stage.epochs or 1.0))
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


def _rl(name: str, stage: RlStage, recipe: Recipe, tasks: int | None) -> StagePlan:
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


def _actors(recipe: Recipe, memory: Memory, machine: Machine) -> Iterator[ActorPlan]:
    rollout, learner = recipe.rollout, recipe.learner
    yield ActorPlan("driver", 1, 1, 0, memory.driver_gib)
    if recipe.rl_stages:
        host = memory.engine_runtime_gib if rollout.gpus else memory.engine_gib
        count = rollout.num_engines
        yield ActorPlan(_names("rollout", count), count, rollout.threads, rollout.gpus, host)
        count = recipe.reward.runtime.num_workers
        if any(part.actors is None for part in recipe.reward.parts.values()):
            yield ActorPlan(_names("scorer", count), count, 1, 0, memory.scorer_gib)
        for name, own in recipe.reward.own_actors.items():
            # What a plugin loads is not known here: this is the least.
            yield ActorPlan(_names(f"scorer-{name}", own.num_workers), own.num_workers, 1, own.gpus, memory.scorer_gib)
    host = memory.learner_host_gib if learner.gpus else memory.learner_gib
    count, threads = learner.num_workers, learner_threads(recipe, machine)
    yield ActorPlan(_names("learner", count), count, threads, learner.gpus, host)


def _names(kind: str, count: int) -> str:
    return f"{kind}-0" if count == 1 else f"{kind}-0..{count - 1}"


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
        if isinstance(any_stage, SftStage):
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
