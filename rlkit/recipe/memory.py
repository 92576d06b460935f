"""Estimates of what a learner and an engine hold in memory. Estimates: they catch what cannot fit, not the last GiB."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.recipe.model_size import ModelShape, ModelSize
from rlkit.recipe.schema import Recipe, RlStage

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2}
LOGITS_ROWS = 512
"""Tokens whose logits the learner holds at once (`rlkit.algorithm.logprobs.CHUNK_TOKENS`; a test compares the two)."""


@dataclass(frozen=True)
class Memory:
    """GiB by purpose; null where the model's size is not known."""

    weights_gib: float | None
    """Learner: float32 weights, a KL reference and a stage's start among them where kept."""
    gradients_gib: float | None
    """Learner: float32 gradients."""
    optimizer_gib: float | None
    """Learner: AdamW's two moments, float32."""
    activations_gib: float | None
    """Learner: one micro-batch's activations, attention mask and logits."""
    learner_gib: float | None
    """The learner, its runtime included."""
    engine_weights_gib: float | None
    """Engine: weights, and a packed copy of a tied output layer."""
    kv_cache_gib: float
    """Engine on a CPU: key-value cache."""
    engine_gib: float | None
    """One engine, its runtime included."""
    learner_runtime_gib: float = 0.7
    """Python, torch and transformers, rounded up."""
    engine_runtime_gib: float = 1.0
    """Python, torch and vLLM, rounded up."""
    driver_gib: float = 0.7
    """The driver, and Ray's own processes."""
    scorer_gib: float = 0.4
    """One scorer, with sympy and its child processes."""


def estimate_memory(recipe: Recipe, size: ModelSize) -> Memory:
    """Memory of one learner and one engine of a recipe."""
    kv_cache = recipe.rollout.kv_cache_gb
    if size.parameters is None:
        return Memory(None, None, None, None, None, None, kv_cache, None)
    width = BYTES[recipe.learner.dtype]
    reference = any(isinstance(s, RlStage) and s.needs_reference for s in recipe.stages)
    weights = 4 * size.parameters * (2 if reference else 1)
    if recipe.learner.dtype == "bfloat16":
        weights += 2 * size.parameters  # bfloat16 copies, autocast's or the passes' own
    gradients, optimizer = 4 * size.parameters, 8 * size.parameters
    activations = _activations(recipe, size.shape, width) if size.shape else 0.0
    engine = width * size.parameters
    if size.shape and size.shape.tied:
        engine += width * size.shape.vocab_size * size.shape.hidden_size
    learner = (weights + gradients + optimizer + activations) / GIB + Memory.learner_runtime_gib
    return Memory(
        weights_gib=weights / GIB,
        gradients_gib=gradients / GIB,
        optimizer_gib=optimizer / GIB,
        activations_gib=activations / GIB,
        learner_gib=learner,
        engine_weights_gib=engine / GIB,
        kv_cache_gib=kv_cache,
        engine_gib=engine / GIB + kv_cache + Memory.engine_runtime_gib,
    )


def _activations(recipe: Recipe, shape: ModelShape, width: int) -> float:
    """Bytes of one micro-batch: what each layer keeps for its backward pass, the mask, a chunk of logits."""
    tokens = recipe.learner.tokens_per_microbatch
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
