"""`rollout` and `learner`: the actors that sample and the one that learns."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import Section

Dtype = Literal["float32", "bfloat16"]
GROUP_TIMEOUT_S, UPDATE_TIMEOUT_S = 600.0, 1800.0
"""Least waits for a group and for an update, where the recipe gives none."""
MICROBATCH_TOKENS = 4096
PARITY_LIMIT = {"float32": 1e-4, "bfloat16": 0.25}


class RolloutKeys(Section):
    """vLLM engines and how they sample."""

    num_workers: int | None = Field(None, ge=1, le=4096)
    """Rollout actors, one engine each. Left out: 1, or on CPUs with cores and memory for it 2 of a small model, whose
    engine is mostly one thread's work; deterministic runs have 1 on any machine."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of each engine, where it runs on a CPU. Left out: an equal share of the cores, at most 8 (the learner
    is idle while engines sample); 1 in deterministic runs and on a cluster."""
    gpus_per_worker: float | None = Field(None, ge=0, le=64)
    """GPUs of each engine: a whole number, or a share below 1 of one that others use too; 0: the CPU. Left out: what
    there is, shared between engines and learner."""
    temperature: float = Field(1.0, ge=0.01, le=10)
    """Sampling temperature in training, of which log-probs are too; vLLM knows none between 0 and 0.01."""
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
    kv_cache_gb: float | None = Field(None, gt=0)
    """Memory of each CPU engine's key-value cache, in GiB; on GPUs use engine.gpu_memory_utilization. Left out: what
    the samples an engine draws at once need by the model's shape and max_tokens, at most 4 or a quarter of the free
    memory."""
    timeout_s: float | None = Field(None, gt=0)
    """Longest wait for the next finished group, in seconds. Left out: 600, on CPUs more where the model's size and
    max_tokens ask for it."""
    parity_limit: float | None = Field(None, gt=0)
    """Largest difference of a canary token's log-prob between engine and learner after a sync, in nats; by default
    1e-4 in float32 and 0.25 in bfloat16."""

    @property
    def gpus(self) -> float:
        """GPUs of each engine; 0: it runs on the CPU."""
        return self.gpus_per_worker or 0.0

    @property
    def num_engines(self) -> int:
        """Rollout actors."""
        return self.num_workers or 1

    @property
    def num_threads(self) -> int:
        """CPU threads of each engine; 1 where nobody filled them in for a machine."""
        return self.threads or 1

    @property
    def cache_gib(self) -> float:
        """Key-value cache of an engine on a CPU; 1 where nobody filled it in for a model."""
        return self.kv_cache_gb or 1.0

    @property
    def deadline_s(self) -> float:
        """Longest wait for a group."""
        return self.timeout_s or GROUP_TIMEOUT_S

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(
                f"gpus_per_worker={self.gpus:g} is neither a whole number nor a share below 1: "
                "give 1, 2, ... whole GPUs, or a share such as 0.5"
            )
        return self

    @property
    def truncated(self) -> str:
        """The keys that cut the sampling distribution, as text; empty where none does."""
        keys = (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0))
        return ", ".join(f"{key}={getattr(self, key)}" for key, off in keys if getattr(self, key) != off)


class LoraKeys(Section):
    """Low-rank adapters that learn over frozen weights (arXiv:2106.09685); the engines and the saved model get them
    merged. A critic learns as a whole. There is no dropout: log-probs would differ from the sampler's."""

    rank: int = Field(16, ge=1, le=4096)
    """Rank of each adapter."""
    alpha: int = Field(32, ge=1)
    """An adapter's product is scaled by alpha / rank."""
    target_modules: str | list[str] = "all-linear"
    """Names of the linear layers that get an adapter, as PEFT matches them: a list of last names, or a regular
    expression; all-linear: every one but the output layer (experts that a model keeps in one tensor have none)."""
    quantize: Literal["nf4"] | None = None
    """nf4: the frozen weights are kept in 4 bits (QLoRA, arXiv:2305.14314) by bitsandbytes; engines and the saved model
    get them unpacked."""


class LearnerKeys(Section):
    """The actor that updates the weights."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Learner ranks: each holds a part of the weights, gradients and optimizer state (FSDP2), and learns from its part
    of a step. On GPUs each has one of its own."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of each learner rank. Left out: an equal share of the cores here, at most 8 (engines are idle while
    it learns); in deterministic runs 1."""
    gpus_per_worker: float | None = Field(None, ge=0, le=1)
    """As rollout.gpus_per_worker, at most 1."""
    precision: Literal["float32", "bfloat16", "bfloat16_autocast"] | None = None
    """What the passes of an update compute in; weights, sums of gradients and the optimizer are float32 in each. Left
    out: bfloat16 on GPUs and on CPUs that have instructions for it, float32 elsewhere and in deterministic runs.
    `bfloat16` works on bfloat16 copies of the weights, as the engine does; `bfloat16_autocast` only takes matrix
    products in bfloat16: activations stay float32, which is slower and needs more memory. The engine's dtype follows
    it."""
    attention: Literal["auto", "packed", "sdpa", "flash_attention_2", "eager"] = "auto"
    """How sequences packed in one row attend: `packed` sequence by sequence (on a GPU in bfloat16 by flash-attn's
    variable-length kernel where it is installed, else torch's own), its cost the sum of squared lengths; `sdpa` and
    `eager` with a mask of all tokens by all tokens; `flash_attention_2` as transformers uses that library. `auto` is
    packed, or eager where the model caps its attention scores or has sinks."""
    tokens_per_microbatch: int | None = Field(None, ge=1)
    """Tokens packed into one forward pass of an RL update; memory grows with it, the result does not change. Left out:
    4096, on GPUs 16384, halved down to 512 until the learner fits the memory; 4096 in deterministic runs."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """Compile the decoder layers (torch.compile), all but attention: the first rows take a minute or so, and it needs a
    C++ compiler on CPUs."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """Of RL stages: AdamW with its two moments in float32 (8 bytes a weight), or in 8 bits (2 bytes a weight) by
    bitsandbytes."""
    lora: LoraKeys | None = None
    """RL stages learn adapters instead of all weights; null: all weights. (sft learns all weights.)"""
    router_aux_coef: float | None = Field(None, ge=0)
    """Weight of the load-balancing loss of a mixture of experts (arXiv:2101.03961), a sum over its layers; by default
    the model config's own, or 0.001. 0 saves a pass without gradient in each update."""
    cpu_offload: bool = False
    """Keep weights, gradients and optimizer state in main memory and bring them to the GPU layer by layer: far less
    GPU memory, slower."""
    timeout_s: float | None = Field(None, gt=0)
    """Longest wait for one update, in seconds. Left out: 1800, on CPUs more where the model and the step ask for it."""

    @property
    def num_threads(self) -> int:
        """CPU threads of each rank; 1 where nobody filled them in for a machine."""
        return self.threads or 1

    @property
    def microbatch_tokens(self) -> int:
        """Tokens of a forward pass."""
        return self.tokens_per_microbatch or MICROBATCH_TOKENS

    @property
    def deadline_s(self) -> float:
        """Longest wait for an update."""
        return self.timeout_s or UPDATE_TIMEOUT_S

    @property
    def computes_in(self) -> str:
        """The precision; float32 where it is left out and nobody filled it in for a machine."""
        return self.precision or "float32"

    @property
    def dtype(self) -> Dtype:
        """Of matrix products in training, and of the engines' weights."""
        return "float32" if self.computes_in == "float32" else "bfloat16"

    @model_validator(mode="after")
    def _spreads(self) -> Self:
        packed = self.lora is not None and self.lora.quantize is not None
        if self.sharded and (packed or self.optimizer == "adamw_8bit"):
            key = "lora.quantize" if packed else "optimizer=adamw_8bit"
            raise ValueError(
                f"{key} packs numbers in a way that cannot be spread over ranks or memories: leave it out, or set "
                "num_workers to 1 and cpu_offload to false"
            )
        return self

    @property
    def libraries(self) -> dict[str, str]:
        """Packages beyond rlkit's own that these keys need, and the key that does."""
        if self.lora is not None and self.lora.quantize is not None:
            return {"bitsandbytes": f"lora.quantize={self.lora.quantize}"}
        return {"bitsandbytes": "optimizer=adamw_8bit"} if self.optimizer == "adamw_8bit" else {}

    @property
    def sharded(self) -> bool:
        """Whether the networks are spread over ranks, or between GPU and main memory."""
        return self.num_workers > 1 or self.cpu_offload

    @property
    def gpus(self) -> float:
        """GPUs of the learner; 0: it runs on the CPU."""
        return self.gpus_per_worker or 0.0
