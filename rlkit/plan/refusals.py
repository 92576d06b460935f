"""Reasons why a valid recipe cannot run on a machine, each with a remedy, and warnings. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from rlkit.cluster.layout import bundles
from rlkit.plan.defaults import MIN_CACHE_GIB, MIN_MICROBATCH_TOKENS, learner_gpu_gib, store_needed_mb
from rlkit.plan.machine import Machine
from rlkit.plan.memory import BYTES, GIB, WEIGHTS_IN_STORE, Memory, amount, context_of
from rlkit.plan.model_size import ModelSize
from rlkit.recipe.schema import OnlineKeys, Recipe


def refusals(
    recipe: Recipe,
    size: ModelSize,
    memory: Memory,
    machine: Machine,
    *,
    total_memory_gib: float | None,
    disk_gib: float,
) -> Iterator[str]:
    """One sentence for each reason why the recipe cannot run.

    Args:
        recipe: A valid recipe.
        size: Size of its model.
        memory: Its memory estimates.
        machine: The machine's resources; the nodes of a Ray cluster (`cluster.address`) are not checked.
        total_memory_gib: Main memory of all actors, in GiB; None if unknown.
        disk_gib: Disk space that the run needs, as far as known, in GiB.
    """
    yield from _sequences(recipe, size)
    yield from _timed_rewards(recipe)
    if disk_gib > machine.disk_gib:
        yield (
            f"the run writes up to {amount(disk_gib)}, but only {amount(machine.disk_gib)} of disk are free: "
            "choose another --run-dir or lower checkpoint.keep_last"
        )
    if recipe.learner.cpu_offload and not recipe.learner.gpus:
        yield (
            "learner.cpu_offload moves weights between main memory and a GPU, but this learner runs on the CPU: set it "
            "to false, or give the learner a GPU with learner.gpus_per_worker"
        )
    yield from _shared_gpus(recipe)
    if recipe.cluster.address is None:
        yield from _bundles(recipe, machine)
        for package, key in recipe.learner.libraries.items():
            if package not in machine.libraries:
                yield f"learner.{key} needs the package {package}, which is not installed: pip install {package}"
        if recipe.learner.compile and not recipe.learner.gpus and not machine.compiler:
            yield (
                "learner.compile needs a C++ compiler on a CPU (g++ or clang++), and none is installed: install one, "
                "or leave it out"
            )
        yield from _gpus(recipe, memory, machine)
        yield from _main_memory(recipe, memory, machine, total_memory_gib)
        yield from _object_store(recipe, size, machine)


def notes(recipe: Recipe, size: ModelSize, machine: Machine, *, tasks: int | None) -> Iterator[str]:
    """Warnings about settings that work but are slow or have no effect.

    Args:
        recipe: A valid recipe.
        size: Size of its model.
        machine: The machine's resources.
        tasks: Number of training tasks without the held-out ones; None if unknown.
    """
    sampling = recipe.rollout.num_threads * recipe.rollout.num_engines
    if recipe.cluster.address is not None:
        yield f"Ray places the actors on the cluster {recipe.cluster.address}; its nodes' resources were not checked"
    elif not recipe.rollout.gpus and sampling > machine.cpus:
        yield f"the engines' {sampling} threads share {machine.cpus} cores: lower rollout.threads or num_workers"
    threads = recipe.learner.num_threads * recipe.learner.num_workers
    if recipe.cluster.address is None and not recipe.learner.gpus and threads > machine.cpus:
        yield f"the learner's {threads} threads share {machine.cpus} cores: lower learner.threads"
    if recipe.cluster.address is None and recipe.learner.dtype == "bfloat16" and not machine.bfloat16:
        # Measured with a million parameters on an EPYC with AVX2 only: an update took 17.2 s, in float32 1.3 s.
        slow = [name for name, keys in (("learner", recipe.learner), ("engines", recipe.rollout)) if not keys.gpus]
        if slow:
            yield (
                f"learner.precision={recipe.learner.precision}: this CPU has no bfloat16 instructions (AVX-512 BF16 or "
                f"AMX), so the {' and the '.join(slow)} may take ten times as long as in float32"
            )
    if not recipe.rollout.gpus and "gpu_memory_utilization" in recipe.rollout.engine:
        yield (
            "rollout.engine.gpu_memory_utilization has no effect for an engine on a CPU: set the size of its cache "
            "with rollout.kv_cache_gb"
        )
    for i, stage in recipe.rl_stages.items():
        yield from _stage_notes(recipe, i, stage, tasks)
    if recipe.checkpoint.keep_best and recipe.rl_stages and not recipe.evaluation.every:
        yield (
            f"checkpoint.keep_best={recipe.checkpoint.keep_best} has no effect without evaluation.every, because no "
            "checkpoint is evaluated"
        )
    if size.parameters is None:
        yield f"memory and disk were not checked: {size.reason}"


def _stage_notes(recipe: Recipe, i: int, stage: OnlineKeys, tasks: int | None) -> Iterator[str]:
    if stage.sampling_rounds > 1:
        yield (
            f"stages.{i} uses dynamic sampling: it may sample up to {stage.sampling_rounds} times as many prompts and "
            "replies as counted here"
        )
    if tasks is not None and stage.prompts_per_step > tasks:
        yield (
            f"stages.{i}.prompts_per_step={stage.prompts_per_step} is more than the {tasks} training tasks: every "
            f"step repeats each task at least {stage.prompts_per_step // tasks} times, in separate groups; "
            f"lower it to {tasks} or less, or give more data"
        )
    if stage.needs_reference and (stage.kl, stage.kl_in) == ("k1", "loss") and not stage.kl_weighted:
        yield f"stages.{i}.kl=k1 in the loss has a gradient that does not depend on the reference: use k2 or k3"
    if not stage.needs_reference and (stage.kl, stage.kl_in) != ("k3", "loss"):
        yield f"stages.{i}.kl={stage.kl} and kl_in={stage.kl_in} have no effect: with kl_coef=0 there is no KL"
    if recipe.evaluation.every >= stage.steps:
        yield (
            f"evaluation.every={recipe.evaluation.every} has no effect inside stages.{i}, which has only "
            f"{stage.steps} steps"
        )
    if stage.warmup_steps > stage.policy_updates:
        yield (
            f"stages.{i}.warmup_steps={stage.warmup_steps} is more than the policy's {stage.policy_updates} updates: "
            "the learning rate never reaches its peak"
        )
    if stage.old_logprobs == "learner" and stage.updates_per_step * stage.passes_per_step == 1:
        yield (
            f"stages.{i}.old_logprobs=learner with one update per step compares the policy with itself: the ratio is "
            "always 1, and clip_low, clip_high, dual_clip and ratio_level have no effect"
        )


def _timed_rewards(recipe: Recipe) -> Iterator[str]:
    """Rewards that depend on time, in a deterministic run."""
    efficiency = recipe.reward.parts.get("efficiency")
    share = efficiency.arguments.get("cpu_time_share", 0) if efficiency is not None else 0
    if recipe.run.deterministic and share:
        yield (
            f"reward.efficiency.cpu_time_share={share} makes rewards depend on time: set it to 0, or run.deterministic "
            "to false"
        )
    for name, own in recipe.reward.own_actors.items():
        if recipe.run.deterministic and own.groups_per_call > 1:
            yield (
                f"reward.{name}.actors.groups_per_call={own.groups_per_call} makes the groups of one call depend on "
                "time: set it to 1, or run.deterministic to false"
            )


def _sequences(recipe: Recipe, size: ModelSize) -> Iterator[str]:
    """Checks that prompt and reply fit the context, and that one sequence fits the cache."""
    if not recipe.has_engines or size.shape is None:
        return
    rollout = recipe.rollout
    context, own = context_of(recipe, size.shape), "max_model_len" in rollout.engine
    name = "rollout.engine.max_model_len" if own else "the model's context"
    if own and context > size.shape.context:
        yield (
            f"rollout.engine.max_model_len={context} is more than the model's context of {size.shape.context} tokens: "
            "lower it, or leave it out"
        )
    prompt = recipe.data.max_prompt_tokens
    if rollout.max_tokens >= context:
        yield (
            f"rollout.max_tokens={rollout.max_tokens} leaves no room for a prompt in {name} of {context} tokens: "
            "lower it"
        )
    elif prompt is not None and prompt + rollout.max_tokens > context:
        yield (
            f"data.max_prompt_tokens={prompt} and rollout.max_tokens={rollout.max_tokens} need "
            f"{prompt + rollout.max_tokens} tokens, more than {name} of {context}: lower one of them"
        )
    sequence_gib = context * size.shape.kv_numbers_per_token * BYTES[recipe.learner.dtype] / GIB
    if not rollout.gpus and sequence_gib > rollout.cache_gib:
        yield (
            f"rollout.kv_cache_gb={rollout.cache_gib:g} cannot hold one sequence of {context} tokens "
            f"({amount(sequence_gib)}): raise it, or lower rollout.engine.max_model_len"
        )


def _gpus(recipe: Recipe, memory: Memory, machine: Machine) -> Iterator[str]:
    sampling = recipe.rollout.num_engines * recipe.rollout.gpus if recipe.rl_stages else 0
    learning = recipe.learner.num_workers * recipe.learner.gpus
    scoring = recipe.reward.gpus if recipe.rl_stages else 0
    have = len(machine.gpus_gib)
    ranks = (
        "learner.gpus_per_worker" if recipe.learner.num_workers == 1 else "learner.num_workers x its gpus_per_worker"
    )
    apart = recipe.cluster.placement == "apart"
    if apart and recipe.learner.num_workers > 1 and 0 < recipe.learner.gpus < 1:
        yield (
            f"learner.num_workers={recipe.learner.num_workers} with {recipe.learner.gpus:g} of a GPU each: every rank "
            f"needs a whole GPU and {have} are visible here: lower num_workers, or set learner.gpus_per_worker to 0 to "
            "train on the CPU"
        )
        return
    if sampling + learning + scoring > have:
        what = "no CUDA device is visible" if not have else f"{have} are visible"
        yield (
            f"the recipe asks for {sampling + learning + scoring:g} GPUs (rollout.num_workers x "
            f"rollout.gpus_per_worker = {sampling:g}, {ranks} = {learning:g}"
            + (f", the reward's own actors = {scoring:g}" if scoring else "")
            + f") and {what} here: set them to 0 to run on the CPU, or give cluster.address"
        )
        return
    room = learner_gpu_gib(recipe, machine)
    if learning and room and memory.learner_gib is not None and memory.learner_gib > room:
        shared = "" if room == max(machine.gpus_gib) else f", of which {amount(room)} remain beside an engine"
        yield (
            f"the learner needs about {amount(memory.learner_gib)}, but the largest GPU has "
            f"{amount(max(machine.gpus_gib))}{shared}: lower learner.tokens_per_microbatch, set "
            "learner.activation_checkpointing, or shard or offload the weights (learner.num_workers, "
            "learner.cpu_offload)"
        )


def _shared_gpus(recipe: Recipe) -> Iterator[str]:
    """Checks cluster.placement=together: engines and ranks must be able to share GPUs."""
    rollout, learner = recipe.rollout.gpus, recipe.learner.gpus
    if recipe.cluster.placement == "apart" or not recipe.rl_stages:
        return
    if not rollout or not learner:
        yield (
            "cluster.placement=together needs engines and learner on GPUs, because an engine on a CPU cannot sleep "
            "during updates: set it to apart, or give both a fraction of a GPU with gpus_per_worker"
        )
    elif rollout + learner > 1:
        yield (
            f"cluster.placement=together puts an engine and a rank on one GPU: rollout.gpus_per_worker={rollout:g} and "
            f"learner.gpus_per_worker={learner:g} must sum to at most 1"
        )


def _bundles(recipe: Recipe, machine: Machine) -> Iterator[str]:
    """Checks that this machine can hold the bundles that Ray reserves."""
    wanted = bundles(recipe) if recipe.rl_stages else ()
    if recipe.cluster.strategy == "STRICT_SPREAD" and len(wanted) > 1:
        yield (
            f"cluster.strategy=STRICT_SPREAD needs {len(wanted)} nodes, but a run without cluster.address has one: "
            "choose PACK or SPREAD"
        )
    cpus = sum(bundle.cpus for bundle in wanted)
    if cpus > machine.cpus:
        yield (
            f"cluster.cpus_per_actor={recipe.cluster.cpus_per_actor:g} reserves {cpus:g} CPUs in total, but there are "
            f"{machine.cpus} here: lower it"
        )


def _main_memory(recipe: Recipe, memory: Memory, machine: Machine, total_gib: float | None) -> Iterator[str]:
    if total_gib is None:
        return
    total_gib += recipe.cluster.store_mb / 1024
    if total_gib > machine.memory_gib:
        learner = memory.learner_host_gib if recipe.learner.gpus else memory.learner_gib
        parts = [f"{recipe.learner.num_workers} x {amount(learner)} for the learner"]
        if recipe.rl_stages and not recipe.rollout.gpus:
            parts.append(f"{recipe.rollout.num_engines} x {amount(memory.engine_gib)} for the engines")
        yield (
            f"the run needs about {amount(total_gib)} of memory ({', '.join(parts)}), but only "
            f"{amount(machine.memory_gib)} are free here: {', '.join(_savings(recipe))} or use a smaller model"
        )


def _savings(recipe: Recipe) -> Iterator[str]:
    """Settings that reduce memory and are not at their minimum yet."""
    if recipe.learner.microbatch_tokens > MIN_MICROBATCH_TOKENS:
        yield f"lower learner.tokens_per_microbatch={recipe.learner.microbatch_tokens}"
    if recipe.rl_stages and not recipe.rollout.gpus:
        if recipe.rollout.num_engines > 1:
            yield f"lower rollout.num_workers={recipe.rollout.num_engines}"
        if recipe.rollout.cache_gib > MIN_CACHE_GIB:
            yield f"lower rollout.kv_cache_gb={recipe.rollout.cache_gib:g}"
    if not recipe.learner.activation_checkpointing:
        yield "set learner.activation_checkpointing"
    if recipe.learner.lora is None:
        yield "train adapters (learner.lora)"


def _object_store(recipe: Recipe, size: ModelSize, machine: Machine) -> Iterator[str]:
    store_mb, needed_mb = recipe.cluster.store_mb, store_needed_mb(recipe, size)
    if needed_mb > store_mb:
        yield (
            f"cluster.object_store_mb={store_mb} is too small for a weight sync, which needs {WEIGHTS_IN_STORE} copies "
            f"of the weights ({needed_mb} MiB): raise it to {needed_mb} or more, or leave it out"
        )
    elif store_mb / 1024 > machine.shm_gib:
        why = f" ({WEIGHTS_IN_STORE} copies of the weights take {needed_mb} MiB)" if needed_mb else ""
        yield (
            f"cluster.object_store_mb={store_mb}{why} is more than the {machine.shm_gib * 1024:.0f} MiB free in "
            "/dev/shm, where Ray puts it: give the container more (docker run --shm-size)"
            + (", or lower it" if store_mb > max(80, needed_mb) else "")
        )
