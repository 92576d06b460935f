"""Estimates the memory of a learner rank and an engine, accurate enough to reject recipes that cannot fit."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.plan.model_size import ModelShape, ModelSize
from rlkit.recipe.schema import OnlineKeys, Recipe

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
NF4_BYTES = 0.5 + 4 / 64
"""Bytes of a 4-bit weight, with a float32 scale per 64 weights."""
LOGITS_ROWS = 512
"""Tokens whose logits the learner holds at once (`rlkit.algorithm.logprobs.CHUNK_TOKENS`; a test compares the two)."""

WEIGHTS_IN_STORE = 3
"""Maximum number of copies of the weights in Ray's object store during a weight sync."""
ENGINE_SEQUENCES = 256
"""Maximum number of samples that a CPU engine generates at once."""
ENGINE_STEP_TOKENS = 2048
"""Minimum number of prompt tokens in one engine step."""
PROMPT_TOKENS = 512
"""Assumed length of a prompt if data.max_prompt_tokens is not given."""


def amount(gib: float | None) -> str:
    """Formats an amount of memory or disk: "1.5 GiB", "20 MiB"; "?" if unknown."""
    if gib is None:
        return "?"
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"


@dataclass(frozen=True)
class Memory:
    """Memory by purpose, in GiB; None if the model's size is unknown."""

    weights_gib: float | None
    """Learner rank: its shard of the weights, including a KL reference, a critic and adapters."""
    gradients_gib: float | None
    """Learner rank: float32 gradients of the trained weights."""
    optimizer_gib: float | None
    """Learner rank: AdamW's two moments."""
    gathered_gib: float | None
    """Learner rank: weights that are gathered while a layer runs; 0 for one rank without offload."""
    activations_gib: float | None
    """Learner rank: activations, attention mask and logits of one micro-batch."""
    copy_gib: float | None
    """Learner rank: copy of its state in main memory, from which a checkpoint is written during training."""
    learner_gib: float | None
    """Learner rank: sum on its device, including the runtime."""
    learner_host_gib: float | None
    """Learner rank on a GPU: its main memory."""
    engine_weights_gib: float | None
    """Engine: weights, and a packed copy of a tied output layer."""
    engine_scratch_gib: float | None
    """Engine: activations of one step's prompts, and the logits of all samples."""
    kv_cache_gib: float
    """Engine on a CPU: key-value cache."""
    engine_gib: float | None
    """Engine: sum, including the runtime."""
    learner_runtime_gib: float = 0.7
    """Python, torch and transformers, rounded up."""
    engine_runtime_gib: float = 1.2
    """Python, torch and vLLM, rounded up."""
    driver_gib: float = 0.7
    """The driver and Ray's own processes."""
    scorer_gib: float = 0.4
    """One scoring worker, with sympy and its child processes."""


def context_of(recipe: Recipe, shape: ModelShape) -> int:
    """Context length of the engines, in tokens."""
    own = recipe.rollout.engine.get("max_model_len")
    return own if isinstance(own, int) and not isinstance(own, bool) and own > 0 else shape.context


def longest_sequence(recipe: Recipe, shape: ModelShape) -> int:
    """Assumed length of prompt and reply together, in tokens."""
    prompt = recipe.data.max_prompt_tokens or PROMPT_TOKENS
    return min(context_of(recipe, shape), prompt + recipe.rollout.max_tokens)


def estimate_memory(recipe: Recipe, size: ModelSize) -> Memory:
    """Estimates the memory of one learner rank and one engine."""
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
    # Every rank loads the whole model into main memory before it keeps only its shard.
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
    """Bytes that one step of a CPU engine needs: activations, and four float32 tensors of [samples, vocabulary].

    Prompts are not chunked, so a step may contain as many tokens as the longest sequence.
    """
    tokens = max(ENGINE_STEP_TOKENS, context_of(recipe, shape))
    layer = 6 * shape.hidden_size + 3 * shape.intermediate_size
    return float(width * tokens * layer + 4 * 4 * ENGINE_SEQUENCES * shape.vocab_size)


def _weights(recipe: Recipe, size: ModelSize) -> tuple[float, float]:
    """(bytes of all weights of all ranks, number of trained weights)."""
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
        base += 2.0 * size.parameters  # bfloat16 copies of the weights
    return base + 4.0 * critic, learned + critic


def learned_weights(recipe: Recipe, size: ModelSize) -> float:
    """Number of trained weights of the policy: those of its adapters, or all."""
    assert size.parameters is not None
    if recipe.learner.lora is None or size.shape is None:
        return float(size.parameters)
    return adapter_weights(size.shape, recipe.learner.lora.rank)


def checkpoint_bytes(recipe: Recipe, stage: OnlineKeys, size: ModelSize) -> float | None:
    """Size of a stage's checkpoint, in bytes: trained weights, their moments, and a reference that is refreshed."""
    if size.parameters is None:
        return None
    learned = learned_weights(recipe, size)
    moved = learned if stage.reference_every is not None else 0.0
    critic = size.parameters if stage.has_critic else 0
    return (4.0 + _moments(recipe.learner.optimizer)) * (learned + critic) + 4.0 * moved


def _moments(optimizer: str) -> float:
    """Bytes per weight of AdamW's two moments; in 8 bits with a float32 scale per 256 weights."""
    return 8.0 if optimizer == "adamw" else 2.0 + 2 * 4 / 256


def _linear_weights(shape: ModelShape) -> float:
    """Number of weights in the linear layers of all decoder layers."""
    return float(shape.num_layers * sum(rows * columns for rows, columns in _linears(shape)))


def adapter_weights(shape: ModelShape, rank: int) -> float:
    """Number of weights of LoRA adapters on all linear layers except the output layer."""
    return float(shape.num_layers * rank * sum(rows + columns for rows, columns in _linears(shape)))


def _linears(shape: ModelShape) -> list[tuple[int, int]]:
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    hidden, inner = shape.hidden_size, shape.intermediate_size
    return [(q, hidden), (kv, hidden), (kv, hidden), (hidden, q), (inner, hidden), (inner, hidden), (hidden, inner)]


def _gathered(size: ModelSize, width: int) -> float:
    """Bytes of unsharded tensors while a sharded network runs.

    These are the embedding and the output layer, two decoder layers (FSDP prefetches the next one), and the gradients
    of one layer.
    """
    if size.shape is None:
        return 0.0
    shape = size.shape
    ends = shape.vocab_size * shape.hidden_size * (1 if shape.tied else 2)
    layer = _linear_weights(shape) / shape.num_layers
    return width * (2 * ends + 3 * layer)


def _activations(recipe: Recipe, shape: ModelShape, width: int) -> float:
    """Bytes of one micro-batch: activations kept for the backward pass, the attention mask, a chunk of logits."""
    # A sequence that is longer than tokens_per_microbatch is a micro-batch of its own.
    tokens = max(recipe.learner.microbatch_tokens, longest_sequence(recipe, shape))
    # Per token and layer: inputs and outputs of two norms; q, k and v (repeated over the heads) and the attention's
    # output; four tensors of the MLP.
    per_token = 12 * shape.hidden_size + 4 * shape.intermediate_size
    layers: float = shape.num_layers * per_token
    if recipe.learner.activation_checkpointing:
        layers = shape.num_layers * shape.hidden_size + per_token
    mask = 4.0 * tokens * tokens if recipe.learner.attention in ("sdpa", "eager") else 0.0
    # Two float32 buffers and one in the compute dtype, plus the output layer's gradient, accumulated over chunks.
    logits: float = (8 + width) * min(tokens, LOGITS_ROWS) * shape.vocab_size + 4 * shape.vocab_size * shape.hidden_size
    return tokens * layers * width + mask + logits
