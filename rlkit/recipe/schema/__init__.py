"""All recipe keys: type, range, default and documentation. The recipe reference is generated from these classes."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.data_section import (
    DataKeys,
    EvaluationKeys,
    FieldsKeys,
    FilterKeys,
    PromptKeys,
    RowsKeys,
    SourceKeys,
    WeightedSourceKeys,
)
from rlkit.recipe.schema.model_section import ModelInitKeys, ModelKeys
from rlkit.recipe.schema.online_section import CriticKeys, GrpoKeys, OnlineKeys, PpoKeys
from rlkit.recipe.schema.optimizer_section import OptimizerKeys
from rlkit.recipe.schema.reward_section import CombineKeys, RewardKeys, RewardPartKeys, RuntimeKeys
from rlkit.recipe.schema.rollout_section import PARITY_LIMIT, LearnerKeys, LoraKeys, RolloutKeys
from rlkit.recipe.schema.run_section import CheckpointKeys, ClusterKeys, RunKeys, SinkKeys, TrackingKeys
from rlkit.recipe.schema.section import Section
from rlkit.recipe.schema.sft_section import SftKeys
from rlkit.recipe.schema.stage_kinds import ByKind, StageKeys

PROMPT_ROOM = 128
"""Tokens reserved for a prompt when rlkit chooses the context length and data.max_prompt_tokens is not given."""


class Recipe(Section):
    """One run: its model, data, reward and stages."""

    run: RunKeys = Field(default_factory=RunKeys)
    """Name, seed and folder of the run."""
    model: ModelKeys
    """The model that the run starts from."""
    data: DataKeys = Field(default_factory=DataKeys)
    """Training tasks and the prompt template."""
    reward: RewardKeys = Field(default_factory=lambda: RewardKeys.model_validate({}))
    """Reward parts and their weights."""
    stages: list[Annotated[StageKeys, ByKind()]] = Field(min_length=1)
    """Training stages, in order; each stage starts from the model that the previous one produced."""
    rollout: RolloutKeys = Field(default_factory=RolloutKeys)
    """Inference engines and sampling parameters."""
    learner: LearnerKeys = Field(default_factory=LearnerKeys)
    """The actors that update the weights."""
    checkpoint: CheckpointKeys = Field(default_factory=CheckpointKeys)
    """How often checkpoints are saved and how many are kept."""
    evaluation: EvaluationKeys = Field(default_factory=EvaluationKeys)
    """Held-out tasks and how often they are evaluated."""
    tracking: TrackingKeys = Field(default_factory=TrackingKeys)
    """Logs, sample files and metrics sinks."""
    cluster: ClusterKeys = Field(default_factory=ClusterKeys)
    """The Ray cluster."""

    @model_validator(mode="before")
    @classmethod
    def _choose_context(cls, raw: Any) -> Any:
        """Derives model.init.max_position_embeddings from other sections if the recipe does not give it."""
        model: Any = raw.get("model") if isinstance(raw, dict) else None
        init = model.get("init") if isinstance(model, dict) else None
        if not isinstance(init, dict) or "max_position_embeddings" in init:
            return raw
        default = int(ModelInitKeys.model_fields["max_position_embeddings"].default)
        context = max(default, min(1_000_000, 2 ** (_needed_context(raw) - 1).bit_length()))
        return {**raw, "model": {**model, "init": {**init, "max_position_embeddings": context}}}

    @model_validator(mode="after")
    def _check_data_given(self) -> Self:
        reads = [i for i, stage in enumerate(self.stages) if stage.learns and stage.own_rows is None]
        if reads and not self.data.all_sources():
            own = f" (or give stages.{reads[0]}.data)" if "data" in type(self.stages[reads[0]]).model_fields else ""
            raise ValueError(f"data.path is missing: stages.{reads[0]} needs training data{own}")
        return self

    @model_validator(mode="after")
    def _check_context(self) -> Self:
        if self.model.init is not None and self.rollout.max_tokens >= self.model.init.max_position_embeddings:
            raise ValueError(
                f"rollout.max_tokens={self.rollout.max_tokens} leaves no room for a prompt in "
                f"model.init.max_position_embeddings={self.model.init.max_position_embeddings}: lower max_tokens, or "
                "raise or leave out max_position_embeddings"
            )
        return self

    @model_validator(mode="after")
    def _check_sampling_truncation(self) -> Self:
        for i, stage in self.rl_stages.items():
            if self.rollout.truncated and stage.correction == "none":
                raise ValueError(
                    f"rollout.{self.rollout.truncated} truncates the sampling distribution, which biases the "
                    f"importance ratio: leave it out, or set stages.{i}.old_logprobs to learner and "
                    f"stages.{i}.correction to truncate"
                )
        return self

    @property
    def rl_stages(self) -> dict[int, OnlineKeys]:
        """The stages that sample and learn from rewards, by stage index."""
        return {i: stage for i, stage in enumerate(self.stages) if isinstance(stage, OnlineKeys)}

    @property
    def has_engines(self) -> bool:
        """Whether the run needs inference engines: a stage or an evaluation samples."""
        return bool(self.rl_stages or self.evaluation.sources)

    def stage_name(self, index: int) -> str:
        """A stage's name, also the name of its folder in the run: "stage-1-grpo"."""
        return f"stage-{index}-{self.stages[index].kind}"

    @property
    def parity_limit(self) -> float:
        """rollout.parity_limit, or the default of the precision, in nats."""
        return self.rollout.parity_limit or PARITY_LIMIT[self.learner.dtype]


def _needed_context(raw: dict[str, Any]) -> int:
    """Tokens of the longest sequence that the recipe's keys ask for.

    Reads the raw mapping, before validation: ignores a value of the wrong type, which its own field reports.
    """

    def number(*path: str | int) -> int:
        value: Any = raw
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if type(value) is int and 0 < value <= 1_000_000 else 0

    stages = raw["stages"] if isinstance(raw.get("stages"), list) else []
    lengths = [stage.get("max_length") for stage in stages if isinstance(stage, dict)]
    reply = number("rollout", "max_tokens") or int(RolloutKeys.model_fields["max_tokens"].default)
    sampled = reply + (number("data", "max_prompt_tokens") or PROMPT_ROOM)
    learned = [n for n in lengths if type(n) is int and 0 < n <= 1_000_000]
    return min(1_000_000, max(sampled, number("rollout", "engine", "max_model_len"), *learned, 1))


__all__ = [
    "PARITY_LIMIT",
    "CheckpointKeys",
    "ClusterKeys",
    "CombineKeys",
    "CriticKeys",
    "DataKeys",
    "EvaluationKeys",
    "FieldsKeys",
    "FilterKeys",
    "GrpoKeys",
    "LearnerKeys",
    "LoraKeys",
    "ModelInitKeys",
    "ModelKeys",
    "OnlineKeys",
    "OptimizerKeys",
    "PpoKeys",
    "PromptKeys",
    "Recipe",
    "RewardKeys",
    "RewardPartKeys",
    "RolloutKeys",
    "RowsKeys",
    "RunKeys",
    "RuntimeKeys",
    "Section",
    "SftKeys",
    "SinkKeys",
    "SourceKeys",
    "StageKeys",
    "TrackingKeys",
    "WeightedSourceKeys",
]
