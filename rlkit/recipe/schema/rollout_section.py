"""`rollout` and `learner`: the actors that sample and the actors that update the weights."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.section import Section

Dtype = Literal["float32", "bfloat16"]
GROUP_TIMEOUT_S, UPDATE_TIMEOUT_S = 600.0, 1800.0
"""Minimum default deadlines for a group and for an update, in seconds."""
MICROBATCH_TOKENS = 4096
PARITY_LIMIT = {"float32": 1e-4, "bfloat16": 0.25}


class RolloutKeys(Section):
    """vLLM engines and their sampling parameters."""

    num_workers: int | None = Field(None, ge=1, le=4096)
    """Rollout workers, each with one engine. By default 1; 2 for a small model on CPUs with enough cores and memory,
    because such an engine uses little more than one thread; always 1 in deterministic runs."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of each engine that runs on a CPU. By default an equal share of the cores, at most 8 (the learner is
    idle while engines sample); 1 in deterministic runs and on a cluster."""
    gpus_per_worker: float | None = Field(None, ge=0, le=64)
    """GPUs of each engine: a whole number, or a fraction below 1 of a shared GPU; 0: the CPU. By default engines and
    learner share the available GPUs."""
    temperature: float = Field(1.0, ge=0.01, le=10)
    """Sampling temperature in training; all log-probabilities are computed at it too. vLLM treats values below 0.01 as
    0.01."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling; below 1 it needs stages.N.correction."""
    top_k: int = Field(0, ge=0)
    """Sample only from the k most probable tokens; 0: from all. Above 0 it needs stages.N.correction."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Drop tokens whose probability is below this fraction of the most probable one's; above 0 it needs
    stages.N.correction."""
    max_tokens: int = Field(256, ge=1)
    """Maximum length of a reply, in tokens."""
    stop: list[str] = Field(default_factory=list)
    """Strings that end a reply."""
    engine: dict[str, Any] = Field(default_factory=dict)
    """Any vLLM engine argument (max_model_len, gpu_memory_utilization, ...), checked against the installed vLLM."""
    kv_cache_gb: float | None = Field(None, gt=0)
    """Size of each CPU engine's key-value cache, in GiB; on GPUs use engine.gpu_memory_utilization. By default what the
    samples that an engine draws at once need, at most 4 or a quarter of the free memory."""
    timeout_s: float | None = Field(None, gt=0)
    """Deadline for the next finished group, in seconds. By default 600, more on CPUs for large models or a large
    max_tokens."""
    parity_limit: float | None = Field(None, gt=0)
    """Maximum difference of a canary token's log-probability between engine and learner after a weight sync, in nats;
    by default 1e-4 in float32 and 0.25 in bfloat16."""

    @property
    def gpus(self) -> float:
        """GPUs of each engine; 0: it runs on the CPU."""
        return self.gpus_per_worker or 0.0

    @property
    def num_engines(self) -> int:
        """Rollout workers; 1 before the plan has chosen a number."""
        return self.num_workers or 1

    @property
    def num_threads(self) -> int:
        """CPU threads of each engine; 1 before the plan has chosen a number."""
        return self.threads or 1

    @property
    def cache_gib(self) -> float:
        """Key-value cache of a CPU engine, in GiB; 1 before the plan has chosen a size."""
        return self.kv_cache_gb or 1.0

    @property
    def deadline_s(self) -> float:
        """Deadline for a group, in seconds."""
        return self.timeout_s or GROUP_TIMEOUT_S

    @model_validator(mode="after")
    def _check_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(
                f"gpus_per_worker={self.gpus:g} is neither a whole number nor a fraction below 1: "
                "give 1, 2, ... whole GPUs, or a fraction such as 0.5"
            )
        return self

    @property
    def truncated(self) -> str:
        """The keys that truncate the sampling distribution, with values, as text; empty if there are none."""
        keys = (("top_p", 1.0), ("top_k", 0), ("min_p", 0.0))
        return ", ".join(f"{key}={getattr(self, key)}" for key, off in keys if getattr(self, key) != off)


class LoraKeys(Section):
    """Low-rank adapters, trained while the model's weights stay frozen (arXiv:2106.09685).

    The engines and the saved model get the merged weights. A critic trains all its weights. There is no dropout,
    because the learner's log-probabilities would then differ from the sampler's.
    """

    rank: int = Field(16, ge=1, le=4096)
    """Rank of each adapter."""
    alpha: int = Field(32, ge=1)
    """The adapter's output is multiplied by alpha / rank."""
    target_modules: str | list[str] = "all-linear"
    """Linear layers that get an adapter, matched as PEFT does: a list of last name components, or a regular expression.
    all-linear: all but the output layer (experts stored in one tensor get none)."""
    quantize: Literal["nf4"] | None = None
    """nf4: store the frozen weights in 4 bits with bitsandbytes (QLoRA, arXiv:2305.14314); engines and the saved model
    get dequantised weights."""


class LearnerKeys(Section):
    """The actors that update the weights."""

    num_workers: int = Field(1, ge=1, le=4096)
    """Learner ranks. Each holds a shard of the weights, gradients and optimizer state (FSDP2) and trains on a part of
    each step. On GPUs each rank has its own."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of each learner rank. By default an equal share of the cores of this machine, at most 8 (engines are
    idle during an update); 1 in deterministic runs."""
    gpus_per_worker: float | None = Field(None, ge=0, le=1)
    """GPUs of each learner rank, at most 1; see rollout.gpus_per_worker."""
    precision: Literal["float32", "bfloat16", "bfloat16_autocast"] | None = None
    """Precision of forward and backward passes; master weights, accumulated gradients and the optimizer are always
    float32. By default bfloat16 on GPUs and on CPUs with bfloat16 instructions, float32 elsewhere and in deterministic
    runs. `bfloat16` computes with bfloat16 copies of the weights, as the engine does; `bfloat16_autocast` computes only
    matrix products in bfloat16 and keeps activations in float32, which is slower and needs more memory. The engine uses
    the same dtype."""
    attention: Literal["auto", "packed", "sdpa", "flash_attention_2", "eager"] = "auto"
    """Attention over sequences that are packed in one row. `packed` computes each sequence separately, at the cost of
    the sum of squared lengths (on a GPU in bfloat16 with flash-attn's variable-length kernel if installed, else with
    torch's). `sdpa` and `eager` use a mask over all pairs of tokens in the row. `flash_attention_2` uses that library
    through transformers. `auto` is packed, or eager for models with capped attention scores or attention sinks."""
    tokens_per_microbatch: int | None = Field(None, ge=1)
    """Tokens packed into one forward pass of an RL update. More tokens need more memory; the result does not change. By
    default 4096, on GPUs 16384, halved until the learner fits the memory, but at least 512; 4096 in deterministic
    runs."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """Compile the decoder layers except attention with torch.compile. Compilation takes about a minute at the first
    forward passes and needs a C++ compiler on CPUs."""
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """Optimizer of RL stages: AdamW with its two moments in float32 (8 bytes per weight), or in 8 bits with
    bitsandbytes (2 bytes per weight)."""
    lora: LoraKeys | None = None
    """Train LoRA adapters in RL stages; null: train all weights. An sft stage always trains all weights."""
    router_aux_coef: float | None = Field(None, ge=0)
    """Weight of the load-balancing loss of a mixture of experts (arXiv:2101.03961), summed over its layers; by default
    the model config's value, or 0.001. 0 saves one forward pass per update."""
    cpu_offload: bool = False
    """Keep weights, gradients and optimizer state in main memory and copy them to the GPU layer by layer: far less GPU
    memory, but slower."""
    timeout_s: float | None = Field(None, gt=0)
    """Deadline for one update, in seconds. By default 1800, more on CPUs for large models or large steps."""

    @property
    def num_threads(self) -> int:
        """CPU threads of each rank; 1 before the plan has chosen a number."""
        return self.threads or 1

    @property
    def microbatch_tokens(self) -> int:
        """Tokens per forward pass."""
        return self.tokens_per_microbatch or MICROBATCH_TOKENS

    @property
    def deadline_s(self) -> float:
        """Deadline for an update, in seconds."""
        return self.timeout_s or UPDATE_TIMEOUT_S

    @property
    def computes_in(self) -> str:
        """The precision; float32 before the plan has chosen one."""
        return self.precision or "float32"

    @property
    def dtype(self) -> Dtype:
        """Dtype of matrix products in training, and of the engines' weights."""
        return "float32" if self.computes_in == "float32" else "bfloat16"

    @model_validator(mode="after")
    def _check_sharding(self) -> Self:
        packed = self.lora is not None and self.lora.quantize is not None
        if self.sharded and (packed or self.optimizer == "adamw_8bit"):
            key = "lora.quantize" if packed else "optimizer=adamw_8bit"
            raise ValueError(
                f"{key} stores numbers in a format that can be neither sharded nor offloaded: leave it out, or set "
                "num_workers to 1 and cpu_offload to false"
            )
        return self

    @property
    def libraries(self) -> dict[str, str]:
        """Optional packages that these keys need, each with the key that needs it."""
        if self.lora is not None and self.lora.quantize is not None:
            return {"bitsandbytes": f"lora.quantize={self.lora.quantize}"}
        return {"bitsandbytes": "optimizer=adamw_8bit"} if self.optimizer == "adamw_8bit" else {}

    @property
    def sharded(self) -> bool:
        """Whether the networks are sharded over ranks or offloaded to main memory."""
        return self.num_workers > 1 or self.cpu_offload

    @property
    def gpus(self) -> float:
        """GPUs of the learner; 0: it runs on the CPU."""
        return self.gpus_per_worker or 0.0
