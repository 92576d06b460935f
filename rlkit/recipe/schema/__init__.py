"""Every knob of a recipe: type, range, default and one line of doc. The models are the manual."""

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
from rlkit.recipe.schema.optimizer_section import OptimizerKeys
from rlkit.recipe.schema.reward_section import CombineKeys, RewardKeys, RewardPartKeys, RuntimeKeys
from rlkit.recipe.schema.rollout_section import PARITY_LIMIT, LearnerKeys, LoraKeys, RolloutKeys
from rlkit.recipe.schema.run_section import CheckpointKeys, ClusterKeys, RunKeys, SinkKeys, TrackingKeys
from rlkit.recipe.schema.section import Section
from rlkit.recipe.schema.sft_section import SftKeys
from rlkit.recipe.schema.stage_kinds import ByKind, StageKeys
from rlkit.recipe.schema.online_section import CriticKeys, GrpoKeys, OnlineKeys, PpoKeys

PROMPT_ROOM = 128
"""Tokens that a context left to rlkit keeps for a prompt, where data.max_prompt_tokens does not say how many."""


class Recipe(Section):
    """A whole run."""

    run: RunKeys = Field(default_factory=RunKeys)
    """Name, seed and folder."""
    model: ModelKeys
    """The weights the run starts from."""
    data: DataKeys = Field(default_factory=DataKeys)
    """Training tasks, and how they are shown to the model."""
    reward: RewardKeys = Field(default_factory=lambda: RewardKeys.model_validate({}))
    """Parts and weights."""
    stages: list[Annotated[StageKeys, ByKind()]] = Field(min_length=1)
    """What is done to the model, in order; each stage's model is the next one's start."""
    rollout: RolloutKeys = Field(default_factory=RolloutKeys)
    """Engines and sampling."""
    learner: LearnerKeys = Field(default_factory=LearnerKeys)
    """The actor that updates the weights."""
    checkpoint: CheckpointKeys = Field(default_factory=CheckpointKeys)
    """What is kept to continue from."""
    evaluation: EvaluationKeys = Field(default_factory=EvaluationKeys)
    """Held-out tasks."""
    tracking: TrackingKeys = Field(default_factory=TrackingKeys)
    """What is written for people."""
    cluster: ClusterKeys = Field(default_factory=ClusterKeys)
    """Ray."""

    @model_validator(mode="before")
    @classmethod
    def _choose_context(cls, raw: Any) -> Any:
        """Fills in model.init.max_position_embeddings where it is left out: it follows from other sections."""
        model: Any = raw.get("model") if isinstance(raw, dict) else None
        init = model.get("init") if isinstance(model, dict) else None
        if not isinstance(init, dict) or "max_position_embeddings" in init:
            return raw
        default = int(ModelInitKeys.model_fields["max_position_embeddings"].default)
        context = max(default, min(1_000_000, 2 ** (_needed_context(raw) - 1).bit_length()))
        return {**raw, "model": {**model, "init": {**init, "max_position_embeddings": context}}}

    @model_validator(mode="after")
    def _data_is_there(self) -> Self:
        reads = [i for i, stage in enumerate(self.stages) if stage.learns and stage.own_rows is None]
        if reads and not self.data.all_sources():
            own = f" (or give stages.{reads[0]}.data)" if "data" in type(self.stages[reads[0]]).model_fields else ""
            raise ValueError(f"data.path is missing: it names what stages.{reads[0]} learns from{own}")
        return self

    @model_validator(mode="after")
    def _context_fits(self) -> Self:
        if self.model.init is not None and self.rollout.max_tokens >= self.model.init.max_position_embeddings:
            raise ValueError(
                f"rollout.max_tokens={self.rollout.max_tokens} leaves no room for a prompt in "
                f"model.init.max_position_embeddings={self.model.init.max_position_embeddings}: lower the one, raise "
                "the other, or leave max_position_embeddings out"
            )
        return self

    @model_validator(mode="after")
    def _truncation_fits(self) -> Self:
        for i, stage in self.rl_stages.items():
            if self.rollout.truncated and stage.correction == "none":
                raise ValueError(
                    f"rollout.{self.rollout.truncated} truncates the sampling distribution, which biases the "
                    f"importance ratio: leave it off, or set stages.{i}.old_logprobs to learner and "
                    f"stages.{i}.correction to truncate"
                )
        return self

    @property
    def rl_stages(self) -> dict[int, OnlineKeys]:
        """The stages that sample and learn from rewards, by their place among all stages."""
        return {i: stage for i, stage in enumerate(self.stages) if isinstance(stage, OnlineKeys)}

    @property
    def has_engines(self) -> bool:
        """Whether a stage or an evaluation samples."""
        return bool(self.rl_stages or self.evaluation.sources)

    def stage_name(self, index: int) -> str:
        """A stage's name, which is its folder in the run: "stage-1-grpo"."""
        return f"stage-{index}-{self.stages[index].kind}"

    @property
    def parity_limit(self) -> float:
        """The recipe's limit or the precision's default, in nats."""
        return self.rollout.parity_limit or PARITY_LIMIT[self.learner.dtype]


def _needed_context(raw: dict[str, Any]) -> int:
    """Tokens that a recipe's longest sequence has, as far as its keys say; values of another type are left to their
    own fields."""

    def number(*path: str | int) -> int:
        at: Any = raw
        for key in path:
            at = at.get(key) if isinstance(at, dict) else None
        return at if type(at) is int and 0 < at <= 1_000_000 else 0

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
