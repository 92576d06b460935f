"""Derives values for keys that the recipe does not give, from its model and the machine. Pure functions.

The numbers of a deterministic run must not depend on the machine, so its threads, micro-batches and engines are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlkit.plan.actor_plan import actors_of, total_memory_gib
from rlkit.plan.machine import Machine
from rlkit.plan.memory import BYTES, ENGINE_SEQUENCES, GIB, WEIGHTS_IN_STORE, estimate_memory, longest_sequence
from rlkit.plan.model_size import ModelSize, size_of
from rlkit.recipe.schema import Recipe
from rlkit.recipe.schema.rollout_section import GROUP_TIMEOUT_S, MICROBATCH_TOKENS, UPDATE_TIMEOUT_S
from rlkit.recipe.schema.run_section import OBJECT_STORE_MB

TWO_ENGINES_GIB = 12.0
"""Minimum free memory for a default of 2 engines; each engine's process takes 1.5 GiB plus the model."""
SMALL_MODEL = 20_000_000
"""Number of weights below which two engines with one thread each are faster than one engine with two threads."""
MAX_THREADS = 8
"""Maximum default number of threads of an actor; more threads speed up sampling and updates only slightly."""
MAX_CACHE_GIB, MIN_CACHE_GIB = 4.0, 0.25
"""Bounds of a CPU engine's key-value cache. A small cache lowers the batch size, which costs little on a CPU."""
GPU_MICROBATCH_TOKENS, MIN_MICROBATCH_TOKENS = 16_384, 512
STORE_SLACK_MB = 128
"""Space in the object store for samples and scores, beside the weights."""
ENGINE_GPU_SHARE = 0.9
"""Fraction of its GPU share that an engine fills (`rlkit.rollout.engine`)."""
SLOW_SAMPLING, SLOW_LEARNING = 4e9, 1e10
"""Operations per second and thread that deadlines assume: about a tenth of an ordinary CPU's speed."""


@dataclass(frozen=True)
class WorkedOut:
    """A key that the recipe does not give, with its derived value."""

    key: str
    """Dotted path."""
    value: Any
    """The derived value."""
    why: str
    """What the value depends on."""


WHY = {
    "rollout.num_workers": "cores, free memory and the model's size",
    "rollout.threads": "cores / rollout.num_workers; the learner is idle while engines sample",
    "rollout.gpus_per_worker": "GPUs here / actors that use one (0: the CPU)",
    "rollout.kv_cache_gb": "the model's shape, rollout.max_tokens and free memory",
    "rollout.engine": "max_model_len: the part of the model's context that fits the cache",
    "rollout.timeout_s": "the model's size and rollout.max_tokens",
    "learner.threads": "cores / learner.num_workers; engines are idle while the learner updates",
    "learner.gpus_per_worker": "GPUs here / actors that use one (0: the CPU)",
    "learner.precision": "the learner's device",
    "learner.tokens_per_microbatch": "the learner's memory",
    "learner.timeout_s": "the model's size and the tokens of a step",
    "cluster.object_store_mb": f"{WEIGHTS_IN_STORE} copies of the weights for a sync, and /dev/shm",
}
FIXED = "fixed in deterministic runs, on any machine"


def fill_in_defaults(recipe: Recipe, machine: Machine) -> Recipe:
    """Fills in the keys whose defaults depend on the model and the machine; keys that the recipe gives stay."""
    size = size_of(recipe.model)
    recipe = _with_gpus(recipe, machine)
    recipe = _with_precision(recipe, machine)
    recipe = _with_threads(recipe, size, machine)
    recipe = _with_store(recipe, size, machine)
    recipe = _with_memory(recipe, size, machine)
    recipe = _with_deadlines(recipe, size)
    return _with_lengths(recipe, size)


def worked_out(given: Recipe, filled: Recipe) -> Iterator[WorkedOut]:
    """Yields every key that `fill_in_defaults` filled in."""
    fixed = ("rollout.num_workers", "rollout.threads", "learner.threads", "learner.tokens_per_microbatch")
    for key, why in WHY.items():
        section, _, name = key.partition(".")
        old, new = getattr(getattr(given, section), name), getattr(getattr(filled, section), name)
        if old == new:
            continue
        if key == "rollout.engine":
            key, new = "rollout.engine.max_model_len", new["max_model_len"]
        if given.run.deterministic and key in fixed:
            why = FIXED
        yield WorkedOut(key, new, why)
    for i, stage in enumerate(filled.stages):
        for name in type(stage).model_fields:
            if getattr(stage, name) != getattr(given.stages[i], name):
                yield WorkedOut(f"stages.{i}.{name}", getattr(stage, name), "the model's context")


def _with_gpus(recipe: Recipe, machine: Machine) -> Recipe:
    """Gives each actor one GPU if there are enough, else an equal share of those that the reward's actors do not use.

    Without GPUs, or if the recipe gives one of the two keys, the other actors run on the CPU. With
    cluster.placement=together, an engine and a rank get half a GPU each.
    """
    rollout, learner = recipe.rollout, recipe.learner
    share = 0.0
    if rollout.gpus_per_worker is None and learner.gpus_per_worker is None and machine.gpus_gib:
        actors = rollout.num_engines + learner.num_workers
        left = max(0.0, len(machine.gpus_gib) - recipe.reward.gpus)
        most = 0.5 if recipe.cluster.placement == "together" else 1.0
        share = min(most, math.floor(100 * left / actors) / 100)
    if rollout.gpus_per_worker is None:
        recipe = _changed(recipe, "rollout", gpus_per_worker=share)
    if learner.gpus_per_worker is None:
        recipe = _changed(recipe, "learner", gpus_per_worker=share)
    return recipe


def _with_precision(recipe: Recipe, machine: Machine) -> Recipe:
    if recipe.learner.precision is not None:
        return recipe
    # Deterministic runs need float32: in bfloat16 a sample's numbers may depend on the other samples in its batch.
    fast = recipe.learner.gpus > 0 or machine.bfloat16
    precision = "bfloat16" if fast and not recipe.run.deterministic else "float32"
    return _changed(recipe, "learner", precision=precision)


def _with_threads(recipe: Recipe, size: ModelSize, machine: Machine) -> Recipe:
    """Chooses engines and threads. Engines and ranks never compute at the same time, so each kind may use all cores."""
    rollout, learner, fixed = recipe.rollout, recipe.learner, recipe.run.deterministic
    elsewhere = recipe.cluster.address is not None
    if rollout.num_workers is None and not (rollout.gpus or fixed or elsewhere):
        small = size.parameters is not None and size.parameters < SMALL_MODEL
        room = machine.cpus >= 2 * rollout.num_threads and machine.memory_gib >= TWO_ENGINES_GIB
        recipe = _changed(recipe, "rollout", num_workers=2 if small and room else 1)
    if rollout.threads is None:
        share = machine.cpus // recipe.rollout.num_engines
        recipe = _changed(recipe, "rollout", threads=1 if fixed or elsewhere or rollout.gpus else _bounded(share))
    if learner.threads is None:
        share = machine.cpus // (1 if elsewhere else learner.num_workers)  # a cluster's ranks run on unknown nodes
        recipe = _changed(recipe, "learner", threads=1 if fixed else _bounded(share))
    return recipe


def _bounded(threads: int) -> int:
    return min(MAX_THREADS, max(1, threads))


def _with_store(recipe: Recipe, size: ModelSize, machine: Machine) -> Recipe:
    if recipe.cluster.object_store_mb is not None:
        return recipe
    needed = store_needed_mb(recipe, size)
    room = int(machine.shm_gib * 1024)
    # `refusals` reports a store that is too small or does not fit.
    wanted = max(OBJECT_STORE_MB, needed + STORE_SLACK_MB if needed else 0)
    return _changed(recipe, "cluster", object_store_mb=max(80, needed, min(wanted, room)))


def store_needed_mb(recipe: Recipe, size: ModelSize) -> int:
    """Minimum object store for a weight sync, in MiB; 0 if the model's size is unknown or no weights are synced."""
    if size.parameters is None or not recipe.rl_stages:
        return 0
    return -(-WEIGHTS_IN_STORE * BYTES[recipe.learner.dtype] * size.parameters // 2**20)


def _with_memory(recipe: Recipe, size: ModelSize, machine: Machine) -> Recipe:
    """Chooses the largest cache and micro-batch that fit the memory. Shrinks the micro-batch before the cache."""
    deterministic = recipe.run.deterministic
    max_gib = MAX_CACHE_GIB if deterministic else min(MAX_CACHE_GIB, machine.memory_gib / 4)
    candidates = [
        _with_microbatch(_with_cache(recipe, size, share * max_gib), tokens)
        for share in (1, 1 / 2, 1 / 4, 0)
        for tokens in _microbatches(recipe)
    ]
    if deterministic or recipe.cluster.address is not None:
        return candidates[0]
    return next((c for c in candidates if _fits(c, size, machine)), candidates[-1])


def _microbatches(recipe: Recipe) -> list[int]:
    largest = GPU_MICROBATCH_TOKENS if recipe.learner.gpus else MICROBATCH_TOKENS
    if recipe.learner.tokens_per_microbatch is not None or recipe.run.deterministic:
        return [recipe.learner.microbatch_tokens]
    return [largest >> i for i in range((largest // MIN_MICROBATCH_TOKENS).bit_length())]


def _with_microbatch(recipe: Recipe, tokens: int) -> Recipe:
    return _changed(recipe, "learner", tokens_per_microbatch=tokens)


def _with_cache(recipe: Recipe, size: ModelSize, max_gib: float) -> Recipe:
    """Chooses the cache of a CPU engine, and a max_model_len that fits it."""
    rollout, shape = recipe.rollout, size.shape
    if rollout.gpus or shape is None or not recipe.has_engines:
        return recipe
    token_gib = shape.kv_numbers_per_token * BYTES[recipe.learner.dtype] / GIB
    longest = longest_sequence(recipe, shape)
    if rollout.kv_cache_gb is None:
        at_once = rollout.engine.get("max_num_seqs")
        at_once = at_once if isinstance(at_once, int) and at_once > 0 else ENGINE_SEQUENCES
        cache_gib = max(MIN_CACHE_GIB, longest * token_gib, min(max_gib, at_once * longest * token_gib))
        recipe = _changed(recipe, "rollout", kv_cache_gb=math.ceil(16 * cache_gib) / 16)
    # vLLM needs a cache that holds one sequence of max_model_len, in blocks of 16 tokens.
    cached_tokens = int(recipe.rollout.cache_gib / token_gib) // 16 * 16
    if "max_model_len" not in rollout.engine and longest <= cached_tokens < shape.context:
        recipe = _changed(recipe, "rollout", engine={**rollout.engine, "max_model_len": cached_tokens})
    return recipe


def _fits(recipe: Recipe, size: ModelSize, machine: Machine) -> bool:
    memory = estimate_memory(recipe, size)
    room = learner_gpu_gib(recipe, machine)
    if room and memory.learner_gib is not None and memory.learner_gib > room:
        return False
    total = total_memory_gib(list(actors_of(recipe, memory)))
    return total is None or total + recipe.cluster.store_mb / 1024 <= machine.memory_gib


def learner_gpu_gib(recipe: Recipe, machine: Machine) -> float:
    """GPU memory that a learner rank may use, in GiB; 0 if it runs on the CPU or the memory is unknown."""
    rollout, learner = recipe.rollout, recipe.learner
    largest = max(machine.gpus_gib, default=0.0) if learner.gpus else 0.0
    shares = learner.gpus < 1 and 0 < rollout.gpus < 1 and recipe.cluster.placement == "apart"
    taken = rollout.engine.get("gpu_memory_utilization", ENGINE_GPU_SHARE * rollout.gpus)
    return largest * max(0.0, 1 - taken) if shares and isinstance(taken, int | float) else largest


def _with_deadlines(recipe: Recipe, size: ModelSize) -> Recipe:
    rollout, learner = recipe.rollout, recipe.learner
    sampled, learned = _slowest_s(recipe, size)
    if rollout.timeout_s is None:
        recipe = _changed(recipe, "rollout", timeout_s=max(GROUP_TIMEOUT_S, 0.0 if rollout.gpus else sampled))
    if learner.timeout_s is None:
        recipe = _changed(recipe, "learner", timeout_s=max(UPDATE_TIMEOUT_S, 0.0 if learner.gpus else learned))
    return recipe


def _slowest_s(recipe: Recipe, size: ModelSize) -> tuple[float, float]:
    """Seconds that one batch of samples and one update take on a slow CPU, rounded up to 100."""
    if size.parameters is None or size.shape is None or not recipe.rl_stages:
        return 0.0, 0.0
    rollout, learner = recipe.rollout, recipe.learner
    drawn = ENGINE_SEQUENCES * rollout.max_tokens
    samples = max(s.prompts_per_step * s.samples_per_prompt * s.passes_per_step for s in recipe.rl_stages.values())
    # A forward pass takes two operations per weight and token, a backward pass four, the reference's forward pass two.
    sampled = 2 * size.parameters * drawn / (SLOW_SAMPLING * rollout.num_threads)
    updated = 8 * size.parameters * samples * longest_sequence(recipe, size.shape)
    learned = updated / (SLOW_LEARNING * learner.num_threads * learner.num_workers)
    return 100.0 * math.ceil(sampled / 100), 100.0 * math.ceil(learned / 100)


def _with_lengths(recipe: Recipe, size: ModelSize) -> Recipe:
    if size.shape is None:
        return recipe
    stages = [stage.with_context(size.shape.context) for stage in recipe.stages]
    return recipe.model_copy(update={"stages": stages})


def _changed(recipe: Recipe, section: str, **values: Any) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update=values)})
