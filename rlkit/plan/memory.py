"""Estimates of what a learner and an engine hold in memory. Estimates: they catch what cannot fit, not the last GiB."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.plan.model_size import ModelShape, ModelSize
from rlkit.recipe.schema import OnlineKeys, Recipe

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
NF4_BYTES = 0.5 + 4 / 64
"""Of a 4-bit weight, with a float32 scale for every 64."""
LOGITS_ROWS = 512
"""Tokens whose logits the learner holds at once (`rlkit.algorithm.logprobs.CHUNK_TOKENS`; a test compares the two)."""

WEIGHTS_IN_STORE = 3
"""How many copies of the weights Ray's object store holds in a sync, at most."""
ENGINE_SEQUENCES = 256
"""Samples that an engine on a CPU draws at once, at most."""
ENGINE_STEP_TOKENS = 2048
"""Tokens of prompts that an engine takes into one step, at least."""
PROMPT_TOKENS = 512
"""Tokens of a prompt that estimates reckon with, where data.max_prompt_tokens gives no bound."""


def amount(gib: float | None) -> str:
    """An amount of memory or disk in the unit that fits it: "1.5 GiB", "20 MiB"; "?" where it is not known."""
    if gib is None:
        return "?"
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"


@dataclass(frozen=True)
class Memory:
    """GiB by purpose; null where the model's size is not known."""

    weights_gib: float | None
    """Learner rank: its part of the weights; a KL reference, a critic and adapters among them where there are some."""
    gradients_gib: float | None
    """Learner rank: float32 gradients of what learns."""
    optimizer_gib: float | None
    """Learner rank: AdamW's two moments."""
    gathered_gib: float | None
    """Learner rank: weights that are whole only while they are used; 0 for one rank without offload."""
    activations_gib: float | None
    """Learner: one micro-batch's activations, attention mask and logits."""
    copy_gib: float | None
    """Learner rank: the copy of its state that a checkpoint is written from while it learns on, in main memory."""
    learner_gib: float | None
    """A learner rank where it runs, its runtime included."""
    learner_host_gib: float | None
    """Main memory of a learner rank that runs on a GPU."""
    engine_weights_gib: float | None
    """Engine: weights, and a packed copy of a tied output layer."""
    engine_scratch_gib: float | None
    """Engine: activations of a step's prompts, and the logits of all samples."""
    kv_cache_gib: float
    """Engine on a CPU: key-value cache."""
    engine_gib: float | None
    """One engine, its runtime included."""
    learner_runtime_gib: float = 0.7
    """Python, torch and transformers, rounded up."""
    engine_runtime_gib: float = 1.2
    """Python, torch and vLLM, rounded up."""
    driver_gib: float = 0.7
    """The driver, and Ray's own processes."""
    scorer_gib: float = 0.4
    """One scorer, with sympy and its child processes."""


def context_of(recipe: Recipe, shape: ModelShape) -> int:
    """Longest sequence that the engines take, in tokens."""
    own = recipe.rollout.engine.get("max_model_len")
    return own if isinstance(own, int) and not isinstance(own, bool) and own > 0 else shape.context


def longest_sequence(recipe: Recipe, shape: ModelShape) -> int:
    """Tokens of prompt and reply that are reckoned with."""
    prompt = recipe.data.max_prompt_tokens or PROMPT_TOKENS
    return min(context_of(recipe, shape), prompt + recipe.rollout.max_tokens)


def estimate_memory(recipe: Recipe, size: ModelSize) -> Memory:
    """Memory of one learner rank and one engine of a recipe."""
    kv_cache = recipe.rollout.cache_gib
    if size.parameters is None:
        return Memory(None, None, None, None, None, None, None, None, None, None, kv_cache, None)
    keys = recipe.learner
    width = BYTES[keys.dtype]
    weights, learned = _weights(recipe, size)
    gradients, optimizer = 4.0 * learned, _moments(keys.optimizer) * learned
    share = 1 / keys.num_workers
    kept = (weights + gradients + optimizer) * share
    gathered = _gathered(size, width) if keys.sharded else 0.0
    activations = _activations(recipe, size.shape, width) if size.shape else 0.0
    # Every rank reads the whole model into main memory before it keeps its part.
    loading = 4.0 * size.parameters if keys.sharded else 0.0
    saved = [checkpoint_bytes(recipe, stage, size) or 0.0 for stage in recipe.rl_stages.values()]
    copy = max(saved, default=0.0) * share
    host = max(loading, (kept if keys.cpu_offload else 0.0) + copy)
    running = (0.0 if keys.cpu_offload and keys.gpus else kept) + gathered + activations
    running += 0.0 if keys.gpus else copy
    engine = width * size.parameters
    if size.shape and size.shape.tied:
        engine += width * size.shape.vocab_size * size.shape.hidden_size
    scratch = _engine_scratch(recipe, size.shape, width) if size.shape else 0.0
    return Memory(
        weights_gib=weights * share / GIB,
        gradients_gib=gradients * share / GIB,
        optimizer_gib=optimizer * share / GIB,
        gathered_gib=gathered / GIB,
        activations_gib=activations / GIB,
        copy_gib=copy / GIB,
        learner_gib=(running if keys.gpus else max(running, loading)) / GIB + Memory.learner_runtime_gib,
        learner_host_gib=host / GIB + Memory.learner_runtime_gib,
        engine_weights_gib=engine / GIB,
        engine_scratch_gib=scratch / GIB,
        kv_cache_gib=kv_cache,
        engine_gib=(engine + scratch) / GIB + kv_cache + Memory.engine_runtime_gib,
    )


def _engine_scratch(recipe: Recipe, shape: ModelShape, width: int) -> float:
    """Bytes that a step of a CPU engine works on: prompts that are not cut, so as many tokens as a whole sequence may
    have, and four float32 tensors of [samples, vocabulary]."""
    tokens = max(ENGINE_STEP_TOKENS, context_of(recipe, shape))
    layer = 6 * shape.hidden_size + 3 * shape.intermediate_size
    return float(width * tokens * layer + 4 * 4 * ENGINE_SEQUENCES * shape.vocab_size)


def _weights(recipe: Recipe, size: ModelSize) -> tuple[float, float]:
    """(bytes of all weights of all ranks, how many weights learn)."""
    assert size.parameters is not None
    keys = recipe.learner
    reference = any(stage.needs_reference for stage in recipe.rl_stages.values())
    critic = size.parameters if any(stage.has_critic for stage in recipe.rl_stages.values()) else 0
    learned = learned_weights(recipe, size)
    base = 4.0 * size.parameters
    if keys.lora is not None:
        if keys.lora.quantize is not None and size.shape is not None:
            base -= (4 - NF4_BYTES) * _linear_weights(size.shape)
        base += 4 * learned * (2 if reference else 1)
    elif reference:
        base += 4.0 * size.parameters
    if keys.dtype == "bfloat16":
        base += 2.0 * size.parameters  # bfloat16 copies, autocast's or the passes' own
    return base + 4.0 * critic, learned + critic


def learned_weights(recipe: Recipe, size: ModelSize) -> float:
    """How many weights of the policy learn: its adapters, or all."""
    assert size.parameters is not None
    if recipe.learner.lora is None or size.shape is None:
        return float(size.parameters)
    return adapter_weights(size.shape, recipe.learner.lora.rank)


def checkpoint_bytes(recipe: Recipe, stage: OnlineKeys, size: ModelSize) -> float | None:
    """Size of a checkpoint of a stage: what learns and its moments, and a reference that does not stay."""
    if size.parameters is None:
        return None
    learned = learned_weights(recipe, size)
    moved = learned if stage.reference_every is not None else 0.0
    critic = size.parameters if stage.has_critic else 0
    return (4.0 + _moments(recipe.learner.optimizer)) * (learned + critic) + 4.0 * moved


def _moments(optimizer: str) -> float:
    """Bytes of AdamW's two moments a weight; in 8 bits with a float32 scale for every 256."""
    return 8.0 if optimizer == "adamw" else 2.0 + 2 * 4 / 256


def _linear_weights(shape: ModelShape) -> float:
    """Weights of the linear layers of all decoder layers."""
    return float(shape.num_layers * sum(rows * columns for rows, columns in _linears(shape)))


def adapter_weights(shape: ModelShape, rank: int) -> float:
    """Weights of LoRA adapters on every linear layer but the output layer."""
    return float(shape.num_layers * rank * sum(rows + columns for rows, columns in _linears(shape)))


def _linears(shape: ModelShape) -> list[tuple[int, int]]:
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return [(q, hidden), (kv, hidden), (kv, hidden), (hidden, q), (inner, hidden), (inner, hidden), (hidden, inner)]


def _gathered(size: ModelSize, width: int) -> float:
    """Bytes of what is whole at once while sharded networks run: embedding and output layer, two decoder layers (the
    next is fetched while one runs), and the gradients of one."""
    if size.shape is None:
        return 0.0
    shape = size.shape
    ends = shape.vocab_size * shape.hidden_size * (1 if shape.tied else 2)
    layer = _linear_weights(shape) / shape.num_layers
    return width * (2 * ends + 3 * layer)


def _activations(recipe: Recipe, shape: ModelShape, width: int) -> float:
    """Bytes of one micro-batch: what each layer keeps for its backward pass, the mask, a chunk of logits."""
    # A sequence longer than a micro-batch has a row of its own.
    tokens = max(recipe.learner.microbatch_tokens, longest_sequence(recipe, shape))
    # Per token and layer: inputs and outputs of two norms, q, k, v (repeated over the heads) and the attention's
    # output, and four tensors of the MLP.
    per_token = 12 * shape.hidden_size + 4 * shape.intermediate_size
    layers: float = shape.num_layers * per_token
    if recipe.learner.activation_checkpointing:
        layers = shape.num_layers * shape.hidden_size + per_token
    mask = 4.0 * tokens * tokens if recipe.learner.attention in ("sdpa", "eager") else 0.0
    # Two float32 buffers and one of the products; the output layer's gradient, summed over chunks.
    logits: float = (8 + width) * min(tokens, LOGITS_ROWS) * shape.vocab_size + 4 * shape.vocab_size * shape.hidden_size
    return tokens * layers * width + mask + logits
