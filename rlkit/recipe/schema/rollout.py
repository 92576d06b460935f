"""`rollout` and `learner`: the actors that sample and the one that learns."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import Section

Precision = Literal["float32", "bfloat16"]
PARITY_LIMIT = {"float32": 1e-4, "bfloat16": 0.25}


class Rollout(Section):
    """vLLM engines and how they sample."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Rollout actors, one engine each."""
    threads: int = Field(1, ge=1, le=1024)
    """CPU threads of each engine, where it runs on a CPU."""
    gpus_per_worker: float | None = Field(None, ge=0, le=64)
    """GPUs of each engine: a whole number, or a share below 1 of one that others use too; 0: the CPU. Left out: what
    there is, shared between engines and learner."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Sampling temperature in training; log-probs are of the distribution at this temperature."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling; below 1 it needs stages.N.correction."""
    top_k: int = Field(0, ge=0)
    """Keep the k likeliest tokens, 0: all; above 0 it needs stages.N.correction."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Drop tokens below this share of the likeliest; above 0 it needs stages.N.correction."""
    max_tokens: int = Field(256, ge=1)
    """Most tokens of a reply."""
    stop: list[str] = Field(default_factory=list)
    """Strings that end a reply."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Any vLLM engine argument (max_model_len, gpu_memory_utilization, ...), checked against the installed vLLM."""
    kv_cache_gb: float = Field(1.0, gt=0)
    """Memory of each CPU engine's key-value cache, in GiB; on GPUs use engine.gpu_memory_utilization."""
    timeout_s: float = Field(600, gt=0)
    """Longest wait for the next finished group, in seconds."""
    parity_limit: float | None = Field(None, gt=0)
    """Largest difference of a canary token's log-prob between engine and learner after a sync, in nats; by default
    1e-4 in float32 and 0.25 in bfloat16."""

    @property
    def gpus(self) -> float:
        """GPUs of each engine; 0: it runs on the CPU."""
        return self.gpus_per_worker or 0.0

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus_per_worker={self.gpus:g} is neither a whole number nor a share below 1")
        return self

    @property
    def truncated(self) -> str:
        """The keys that cut the sampling distribution, as text; empty where none does."""
        keys = (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0))
        return ", ".join(f"{key}={getattr(self, key)}" for key, off in keys if getattr(self, key) != off)


class Learner(Section):
    """The actor that updates the weights."""

    num_workers: int = Field(1, ge=1, le=1)
    """Learner ranks."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of the learner; by default the cores here, at most 8; in deterministic runs 1."""
    gpus_per_worker: float | None = Field(None, ge=0, le=1)
    """As rollout.gpus_per_worker, at most 1."""
    precision: Precision = "float32"
    """float32, or bfloat16 autocast over float32 weights; the engine's dtype follows it."""
    tokens_per_microbatch: int = Field(4096, ge=1)
    """Tokens packed into one forward pass of an RL update; memory grows with it, the result does not change."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    timeout_s: float = Field(1800, gt=0)
    """Longest wait for one update, in seconds."""

    @property
    def gpus(self) -> float:
        """GPUs of the learner; 0: it runs on the CPU."""
        return self.gpus_per_worker or 0.0
