"""The keys of a stage of the kind `sft`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlkit.recipe.schema.data_section import RowsKeys
from rlkit.recipe.schema.optimizer_section import OptimizerKeys
from rlkit.recipe.schema.stage_kinds import StageKeys


class SftKeys(StageKeys, OptimizerKeys):
    """Supervised fine-tuning on demonstrations (the cold start), by TRL's SFTTrainer."""

    kind: Literal["sft"]
    """Supervised fine-tuning."""
    learning_rate: float = Field(2e-5, gt=0, le=1)
    """Peak learning rate."""
    data: RowsKeys | None = None
    """Demonstrations (columns prompt and response); by default the recipe's data."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; give steps or epochs."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the data; by default 1 where steps is not given."""
    batch_size: int = Field(64, ge=1)
    """Demonstrations an optimizer step, all in one forward pass."""
    max_length: int | None = Field(None, ge=8)
    """Longest demonstration in tokens, by default the model's context; a longer one is a bad row."""
    timeout_s: float = Field(86_400, gt=0)
    """Longest time for the stage, in seconds."""

    @property
    def own_rows(self) -> RowsKeys | None:
        """Its `data`."""
        return self.data

    def with_context(self, context: int) -> Self:
        """See StageKeys: demonstrations may be as long as the model's context."""
        return self if self.max_length is not None else self.model_copy(update={"max_length": context})

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError(f"give one of steps={self.steps} and epochs={self.epochs:g}, not both")
        return self
